"""Reading a NAR from a stream that is not trusted: it is unpacked, or refused."""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from plxnix.errors import InvalidValue, NixFormatError
from plxnix.nix.nar_words import (
    CLOSE,
    CONTENTS,
    DEPTH_LIMIT,
    DIRECTORY,
    ENTRY,
    EXECUTABLE,
    MAGIC,
    NAME,
    NAME_LIMIT,
    NODE,
    PIECE,
    REGULAR,
    SYMLINK,
    TARGET,
    TARGET_LIMIT,
    TYPE,
)

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def restore(
    stream: BinaryIO,
    destination: str | bytes | os.PathLike[str],
    limit: int | None = None,
    entries: int | None = None,
) -> int:
    """Unpack one archive from `stream` to `destination` and return the archive's size in bytes.

    The archive is not trusted. It must be in the one form that a tree has: names in order, none
    twice and none that leads elsewhere, padding of zeros. No link is followed, nothing outside of
    `destination` is touched. The stream is left right behind the archive.

    Raises `NixFormatError` for anything else, for more than `limit` bytes or `entries` files, links
    and folders, and for folders deeper than 256; `InvalidValue` if `destination` exists. After any
    error what was written is removed. Memory: 1 MiB.
    """
    top = os.fsencode(destination)
    if os.path.lexists(top):
        raise InvalidValue(
            f"cannot unpack to {os.fsdecode(top)}: it exists", "give a path that is free"
        )
    reader = _Reader(stream, limit, entries)
    reader.expect(MAGIC)
    try:
        _restore(reader, top)
    except BaseException as error:
        # Somebody else's, made since we looked, is not ours to remove.
        if not (isinstance(error, FileExistsError) and error.filename == top):
            _remove(top)
        raise
    return reader.offset


class _Reader:
    """Reads the words of an archive and knows how far it is."""

    __slots__ = ("entries", "limit", "offset", "stream")

    def __init__(self, stream: BinaryIO, limit: int | None, entries: int | None) -> None:
        self.stream = stream
        self.offset = 0
        self.limit = limit
        self.entries = entries

    def wrong(self, what: str) -> NixFormatError:
        return NixFormatError(
            f"not a NAR archive: {what} at byte {self.offset}", "is it damaged, or compressed?"
        )

    def count(self) -> None:
        """Take note of one entry more."""
        if self.entries is not None:
            self.entries -= 1
            if self.entries < 0:
                raise self.wrong("more files, links and folders than are allowed")

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes; keep `size` small."""
        data = self.stream.read(size)
        while len(data) < size:
            more = self.stream.read(size - len(data))
            if not more:
                raise self.wrong("it ends")
            data += more
        self.offset += size
        if self.limit is not None and self.offset > self.limit:
            raise self._too_large()
        return data

    def expect(self, literal: bytes) -> None:
        found = self.take(len(literal))
        if found != literal:
            self.offset -= len(literal)
            raise self.wrong(f"found {found!r} instead of {literal!r}")

    def length(self, maximum: int, what: str) -> int:
        size = int.from_bytes(self.take(8), "little")
        if size > maximum:
            raise self.wrong(f"{what} of {size} bytes (more than {maximum})")
        return size

    def string(self, maximum: int, what: str) -> bytes:
        data = self.take(self.length(maximum, what))
        self.padding(len(data))
        return data

    def padding(self, size: int) -> None:
        if any(self.take(-size % 8)):
            raise self.wrong("padding is not zero")

    def contents(self, descriptor: int) -> None:
        """Copy the contents of a file; a length beyond the limit is refused before any byte."""
        size = left = self.length((1 << 63) - 1, "a file")
        if self.limit is not None and self.offset + size > self.limit:
            raise self._too_large()
        while left:
            piece = self.stream.read(min(left, PIECE))
            if not piece:
                raise self.wrong("it ends within a file")
            left -= len(piece)
            self.offset += len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        self.padding(size)

    def _too_large(self) -> NixFormatError:
        return NixFormatError(
            f"a NAR archive is larger than the {self.limit} bytes that it may have",
            "it is not what was promised: get it from another place",
        )


def _restore(reader: _Reader, top: bytes) -> None:
    #: The folders that are open, with the last name in each.
    folders: list[tuple[bytes, bytes]] = []
    if _restore_node(reader, top):
        folders.append((top, b""))
    while folders:
        folder, last = folders[-1]
        word = reader.take(len(CLOSE))
        if word == CLOSE:
            folders.pop()
            if folders:
                reader.expect(CLOSE)
            continue
        if word != ENTRY:
            raise reader.wrong(f"found {word!r} in a folder")
        reader.count()
        reader.expect(NAME)
        name = reader.string(NAME_LIMIT, "a name")
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise reader.wrong(f"an entry may not have the name {os.fsdecode(name)!r}")
        if name <= last:
            raise reader.wrong(f"the names {last!r} and {name!r} are not in order")
        folders[-1] = (folder, name)
        reader.expect(NODE)
        path = folder + b"/" + name
        if _restore_node(reader, path):
            folders.append((path, b""))
            if len(folders) > DEPTH_LIMIT:
                raise reader.wrong(f"more than {DEPTH_LIMIT} folders in each other")
        else:
            reader.expect(CLOSE)


def _restore_node(reader: _Reader, path: bytes) -> bool:
    """Restore one file, link or folder; return whether it is a folder, whose entries follow."""
    reader.expect(TYPE)
    kind = reader.take(len(REGULAR))
    if kind == REGULAR:
        word = reader.take(len(CONTENTS))
        executable = word == EXECUTABLE[: len(word)]
        if executable:
            reader.expect(EXECUTABLE[len(word) :] + CONTENTS)
        elif word != CONTENTS:
            raise reader.wrong(f"found {word!r} in a file")
        descriptor = os.open(path, _WRITE, 0o777 if executable else 0o666)
        try:
            reader.contents(descriptor)
        finally:
            os.close(descriptor)
    elif kind == SYMLINK:
        reader.expect(TARGET)
        target = reader.string(TARGET_LIMIT, "the target of a link")
        if not target or b"\0" in target:
            raise reader.wrong(f"a link may not lead to {os.fsdecode(target)!r}")
        os.symlink(target, path)
    elif kind == DIRECTORY[: len(kind)]:
        reader.expect(DIRECTORY[len(kind) :])
        os.mkdir(path)
        return True
    else:
        raise reader.wrong(f"found the type {kind!r}")
    reader.expect(CLOSE)
    return False


def _remove(path: bytes) -> None:
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
