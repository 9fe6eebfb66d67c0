"""Read the members of a tar archive with the standard library, and check what they say.

tarfile only parses here; names, kinds and sizes are judged by our own rules, and nothing is
written. A fault of the archive raises `ArchiveError`, a breach of a rule `RuleBroken`.

Two things that tarfile does not do are done here: a damaged header after the first member is an
error and not the archive's end, and compressed data is read to its end, so that its checksum
counts.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from plxnix.builders.archive_members import (
    PIECE,
    Budget,
    Limits,
    Member,
    RuleBroken,
    check_target,
    member_path,
)
from plxnix.errors import ArchiveError

#: The most that a header of tar for one member (a long name, pax records) may hold, in bytes.
EXTENSION_BYTES = 1 << 20

#: How many headers may go before a member with its own; honest archives have four at most.
HEADERS_PER_MEMBER = 16

# Headers that tarfile reads into memory whole.
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_GNU_VOLUME_LABEL = b"V"
_GNU_DUMP_FOLDER = b"D"

# What the standard library raises on malformed input, beside its own errors: its parsers count on
# numbers being numbers and fields being there.
MALFORMED = (EOFError, IndexError, KeyError, OverflowError, ValueError, zlib.error)

# Decompressors: gzip and bz2 raise OSError, which covers a failing disk too; then the archive
# cannot be read either.
try:
    from lzma import LZMAError
except ImportError:  # a Python built without liblzma
    LZMAError = OSError  # type: ignore[assignment, misc]
UNREADABLE = (*MALFORMED, LZMAError, OSError)


class Readable(Protocol):
    """What a decompressor offers."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""

    def close(self) -> None:
        """Give back what it holds."""


def damaged(archive: Path, reason: object) -> ArchiveError:
    """Return the error for an archive that cannot be read through."""
    return ArchiveError(
        f"archive '{archive}' is damaged or not an archive: {reason}",
        "fetch it again, and check that it is what its name says",
    )


class Source:
    """The decompressed bytes of an archive, read once from front to back.

    Looks to tarfile like a seekable file, but only goes forward. Every byte is taken from the
    budget. `last` is what the last read gave, `nesting` how many headers are being read.
    """

    def __init__(self, archive: Path, inner: Readable, budget: Budget) -> None:
        self._archive = archive
        self._inner = inner
        self._budget = budget
        self._position = 0
        self.last = b""
        self.nesting = 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        try:
            data = self._inner.read(size)
        except UNREADABLE as error:
            raise damaged(self._archive, error) from error
        self._position += len(data)
        self._budget.take(len(data))
        self.last = data
        return data

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def seek(self, position: int) -> int:
        """Go forward to a position, or to the end if that comes first."""
        left = position - self._position
        if left < 0:
            raise damaged(self._archive, "a member begins inside another")
        while left > 0 and (data := self.read(min(left, PIECE))):
            left -= len(data)
        return self._position


