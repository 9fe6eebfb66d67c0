"""Locks between processes: `flock` on files and folders of the store.

The kernel drops a lock when its holder dies, however it dies, so a lock is never stale. Who waits
is told for whom: the holder writes its process and host into the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from plxnix.errors import StoreError

#: The lock files that this process holds at pauses.
_parked: list[str] = []

#: Called once with a sentence when a lock is held by another process and has to be waited for.
Waiting = Callable[[str], None]


@contextmanager
def exclusive(path: str, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock file `path` alone, waiting for it if need be; the file is gone afterwards.

    Two threads of one process exclude each other too. Raises `StoreError` where the file system
    cannot lock or the store is read-only.
    """
    descriptor = _acquire(path, fcntl.LOCK_EX, waiting)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        # Unlinked while still held: whoever opened it meanwhile sees that and opens a new one.
        os.unlink(path)
        os.close(descriptor)


@contextmanager
def shared(path: str, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock file `path` together with others that share it; the file stays."""
    descriptor = _acquire(path, fcntl.LOCK_SH, waiting)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def parked(path: str) -> Iterator[None]:
    """Say that this process holds the lock file `path` by `shared` until a person goes on."""
    _parked.append(path)
    try:
        yield
    finally:
        _parked.remove(path)


@contextmanager
def alone(path: str, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock file `path` of `shared` alone; the file stays.

    Raises `StoreError` where this process would wait for itself; see `parked`.
    """
    if path in _parked:
        raise StoreError(
            f"a realization is paused in this process, which holds {path}",
            "repl_continue() or repl_cancel() it first",
        )
    descriptor = _acquire(path, fcntl.LOCK_EX, waiting)
    try:
        yield
    finally:
        os.close(descriptor)


def try_folder(path: str) -> int | None:
    """Lock a folder if nobody else holds it; return the descriptor to be closed, or None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if not _same(descriptor, path):
        os.close(descriptor)
        return None
    return descriptor


def _acquire(path: str, kind: int, waiting: Waiting | None) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(
                f"cannot open the lock {path}: {error.strerror}",
                "is the store read-only, or another user's?",
            ) from error
        try:
            _lock(descriptor, path, kind, waiting)
            if _same(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: str, kind: int, waiting: Waiting | None) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise StoreError(
                f"cannot lock {path}: {error.strerror}",
                "the store has to be on a file system with flock",
            ) from error
    if waiting is not None:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        waiting(f"waiting for {holder or 'another process'}, which holds {os.path.basename(path)}")
    fcntl.flock(descriptor, kind)


def _same(descriptor: int, path: str) -> bool:
    """Tell whether the open file is still the one at `path`: a holder may have removed it."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
