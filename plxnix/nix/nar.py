"""NAR: the archive over which Nix hashes trees, written and read as streams.

An archive holds contents, names, links and the owner's x bit of files, and nothing else: no times,
owners or other modes. One tree has one archive, byte for byte (Nix manual, "Nix Archive (NAR)
Format"; E. Dolstra, "The Purely Functional Software Deployment Model", figure 5.2).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from operator import attrgetter
from typing import BinaryIO, Final

from plxnix.errors import InvalidValue, NixFormatError
from plxnix.nix.hashes import Hash

#: The largest piece that is read, held in memory or given out: 1 MiB.
PIECE: Final = 1 << 20

#: Bounds on what is read: bytes of a name (NAME_MAX) and of a link's target (PATH_MAX), folders in
#: each other.
NAME_LIMIT: Final = 255
TARGET_LIMIT: Final = 4095
DEPTH_LIMIT: Final = 256


def string(data: bytes) -> bytes:
    """Return a string of the format: its length in 8 bytes, itself, zeros up to a multiple of 8."""
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def _strings(*texts: str) -> bytes:
    return b"".join(string(text.encode()) for text in texts)


_MAGIC: Final = _strings("nix-archive-1")
_CLOSE: Final = _strings(")")
_ENTRY: Final = _strings("entry")
_NAME: Final = _strings("(", "name")
_NODE: Final = _strings("node")
_TYPE: Final = _strings("(", "type")
_DIRECTORY: Final = _strings("directory")
_REGULAR: Final = _strings("regular")
_SYMLINK: Final = _strings("symlink")
_TARGET: Final = _strings("target")
_CONTENTS: Final = _strings("contents")
_EXECUTABLE: Final = _strings("executable", "")

_OPEN_ENTRY: Final = _ENTRY + _NAME
_OPEN_DIRECTORY: Final = _TYPE + _DIRECTORY
_OPEN_FILE: Final = _TYPE + _REGULAR + _CONTENTS
_OPEN_PROGRAM: Final = _TYPE + _REGULAR + _EXECUTABLE + _CONTENTS
_OPEN_SYMLINK: Final = _TYPE + _SYMLINK + _TARGET

# A file that was replaced by a link or a fifo since it was listed must neither lead away nor block.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

_by_name = attrgetter("name")


# -- writing -----------------------------------------------------------------------------------


def file_archive(contents: bytes) -> bytes:
    """Return the NAR of a regular file that is not executable and is no file on disk."""
    return _MAGIC + _OPEN_FILE + string(contents) + _CLOSE


def dump(path: str | bytes | os.PathLike[str], executable: bool | None = None) -> Iterator[bytes]:
    """Yield the archive of a file, a link or a tree, in pieces of up to about 1 MiB.

    Links are archived and not followed. `executable` overrides the x bit where `path` is a file.
    Memory: a few MiB and the names of the folders that are open. Raises `NixFormatError` for what
    an archive cannot hold (a fifo, a socket, a device) and for a file whose size changes while it
    is read, `OSError` for what cannot be read.
    """
    top = os.fsencode(path)
    buffer = bytearray(_MAGIC)
    #: The folders that are open: what is left of their entries, and their paths with a slash.
    folders: list[tuple[Iterator[os.DirEntry[bytes]], bytes]] = []
    mode = os.lstat(top).st_mode
    if stat.S_ISDIR(mode):
        buffer += _OPEN_DIRECTORY
        folders.append(_entries(top))
    elif stat.S_ISLNK(mode):
        buffer += _OPEN_SYMLINK + string(os.readlink(top)) + _CLOSE
    elif stat.S_ISREG(mode):
        yield from _file(top, buffer, executable)
    else:
        raise _unsupported(top)
    while folders:
        entries, prefix = folders[-1]
        for entry in entries:
            name = entry.name
            length = len(name)
            buffer += _OPEN_ENTRY
            buffer += length.to_bytes(8, "little")
            buffer += name
            buffer += _PADDED_NODE[-length % 8]
            if entry.is_symlink():
                buffer += _OPEN_SYMLINK + string(os.readlink(prefix + name)) + _CLOSE
            elif entry.is_dir(follow_symlinks=False):
                buffer += _OPEN_DIRECTORY
                folders.append(_entries(prefix + name))
                break
            elif entry.is_file(follow_symlinks=False):
                yield from _file(prefix + name, buffer)
            else:
                raise _unsupported(prefix + name)
            buffer += _CLOSE
            if len(buffer) >= _ENOUGH:
                yield bytes(buffer)
                buffer.clear()
        else:
            folders.pop()
            buffer += _CLOSE
            if folders:
                buffer += _CLOSE
    yield bytes(buffer)


def nar_hash(
    path: str | bytes | os.PathLike[str], executable: bool | None = None
) -> tuple[Hash, int]:
    """Return the sha256 of the archive of `path` and the archive's size in bytes.

    This is what `nix hash path` prints. For arguments, memory and errors see `dump`.
    """
    state, size = hashlib.sha256(), 0
    for piece in dump(path, executable):
        state.update(piece)
        size += len(piece)
    return Hash("sha256", state.digest()), size


#: Pieces are given out from this size on: small enough to stay in the processor's cache.
_ENOUGH: Final = 1 << 16

#: The padding of a name, by its length, with what comes after.
_PADDED_NODE: Final = [bytes(count) + _NODE for count in range(8)]


def _entries(folder: bytes) -> tuple[Iterator[os.DirEntry[bytes]], bytes]:
    with os.scandir(folder) as entries:
        return iter(sorted(entries, key=_by_name)), folder + b"/"


def _file(path: bytes, buffer: bytearray, executable: bool | None = None) -> Iterator[bytes]:
    """Put a file into the buffer, or yield the buffer and the file where that is too large."""
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        mode, size = status.st_mode, status.st_size
        if not stat.S_ISREG(mode):
            raise _unsupported(path)
        runs = mode & stat.S_IXUSR if executable is None else executable
        buffer += _OPEN_PROGRAM if runs else _OPEN_FILE
        buffer += size.to_bytes(8, "little")
        left = size
        # One byte more is asked for than there should be, so that growth is seen.
        while piece := os.read(descriptor, min(left + 1, PIECE)):
            left -= len(piece)
            if left < 0:
                break
            if len(buffer) + len(piece) < PIECE:
                buffer += piece
            else:
                yield bytes(buffer)
                buffer.clear()
                yield piece
            if left == 0 and size < PIECE:
                # A small file: one more call to see that it ends here is a tenth of the time.
                break
        if left:
            raise NixFormatError(
                f"{os.fsdecode(path)} changed from {size} bytes while it was read",
                "is something still writing there? try again when it is done",
            )
        buffer += bytes(-size % 8) + _CLOSE
    finally:
        os.close(descriptor)


def _unsupported(path: bytes) -> NixFormatError:
    return NixFormatError(
        f"{os.fsdecode(path)} is neither a file nor a folder nor a link",
        "an archive cannot hold fifos, sockets and devices: remove it",
    )


# -- reading -----------------------------------------------------------------------------------


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
    reader.expect(_MAGIC)
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
        word = reader.take(len(_CLOSE))
        if word == _CLOSE:
            folders.pop()
            if folders:
                reader.expect(_CLOSE)
            continue
        if word != _ENTRY:
            raise reader.wrong(f"found {word!r} in a folder")
        reader.count()
        reader.expect(_NAME)
        name = reader.string(NAME_LIMIT, "a name")
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise reader.wrong(f"an entry may not have the name {os.fsdecode(name)!r}")
        if name <= last:
            raise reader.wrong(f"the names {last!r} and {name!r} are not in order")
        folders[-1] = (folder, name)
        reader.expect(_NODE)
        path = folder + b"/" + name
        if _restore_node(reader, path):
            folders.append((path, b""))
            if len(folders) > DEPTH_LIMIT:
                raise reader.wrong(f"more than {DEPTH_LIMIT} folders in each other")
        else:
            reader.expect(_CLOSE)


def _restore_node(reader: _Reader, path: bytes) -> bool:
    """Restore one file, link or folder; return whether it is a folder, whose entries follow."""
    reader.expect(_TYPE)
    kind = reader.take(len(_REGULAR))
    if kind == _REGULAR:
        word = reader.take(len(_CONTENTS))
        executable = word == _EXECUTABLE[: len(word)]
        if executable:
            reader.expect(_EXECUTABLE[len(word) :] + _CONTENTS)
        elif word != _CONTENTS:
            raise reader.wrong(f"found {word!r} in a file")
        descriptor = os.open(path, _WRITE, 0o777 if executable else 0o666)
        try:
            reader.contents(descriptor)
        finally:
            os.close(descriptor)
    elif kind == _SYMLINK:
        reader.expect(_TARGET)
        target = reader.string(TARGET_LIMIT, "the target of a link")
        if not target or b"\0" in target:
            raise reader.wrong(f"a link may not lead to {os.fsdecode(target)!r}")
        os.symlink(target, path)
    elif kind == _DIRECTORY[: len(kind)]:
        reader.expect(_DIRECTORY[len(kind) :])
        os.mkdir(path)
        return True
    else:
        raise reader.wrong(f"found the type {kind!r}")
    reader.expect(_CLOSE)
    return False


def _remove(path: bytes) -> None:
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
