"""Locks between processes: `flock` on files and folders of the store.

The kernel drops a lock when its holder dies, however it dies, so a lock is never stale. Who waits
is told for whom: the holder writes its process and host into the file, and of a lock that several
may hold the kernel says who does (proc(5), `/proc/locks`).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from plxnix.errors import StoreError
from plxnix.store.sharing import share_lock

#: What the system says where this user may not write.
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)

#: What it says of a lock that somebody else holds.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)

#: What is raised of a file or folder that is gone, or another user's.
_ABSENT = (FileNotFoundError, NotADirectoryError, PermissionError)

#: Called once with a sentence when a lock is held by another process and has to be waited for.
Waiting = Callable[[str], None]


@contextmanager
def exclusive(path: str, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock file `path` alone, waiting for it if need be; the file is gone afterwards.

    Two threads of one process exclude each other too. Raises `StoreError` where the file system
    cannot lock or the store is read-only.
    """
    process = os.getpid()
    descriptor = _acquire(path, fcntl.LOCK_EX, waiting)
    try:
        with suppress(OSError):  # A dead user's file may be locked, but not written.
            if os.fstat(descriptor).st_size > 0:  # ext4 writes out at once what was truncated.
                os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {process} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        # Unlinked while still held: whoever opened it meanwhile sees that and opens a new one.
        # A file that stays is not locked: it harms nobody. A forked child does not hold it.
        if os.getpid() == process:
            with suppress(OSError):
                os.unlink(path)
        os.close(descriptor)


@contextmanager
def shared(path: str, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock file `path` together with others that share it; the file stays.

    Where this user may not write, a file that is there is locked all the same, and without one
    there is nothing to hold: nobody else could have locked it by this path.
    """
    try:
        descriptor = _acquire(path, fcntl.LOCK_SH, waiting)
    except StoreError as error:
        if not is_caused_by(error, *UNWRITABLE):
            raise
        yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: str, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock file `path` of `shared` alone; the file stays.

    Those who share it must not do so one after the other for ever: nothing keeps them back.
    """
    descriptor = _acquire(path, fcntl.LOCK_EX, waiting)
    try:
        yield
    finally:
        os.close(descriptor)


def is_caused_by(error: StoreError, *numbers: int) -> bool:
    """Tell whether the system has said one of these numbers, which an error passes on."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in numbers


def try_folder(path: str) -> int | None:
    """Lock a folder if nobody else holds it; return the descriptor to be closed, or None.

    Locked is the file `lock` in it, made if there is none: of locks on folders NFS tells other
    machines nothing. Raises `StoreError` where the file system cannot lock.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except _ABSENT:
        return None
    try:
        return _tried(f"{path}/lock", folder, os.O_CREAT)
    finally:
        os.close(folder)


def sweep(folder: str, but: str = "") -> None:
    """Remove the lock files in `folder` that nobody holds, such as those of killed processes.

    The one at the path `but` stays. What cannot be removed stays too; raises `OSError` if `folder`
    is there and cannot be listed.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{folder}/{name}"
        with suppress(OSError, StoreError):
            descriptor = None if path == but else _tried(path)
            if descriptor is not None:
                try:
                    os.unlink(path)
                finally:
                    os.close(descriptor)


def _tried(path: str, folder: int | None = None, flags: int = 0) -> int | None:
    name = path if folder is None else os.path.basename(path)
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # To be locked alone on NFS, it has to be open for writing.
        descriptor = os.open(name, os.O_RDWR | flags, 0o600, dir_fd=folder)
    except _ABSENT:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _HELD:
            return None
        raise _unlockable(path, error) from error
    if not _same(descriptor, path):
        os.close(descriptor)
        return None
    return descriptor


def _acquire(path: str, kind: int, waiting: Waiting | None) -> int:
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor, path, kind, waiting)
            if _same(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: str) -> int:
    """Open a lock file, made if there is none; to read, if that is all that is allowed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        share_lock(descriptor, path)
        return descriptor
    except OSError as error:
        if error.errno in UNWRITABLE:
            with suppress(OSError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise StoreError(
            f"cannot open the lock {path}: {error.strerror}",
            "is the store read-only, or another user's?",
        ) from error


def _lock(descriptor: int, path: str, kind: int, waiting: Waiting | None) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return
    except OSError as error:
        if error.errno not in _HELD:
            raise _unlockable(path, error) from error
    if waiting is not None:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        holder = holder or _named(_holders(path)) or "another process"
        waiting(f"waiting for {holder}, which holds {os.path.basename(path)}")
    fcntl.flock(descriptor, kind)


def _unlockable(path: str, error: OSError) -> StoreError:
    return StoreError(
        f"cannot lock {path}: {error.strerror}", "the store has to be on a file system with flock"
    )


def _named(processes: set[int]) -> str:
    if not processes:
        return ""
    return f"process{'es' if len(processes) > 1 else ''} {', '.join(map(str, sorted(processes)))}"


def _holders(path: str) -> set[int]:
    """Return which processes hold a lock file, as far as this machine's kernel tells."""
    holders = set()
    with suppress(OSError, ValueError), open("/proc/locks", encoding="ascii") as file:
        found = os.stat(path)
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in file:
            # 3: FLOCK  ADVISORY  READ  4242 00:2c:71 0 EOF; those that wait have an arrow.
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == place and int(fields[4]) > 0:
                holders.add(int(fields[4]))
    return holders


def _same(descriptor: int, path: str) -> bool:
    """Tell whether the open file is still the one at `path`: a holder may have removed it."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
