"""Output files of an export: written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from plxnix.errors import ExportError


def write_files(files: Mapping[Path, str]) -> None:
    """Write text files, each whole or not at all: nothing is renamed before all are written.

    Folders are made as needed; a file that has the text already keeps its time. Line feeds are
    written as they are. Raises `ExportError`.
    """
    ready: list[tuple[str, Path]] = []
    try:
        for path, text in files.items():
            data = text.encode()
            if path.is_file() and path.read_bytes() == data:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            ready.append((temporary, path))
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o644)
        while ready:
            temporary, path = ready[0]
            os.replace(temporary, path)
            ready.pop(0)
    except (OSError, UnicodeEncodeError) as error:
        raise ExportError(f"cannot write the export: {error}", "choose another -o") from error
    finally:
        for temporary, _ in ready:
            os.unlink(temporary)
