"""Write archives member by member: the same members give the same bytes, in constant memory.

The form is chosen by the file's name. Owners, times and modes are the same for every member, and
what compresses is told no time and no name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import IO, Any, cast

from plxnix.errors import ArchiveError, InvalidValue

#: Adds one member: its name, its size in bytes, and its contents.
Add = Callable[[str, int, Iterable[bytes]], None]

#: Seconds since the epoch; what zip can say starts in 1980.
_TIME = 1
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o444


@contextmanager
def writing(file: str | os.PathLike[str]) -> Iterator[Add]:
    """Write the archive `file`, which gets its name when the block ends without an error.

    Yields a function that adds a member. Raises `InvalidValue` if the name is not that of an
    archive that can be written, `ArchiveError` where a program for the compression is missing or a
    member has another size than was said, `OSError`.
    """
    path = os.path.abspath(os.fspath(file))
    write = _form(path)
    temporary = f"{os.path.dirname(path)}/.{os.urandom(8).hex()}.plxnix"
    try:
        with open(temporary, "xb") as stream, write(stream) as add:
            yield add
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too: no half archive stays; it is raised again
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise


def _form(path: str) -> Callable[[IO[bytes]], AbstractContextManager[Add]]:
    name = os.path.basename(path).lower()
    if name.endswith(".zip"):
        return _zip
    for suffixes, compress in _COMPRESSORS.items():
        if name.endswith(suffixes):
            return partial(_tar, compress)
    known = ", ".join(suffixes[0] for suffixes in _COMPRESSORS)
    raise InvalidValue(
        f"{os.fspath(path)!r} has not the name of an archive that can be written",
        f"its name ends in .zip or one of {known}",
    )


def _plain(stream: IO[bytes]) -> Any:
    return closing(stream)


def _gzip(stream: IO[bytes]) -> Any:
    import gzip

    return gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0)


def _bzip2(stream: IO[bytes]) -> Any:
    import bz2

    return bz2.BZ2File(stream, "wb")


def _xz(stream: IO[bytes]) -> Any:
    import lzma

    return lzma.LZMAFile(stream, "wb")


def _old_lzma(stream: IO[bytes]) -> Any:
    import lzma

    return lzma.LZMAFile(stream, "wb", format=lzma.FORMAT_ALONE)


def _zstd(stream: IO[bytes]) -> Any:
    from plxnix.builders.archive_zstd import write_zstd

    return write_zstd(stream)


_COMPRESSORS: dict[tuple[str, ...], Callable[[IO[bytes]], Any]] = {
    (".tar",): _plain,
    (".tar.gz", ".tgz"): _gzip,
    (".tar.bz2", ".tbz", ".tbz2"): _bzip2,
    (".tar.xz", ".txz"): _xz,
    (".tar.lzma", ".tlz"): _old_lzma,
    (".tar.zst", ".tzst"): _zstd,
}


@contextmanager
def _tar(compress: Callable[[IO[bytes]], Any], stream: IO[bytes]) -> Iterator[Add]:
    import tarfile

    with compress(stream) as opened:
        output = stream if compress is _plain else cast("IO[bytes]", opened)
        position = 0

        def add(name: str, size: int, pieces: Iterable[bytes]) -> None:
            nonlocal position
            header = tarfile.TarInfo(name)
            header.size, header.mtime, header.mode = size, _TIME, _MODE
            block = header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            output.write(block)
            for piece in _exactly(name, size, pieces):
                output.write(piece)
            output.write(bytes(-size % tarfile.BLOCKSIZE))
            position += len(block) + size + -size % tarfile.BLOCKSIZE

        yield add
        end = position + 2 * tarfile.BLOCKSIZE
        output.write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))


@contextmanager
def _zip(stream: IO[bytes]) -> Iterator[Add]:
    import zipfile

    with zipfile.ZipFile(stream, "w") as archive:

        def add(name: str, size: int, pieces: Iterable[bytes]) -> None:
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100000 | _MODE) << 16
            with archive.open(entry, "w", force_zip64=size >= 1 << 30) as output:
                for piece in _exactly(name, size, pieces):
                    output.write(piece)

        yield add


def _exactly(name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass pieces on, and raise `ArchiveError` if they are not `size` bytes."""
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise ArchiveError(
            f"{name} has not the {size} bytes that it should have",
            "is something still writing there? `plxnix verify` finds damage",
        )
