"""Flushing: what was written goes through to the disk before anything rests on it.

Each file and folder is waited for by itself (fsync(2)), or, where these are many, the file system
as a whole (syncfs(2)): on Linux both promise the same, and the disk is asked to empty its cache
once instead of once a file. What others have written there is then waited for, too; so it is done
only where that is little.

That something could not be written syncfs(2) tells once, and then only those who had the file
system open before: so it is called with a descriptor that is older than what is flushed, and, when
it has told one thread of this process, each file is asked about.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from plxnix.forking import process_lock
from plxnix.store import tree

#: Fewer files and folders are waited for one by one.
_MANY: Final = 64

#: So many bytes are written while one file is waited for.
_WORTH: Final = 1 << 18

#: File systems for which syncfs(2) does what fsync(2) does (statfs(2)): ext4, XFS, Btrfs, F2FS and
#: tmpfs. FUSE and overlays need not pass on what they are asked, nor the errors.
WHOLE: Final = (0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994)

#: Before, syncfs(2) told of no errors.
_LINUX: Final = (5, 8)


#: The descriptors that have told of an error, which concerns nobody knows what.
_told: set[int] = set()
_guard = process_lock()


def flush(
    trees: Sequence[str],
    others: Sequence[str] = (),
    linked: bool = False,
    since: int | None = None,
) -> None:
    """Write all that is below `trees`, and other files or folders, through to the disk.

    If `linked`, files in trees that have other links have been flushed when those were made. All
    have to be on one file system, and `since` is a descriptor there that was opened before they
    were written; without one they are waited for one by one. Raises `OSError`. Cost: one wait for
    the disk if there are many and the machine has not much to write, else one for each.
    """
    if not (trees or others):
        return
    if since is not None and _are_many(trees, others, linked):
        with _guard:
            if since not in _told and _flush_whole(since):
                return
    # The kernel is asked to start writing all of it before the first is waited for: a journaling
    # file system then commits once for all, and not once for each file.
    for other in others:
        _start_writing(other)
    for files, descriptor in _walk(trees):
        for name in files:
            if _written(name, descriptor, linked):
                _start_writing(name, descriptor)
    for files, descriptor in _walk(trees):
        for name in files:
            if _written(name, descriptor, linked):
                tree.flush_file(name, descriptor)
        os.fsync(descriptor)
    for other in others:
        tree.flush_file(other)


def _are_many(trees: Sequence[str], others: Sequence[str], linked: bool) -> bool:
    """Tell whether waiting for each by itself takes longer than writing all that is not written."""
    count = needed = 0
    sizes = (1 if linked else 1 + len(files) for files, _ in _walk(trees))
    for size in chain((len(others),), sizes):
        count += size
        if count >= _MANY:
            needed = needed or max(_MANY, _unwritten() // _WORTH)
            if count >= needed:
                return True
    return False


def _unwritten() -> int:
    """Return how many bytes this machine has still to write to its disks."""
    try:
        found = re.search(r"^Dirty: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) << 10 if found else 1 << 62


def _flush_whole(descriptor: int) -> bool:
    """Write all of a file system through to the disk; tell whether that can be relied on."""
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < _LINUX:
        return False
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        # The first field of the structure, which is shorter than this, is the kind.
        found = ctypes.create_string_buffer(512)
        if library.fstatfs(descriptor, found) != 0:
            return False
        if ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF not in WHOLE:
            return False
        failed = library.syncfs(descriptor) != 0
    # This Python was built without, or is linked statically; or this is not Linux.
    except (ImportError, OSError, AttributeError):
        return False
    if failed:
        _told.add(descriptor)
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def _walk(trees: Sequence[str]) -> Iterator[tuple[list[str], int]]:
    for top in trees:
        for _, _, files, descriptor in tree.walk(top, topdown=False):
            yield files, descriptor


def _written(name: str, folder: int, linked: bool) -> bool:
    """Tell whether there is a file that has been written here."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(found.st_mode) and not (linked and found.st_nlink > 1)


def _start_writing(path: str, folder: int | None = None) -> None:
    """Let the kernel begin to write a small file, without waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        # On Linux this starts writing what is not written yet (posix_fadvise(2)). It also drops
        # what is written already from memory, so large files are left alone.
        if os.fstat(descriptor).st_size <= tree.SMALL:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
