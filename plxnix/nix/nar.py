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
from typing import Final

from plxnix.errors import NixFormatError
from plxnix.nix.hashes import Hash
from plxnix.nix.nar_reading import restore
from plxnix.nix.nar_words import (
    CLOSE,
    CONTENTS,
    DIRECTORY,
    ENTRY,
    EXECUTABLE,
    MAGIC,
    NAME,
    NODE,
    PIECE,
    REGULAR,
    SYMLINK,
    TARGET,
    TYPE,
    string,
)

__all__ = ["PIECE", "dump", "file_archive", "nar_hash", "restore", "string"]

_OPEN_ENTRY: Final = ENTRY + NAME
_OPEN_DIRECTORY: Final = TYPE + DIRECTORY
_OPEN_FILE: Final = TYPE + REGULAR + CONTENTS
_OPEN_PROGRAM: Final = TYPE + REGULAR + EXECUTABLE + CONTENTS
_OPEN_SYMLINK: Final = TYPE + SYMLINK + TARGET

# A file that was replaced by a link or a fifo since it was listed must neither lead away nor block.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_by_name = attrgetter("name")


def file_archive(contents: bytes) -> bytes:
    """Return the NAR of a regular file that is not executable and is no file on disk."""
    return MAGIC + _OPEN_FILE + string(contents) + CLOSE


def dump(path: str | bytes | os.PathLike[str], executable: bool | None = None) -> Iterator[bytes]:
    """Yield the archive of a file, a link or a tree, in pieces of up to about 1 MiB.

    Links are archived and not followed. `executable` overrides the x bit where `path` is a file.
    Memory: a few MiB and the names of the folders that are open. Raises `NixFormatError` for what
    an archive cannot hold (a fifo, a socket, a device) and for a file whose size changes while it
    is read, `OSError` for what cannot be read.
    """
    top = os.fsencode(path)
    buffer = bytearray(MAGIC)
    #: The folders that are open: what is left of their entries, and their paths with a slash.
    folders: list[tuple[Iterator[os.DirEntry[bytes]], bytes]] = []
    mode = os.lstat(top).st_mode
    if stat.S_ISDIR(mode):
        buffer += _OPEN_DIRECTORY
        folders.append(_entries(top))
    elif stat.S_ISLNK(mode):
        buffer += _OPEN_SYMLINK + string(os.readlink(top)) + CLOSE
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
                buffer += _OPEN_SYMLINK + string(os.readlink(prefix + name)) + CLOSE
            elif entry.is_dir(follow_symlinks=False):
                buffer += _OPEN_DIRECTORY
                folders.append(_entries(prefix + name))
                break
            elif entry.is_file(follow_symlinks=False):
                yield from _file(prefix + name, buffer)
            else:
                raise _unsupported(prefix + name)
            buffer += CLOSE
            if len(buffer) >= _ENOUGH:
                yield bytes(buffer)
                buffer.clear()
        else:
            folders.pop()
            buffer += CLOSE
            if folders:
                buffer += CLOSE
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


def hash_of(
    path: str | os.PathLike[str], algorithm: str = "sha256", recursive: bool = False
) -> Hash:
    """Return the hash of a file's contents, or if `recursive` the sha256 of the NAR of a tree."""
    return nar_hash(path)[0] if recursive else Hash.of_file(path, algorithm)


#: Pieces are given out from this size on: small enough to stay in the processor's cache.
_ENOUGH: Final = 1 << 16

#: The padding of a name, by its length, with what comes after.
_PADDED_NODE: Final = [bytes(count) + NODE for count in range(8)]


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
        buffer += bytes(-size % 8) + CLOSE
    finally:
        os.close(descriptor)


def _unsupported(path: bytes) -> NixFormatError:
    return NixFormatError(
        f"{os.fsdecode(path)} is neither a file nor a folder nor a link",
        "an archive cannot hold fifos, sockets and devices: remove it",
    )
