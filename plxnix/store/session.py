"""Unfinished work: one temporary folder a process, swept by others once its process is dead.

The folder is locked for as long as the process lives. Whoever can lock another's folder knows that
nobody works in it any more, on this machine or on another; no age, no process number and no fixed
name is involved.
"""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from itertools import count

from plxnix.errors import StoreError
from plxnix.forking import process_lock
from plxnix.store import locks, tree

_guard = process_lock()
_sessions: dict[tuple[int, str], Session] = {}


class Session:
    """The temporary folder of this process in one store; `descriptor` is of its lock."""

    __slots__ = ("_numbers", "descriptor", "path")

    def __init__(self, tmp: str) -> None:
        self._numbers = count()
        while True:
            self.path = f"{tmp}/{os.getpid()}-{os.urandom(8).hex()}"
            os.mkdir(self.path, 0o700)
            # Between these two lines a sweeper may take it for abandoned: then make another.
            descriptor = locks.try_folder(self.path)
            if descriptor is not None:
                self.descriptor = descriptor
                return

    def folder(self, name: str) -> str:
        """Make a new, empty folder in it and return its path."""
        path = self.file(name)
        os.mkdir(path, 0o755)
        return path

    def file(self, name: str) -> str:
        """Return a path in it that is not used yet."""
        return f"{self.path}/{next(self._numbers)}-{name[:100]}"

    def close(self) -> None:
        """Remove the folder with all that is left in it; doing it twice does nothing more."""
        with suppress(OSError):  # The next process sweeps what is left.
            tree.remove(self.path)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def session(tmp: str) -> Session:
    """Return the session of this process below `tmp`, after sweeping what the dead have left.

    A forked child gets one of its own. It lasts until `end_sessions`, so until the interpreter
    exits. Raises `StoreError` where nothing can be written.
    """
    key = (os.getpid(), os.path.abspath(tmp))
    with _guard:
        found = _sessions.get(key)
        if found is None or not os.path.isdir(found.path):
            if found is not None:
                found.close()  # Somebody removed the folder; the descriptor is still open.
            try:
                sweep(tmp)
                found = _sessions[key] = Session(key[1])
            except OSError as error:
                raise StoreError(
                    f"cannot write below {tmp}: {error.strerror}",
                    "is the store read-only, full or another user's?",
                ) from error
        return found


@atexit.register
def end_sessions() -> None:
    """Close the sessions of this process in all stores; who goes on working gets new ones."""
    with _guard:
        # A forked child inherits the parent's, but must not remove the parent's folders.
        for key in [key for key in _sessions if key[0] == os.getpid()]:
            _sessions.pop(key).close()


def sweep(tmp: str) -> int:
    """Remove the folders below `tmp` whose processes are dead; return how many they were.

    What cannot be removed, such as another user's, stays, and the rest goes. Raises `OSError` if
    `tmp` cannot be listed.
    """
    swept = 0
    for entry in os.listdir(tmp):
        path = f"{tmp}/{entry}"
        descriptor = locks.try_folder(path)
        if descriptor is not None:
            try:
                with suppress(OSError):
                    tree.remove(path)
                    swept += 1
            finally:
                os.close(descriptor)
    return swept
