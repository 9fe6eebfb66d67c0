"""Stopping work that goes on in a thread: programs that it waits for are killed.

Who may want to stop it makes a `Stop` current in that thread (`working`); what runs programs there
says by `interrupted_by` how they are killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stop:
    """The wish to stop a piece of work, with the error that it ends with; it may come any time."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._killers: list[Callable[[], object]] = []
        self.reason: BaseException | None = None

    def set(self, reason: BaseException) -> None:
        """Stop the work: it raises `reason` as soon as it can; a second wish changes nothing."""
        with self._guard:
            if self.reason is None:
                self.reason = reason
                for kill in self._killers:
                    kill()

    def check(self) -> None:
        """Raise the reason if the work is to stop."""
        if self.reason is not None:
            raise self.reason

    @contextmanager
    def calling(self, kill: Callable[[], object]) -> Iterator[None]:
        """Call `kill` when the work is to stop within the block; raise the reason at its ends."""
        with self._guard:
            self.check()
            self._killers.append(kill)
        try:
            yield
        finally:
            with self._guard:
                self._killers.remove(kill)
            self.check()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let what runs in this thread in the block be stopped by this."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Stop | None] = ContextVar("plxnix_stop", default=None)


@contextmanager
def interrupted_by(kill: Callable[[], object]) -> Iterator[None]:
    """Let `kill` be called if the work of this thread is to stop within the block.

    Then, whatever the block itself raises of it, the reason is raised.
    """
    stop = _current.get()
    if stop is None:
        yield
    else:
        with stop.calling(kill):
            yield


def check_stop() -> None:
    """Raise the reason if the work of this thread is to stop."""
    stop = _current.get()
    if stop is not None:
        stop.check()
