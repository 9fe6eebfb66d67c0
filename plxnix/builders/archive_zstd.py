"""Read and write Zstandard: by the standard library from Python 3.14 on, before by zstd(1)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, cast

from plxnix.builders.archive_tar import Readable
from plxnix.errors import ArchiveError


def open_zstd(archive: Path) -> Readable:
    """Open a `.zst` file for reading; `ArchiveError` if nothing here can decompress it."""
    try:
        return cast(Readable, import_module("compression.zstd").open(archive))
    except ModuleNotFoundError:
        pass
    return _Program(_program(f"archive '{archive}' is compressed with Zstandard: it"), archive)


class _Program:
    """What `zstd --decompress` writes."""

    def __init__(self, program: str, archive: Path) -> None:
        with archive.open("rb") as stream:
            self._process = subprocess.Popen(
                [program, "--decompress", "--stdout", "--quiet"],
                stdin=stream,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        self._output = cast(IO[bytes], self._process.stdout)

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end; `EOFError` if zstd failed."""
        data = self._output.read(size)
        if len(data) < size:
            messages = cast(IO[bytes], self._process.stderr).read()
            if self._process.wait() != 0:
                raise EOFError(messages.decode("utf-8", "replace").strip() or "zstd failed")
        return data

    def close(self) -> None:
        """End the program, whether or not it has written everything."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def write_zstd(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Compress into `stream` for the block; `ArchiveError` if nothing here can compress."""
    try:
        opened = cast("IO[bytes]", import_module("compression.zstd").open(stream, "wb"))
    except ModuleNotFoundError:
        pass
    else:
        with opened:
            yield opened
        return
    process = subprocess.Popen(
        [_program("writing an archive with Zstandard"), "--compress", "--stdout", "--quiet"],
        stdin=subprocess.PIPE,
        stdout=stream,
        stderr=subprocess.PIPE,
    )
    try:
        yield cast("IO[bytes]", process.stdin)
        _, messages = process.communicate()
        if process.returncode != 0:
            raise ArchiveError(
                f"zstd failed: {messages.decode('utf-8', 'replace').strip()}", "is the disk full?"
            )
    finally:
        process.kill()
        process.communicate()


def _program(what: str) -> str:
    program = shutil.which("zstd")
    if program is None:
        raise ArchiveError(
            f"{what} needs Python 3.14 or the program zstd, and neither is here",
            "install zstd, or use another compression",
        )
    return program
