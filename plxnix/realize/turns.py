"""Taking turns: threads whose work is many short system calls do it one after the other.

Each system call lets go of the interpreter, and another thread takes it. Of two threads that both
make many of them, each waits for the other at every call, and together they are slower than one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

#: Seconds after which somebody's turn is long: nobody waits for its end.
_LONG: Final = 0.002

#: Seconds that nobody waits for longer, if all turns before are short.
_PATIENCE: Final = 0.1


class _Turn:
    """A lock, and when it was taken last."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.taken = 0.0


_latest = _Turn()


@contextmanager
def turn() -> Iterator[None]:
    """Do the block when no other thread is within such a block, or soon.

    It is a courtesy, and nothing may rest on it: who has waited for long goes on all the same.
    """
    global _latest
    begun = time.monotonic()
    while not (mine := _latest).lock.acquire(timeout=_LONG):
        now = time.monotonic()
        if mine is _latest and (now - mine.taken > _LONG or now - begun > _PATIENCE):
            mine = _latest = _Turn()
            mine.lock.acquire()
            break
    mine.taken = time.monotonic()
    try:
        yield
    finally:
        mine.lock.release()
