"""Trees of files on their way into the store and out of it: freeze, flush, inspect, remove.

Nothing here follows a symbolic link: folders are opened relative to their parents' descriptors.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

#: Permissions of what is published, as in a Nix store.
FOLDER = 0o555
FILE = 0o444
EXECUTABLE = 0o555


def freeze(path: str) -> None:
    """Make everything below `path` read-only: files 0444 or 0555, folders 0555, times 1 s.

    The top folder itself stays writable, since a folder that is not cannot be moved to another
    parent; `seal` closes it after the move. Cost: two system calls a file.
    """
    for folder, _, files, descriptor in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in files:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                os.chmod(name, EXECUTABLE if mode & 0o100 else FILE, dir_fd=descriptor)
                os.utime(name, (1, 1), dir_fd=descriptor)
        if folder != path:
            os.fchmod(descriptor, FOLDER)
            os.utime(descriptor, (1, 1))


def seal(path: str) -> None:
    """Make the top folder of a published tree read-only."""
    os.chmod(path, FOLDER)


def flush(path: str) -> None:
    """Write everything below `path` through to the disk: files, then folders (fsync(2))."""
    for _, _, files, descriptor in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in files:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                flush_file(name, descriptor)
        os.fsync(descriptor)


def flush_file(path: str, folder: int | None = None) -> None:
    """Write one file or folder through to the disk; `path` is relative to `folder` if given."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wrong_modes(path: str) -> Iterator[str]:
    """Yield each file and folder below `path` whose permissions are not those of a frozen tree."""
    for folder, _, files, descriptor in os.fwalk(path, follow_symlinks=False):
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != FOLDER:
            yield folder
        for name in files:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISREG(found) and stat.S_IMODE(found) not in (FILE, EXECUTABLE):
                yield os.path.join(folder, name)


def remove(path: str) -> None:
    """Remove a tree, read-only or not; do nothing if there is none. Links are not followed."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    import shutil  # Loads the compressors: 4 ms that a plan need not spend.

    thaw(path)
    shutil.rmtree(path)


def thaw(path: str) -> None:
    """Make the folders of a tree writable for their owner, so that entries can be removed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    for _, folders, _, parent in os.fwalk(path, follow_symlinks=False):
        for name in folders:
            if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=parent)