class _Header(tarfile.TarInfo):
    """A tar header that is checked before tarfile acts on it."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Header:
        """Read a header with those that go before it, each of which tarfile reads by recursion."""
        source = cast(Source, tarfile.fileobj)
        source.nesting += 1
        try:
            if source.nesting > HEADERS_PER_MEMBER:
                raise RuleBroken(f"the member after it has more than {HEADERS_PER_MEMBER} headers")
            return super().fromtarfile(tarfile)
        finally:
            source.nesting -= 1

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Parse one block of 512 bytes."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise RuleBroken("its size is negative", _raw(header.name))
        if header.type in _EXTENSIONS and header.size > EXTENSION_BYTES:
            raise RuleBroken(f"its header is over {EXTENSION_BYTES} bytes", _raw(header.name))
        return header


def tar_members(
    archive: Path, source: Source, limits: Limits, budget: Budget, *, compressed: bool
) -> Iterator[Member]:
    """Yield the members of a tar archive in their order (POSIX pax, ustar, GNU and V7 formats).

    Takes constant memory. Volume labels and global pax headers are no members.
    """
    try:
        # Source is all of a file that tarfile uses, so the cast is to its formal type only.
        reader = tarfile.TarFile(
            fileobj=cast(BinaryIO, source),
            tarinfo=_Header,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except (tarfile.TarError, *MALFORMED) as error:
        raise damaged(archive, error) from error
    # Python 3.10 looks for another member where there was no first one.
    empty = reader.firstmember is None  # type: ignore[attr-defined]
    while not empty and (header := _next_header(archive, reader)) is not None:
        if header.type != _GNU_VOLUME_LABEL:
            yield _tar_member(archive, reader, source, header, limits, budget)
    # After the last header comes the end of the file or a block of zeros; tarfile also stops at a
    # header that it cannot read.
    if source.last.strip(b"\0"):
        raise damaged(archive, f"there is no header at byte {source.tell() - len(source.last)}")
    if compressed:
        while source.read(PIECE):
            pass


def _next_header(archive: Path, reader: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        header = reader.next()
    except (tarfile.TarError, *MALFORMED) as error:
        raise damaged(archive, error) from error
    # tarfile would keep every header.
    reader.members.clear()  # type: ignore[attr-defined]
    if header is not None and header.size < 0:
        raise RuleBroken("its size is negative", _raw(header.name))
    return header


def _tar_member(
    archive: Path,
    reader: tarfile.TarFile,
    source: Source,
    header: tarfile.TarInfo,
    limits: Limits,
    budget: Budget,
) -> Member:
    name = _raw(header.name)
    try:
        if header.issparse():
            name = _true_sparse_header(archive, header)
        path = member_path(name, limits)
        if header.isdir() or header.type == _GNU_DUMP_FOLDER:
            return Member(name, path, "folder")
        if header.issym():
            return Member(name, path, "symlink", target=check_target(_raw(header.linkname)))
        if header.islnk():
            return Member(name, path, "hardlink", target=_raw(header.linkname))
        if not header.isreg():
            raise RuleBroken(_tar_kind(header))
        if name.endswith(b"/"):
            if header.size:
                raise RuleBroken("it is a file by its kind and a folder by its name")
            return Member(name, path, "folder")
        sparse = header.issparse()
        if sparse:
            budget.take(header.size)
    except RuleBroken as broken:
        broken.member = name
        raise
    pieces = _tar_pieces(archive, reader, source, header)
    return Member(
        name, path, "file", executable=bool(header.mode & 0o100), pieces=pieces, sparse=sparse
    )


def _true_sparse_header(archive: Path, header: tarfile.TarInfo) -> bytes:
    """Set the size of a sparse file in pax format and return its name.

    GNU tar writes stand-ins into the header and the plain records; where these come last, tarfile
    takes them for true (GNU tar manual, "Storing Sparse Files").
    """
    records = header.pax_headers
    try:
        header.size = int(records.get("GNU.sparse.realsize", header.size))
    except ValueError as error:
        raise damaged(archive, error) from error
    if header.size < 0:
        raise RuleBroken("its size is negative")
    return _raw(records.get("GNU.sparse.name", header.name))


def _tar_kind(header: tarfile.TarInfo) -> str:
    if header.ischr() or header.isblk():
        return "it is a device"
    if header.isfifo():
        return "it is a fifo"
    return f"it is of the unknown kind {header.type!r}"


def _tar_pieces(
    archive: Path, reader: tarfile.TarFile, source: Source, header: tarfile.TarInfo
) -> Iterator[bytes]:
    left = header.size
    read: Callable[[int], bytes] = source.read
    if header.issparse():
        # Only tarfile knows its map of data and holes.
        extracted = reader.extractfile(header)
        if extracted is None:
            raise damaged(archive, "a sparse file has no contents")
        read = extracted.read
    elif source.tell() != header.offset_data:
        source.seek(header.offset_data)
    while left:
        try:
            data = read(min(left, PIECE))
        except (tarfile.TarError, *MALFORMED) as error:
            raise damaged(archive, error) from error
        if not data:
            raise damaged(archive, "it ends inside a file")
        left -= len(data)
        yield data


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
