"""Files that a command is told to write, with `-o` or by name: each whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from plxnix.errors import ExportError


def write_files(files: Mapping[Path, str]) -> None:
    """Write text files, each whole or not at all: nothing is renamed before all are written.

    Folders are made as needed; a file that has the text already keeps its time, one that is
    replaced its mode, and a link leads where it led. A device or a pipe is written to. Line feeds
    are written as they are. Raises `ExportError`.
    """
    ready: list[tuple[str, str]] = []
    path = Path()
    try:
        for path, text in files.items():
            data = text.encode()
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = path.stat().st_mode if path.exists() else stat.S_IFREG | 0o644
            if stat.S_ISDIR(mode):
                raise IsADirectoryError("it is a folder")
            if not stat.S_ISREG(mode):
                path.write_bytes(data)
            elif not path.exists() or path.read_bytes() != data:
                place = os.path.realpath(path)
                folder, name = os.path.split(place)
                descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
                ready.append((temporary, place))
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    os.fchmod(file.fileno(), stat.S_IMODE(mode))
        while ready:
            temporary, place = ready[0]
            os.replace(temporary, place)
            ready.pop(0)
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"cannot write {path}: {reason}", "choose another place") from error
    finally:
        for temporary, _ in ready:
            os.unlink(temporary)
