"""Trees of files on their way into the store and out of it: freeze, inspect, remove.

Nothing here follows a symbolic link: folders are opened relative to their parents' descriptors.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO

#: Permissions of what is published, as in a Nix store.
FOLDER = 0o555
FILE = 0o444
EXECUTABLE = 0o555

#: Files up to this many bytes are small: waiting for the disk costs more than writing them.
SMALL = 1 << 20


#: How many folders are open at once while a tree is removed.
_OPEN = 100


def freeze(path: str, twin: str = "", linked: bool = False) -> None:
    """Make everything below `path` read-only: files 0444 or 0555, folders 0555, times 1 s.

    The top folder itself stays writable, since a folder that is not cannot be moved to another
    parent; `seal` closes it after the move. A file with other hard links becomes a copy, so that
    nothing outside shares its bytes. Only one that is the same file as that below `twin`, a path of
    the Nix store, and is frozen already, stays as it is: what shares its bytes is as immutable as
    this store. If `linked`, who made the tree vouches that its frozen files with other links are
    linked to published ones, and they stay. Cost: three system calls a file.
    """
    for folder, folders, files, descriptor in walk(path, topdown=False):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                os.utime(name, (1, 1), dir_fd=descriptor, follow_symlinks=False)
            elif stat.S_ISREG(found.st_mode):
                if linked and found.st_nlink > 1 and is_frozen(found):
                    continue
                if found.st_nlink > 1:
                    below = os.path.relpath(os.path.join(folder, name), path)
                    if twin and is_frozen(found) and _is_one_of(found, twin, f"{twin}/{below}"):
                        continue
                    _unlink_twins(name, descriptor)
                mode = EXECUTABLE if found.st_mode & 0o100 else FILE
                os.chmod(name, mode, dir_fd=descriptor)
                os.utime(name, (1, 1), dir_fd=descriptor)
        if folder != path:
            os.fchmod(descriptor, FOLDER)
            os.utime(descriptor, (1, 1))


def walk(path: str, topdown: bool = True) -> Iterator[tuple[str, list[str], list[str], int]]:
    """Walk a tree as `os.fwalk` does, which by itself passes over folders that cannot be opened."""

    def fail(error: OSError) -> None:
        raise error

    return os.fwalk(path, topdown, fail, follow_symlinks=False)


def is_frozen(found: os.stat_result) -> bool:
    """Tell whether a file has the permissions and the time of one that is published."""
    return stat.S_IMODE(found.st_mode) in (FILE, EXECUTABLE) and found.st_mtime_ns == 10**9


def _is_one_of(found: os.stat_result, *paths: str) -> bool:
    for path in paths:
        try:
            if os.path.samestat(found, os.lstat(path)):
                return True
        except (FileNotFoundError, NotADirectoryError):
            pass
    return False


def _unlink_twins(name: str, folder: int) -> None:
    """Replace a file by a copy of itself that shares nothing with its other hard links."""
    copy = f".{os.urandom(8).hex()}"
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        mode = stat.S_IMODE(os.fstat(source).st_mode)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(copy, flags, mode, dir_fd=folder)
        try:
            while piece := os.read(source, SMALL):
                while piece:
                    piece = piece[os.write(target, piece) :]
            os.fchmod(target, mode)
        finally:
            os.close(target)
        os.replace(copy, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(source)


def freeze_file(descriptor: int, executable: bool) -> None:
    """Give a file that was just written what `freeze` gives to files."""
    os.fchmod(descriptor, EXECUTABLE if executable else FILE)
    os.utime(descriptor, (1, 1))


def seal(path: str) -> None:
    """Make the top folder of a published tree read-only, with the time 1 s."""
    os.utime(path, (1, 1))
    os.chmod(path, FOLDER)


def close(path: str) -> None:
    """Do what `seal` does, if this user may; else the next one does."""
    with suppress(OSError):
        seal(path)


def flush_file(path: str, folder: int | None = None) -> None:
    """Write one file or folder through to the disk; `path` is relative to `folder` if given."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wrong_modes(path: str) -> Iterator[str]:
    """Yield each file and folder below `path` whose permissions are not those of a frozen tree."""
    for folder, _, files, descriptor in walk(path):
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != FOLDER:
            yield folder
        for name in files:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISREG(found) and stat.S_IMODE(found) not in (FILE, EXECUTABLE):
                yield os.path.join(folder, name)


def remove(path: str) -> None:
    """Remove a tree, read-only or not; do nothing if there is none. Links are not followed.

    However deep it is, no more than `_OPEN` folders are open: what is further below is moved to the
    top first, so that no path becomes too long and nothing is walked by recursion.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    mark, number, patience = os.urandom(8).hex(), 0, 100
    top = _open_folder(path)
    opened = [(path, top, _listed(top))]
    try:
        while opened:
            name, folder, left = opened[-1]
            if not left and folder == top:
                left += _listed(top)
            if not left:
                try:
                    os.rmdir(name, dir_fd=opened[-2][1] if len(opened) > 1 else None)
                except OSError as error:
                    # Who still writes here is a builder that was killed just now, and about to end.
                    if error.errno != errno.ENOTEMPTY or not patience:
                        raise
                    patience -= 1
                    time.sleep(0.01)
                    left += _listed(folder)
                else:
                    os.close(opened.pop()[1])
                continue
            below, is_folder = left.pop()
            if not is_folder:
                with suppress(FileNotFoundError):
                    os.unlink(below, dir_fd=folder)
                continue
            # Only a folder that is writable can be moved to another parent.
            descriptor = _open_folder(below, folder)
            opened.append((below, descriptor, []))
            if len(opened) > _OPEN:
                os.close(opened.pop()[1])
                number += 1
                os.rename(below, f"{mark}-{number}", src_dir_fd=folder, dst_dir_fd=top)
            else:
                opened[-1][2].extend(_listed(descriptor))
    finally:
        for _, descriptor, _ in opened:
            os.close(descriptor)


def discard(*paths: str) -> None:
    """Remove trees of this process's session; what cannot be removed is left to a sweep."""
    for path in paths:
        with suppress(OSError):
            remove(path)


def _listed(folder: int) -> list[tuple[str, bool]]:
    """Return the names in a folder, each with whether that is a folder, which no link is."""
    with os.scandir(folder) as entries:
        return [(one.name, one.is_dir(follow_symlinks=False)) for one in entries]


def _open_folder(path: str, parent: int | None = None) -> int:
    """Open a folder, made writable for its owner."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, dir_fd=parent)
    except PermissionError:
        # Linux cannot change the mode of what it cannot open without following links.
        os.chmod(path, 0o700, dir_fd=parent)
        descriptor = os.open(path, flags, dir_fd=parent)
    try:
        if os.fstat(descriptor).st_mode & 0o700 != 0o700:
            os.fchmod(descriptor, 0o700)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: str) -> bytes:
    """Return what a file of the store holds; raise what `open_file` raises."""
    with open_file(path) as file:
        return file.read()


def open_file(path: str) -> FileIO:
    """Open a file of the store; a link, a folder or a pipe in its place is an `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return open(descriptor, "rb", buffering=0)


def write_file(path: str, data: bytes) -> None:
    """Write a new file of the store, whatever the umask; raise `OSError`.

    It is read-only from the start: a power cut may keep a file and forget a change of its mode.
    """
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, FILE)) as file:
        file.write(data)
    os.chmod(path, FILE)


def thaw(path: str) -> None:
    """Make the folders of a tree writable for their owner, so that entries can be removed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    for _, folders, _, parent in walk(path):
        for name in folders:
            if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=parent)
