"""Signals that come in the moment before this process begins to wait."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: A signal that means nothing here, and that nobody sends otherwise.
_NUDGE = signal.SIGURG

#: After how many seconds the main thread is nudged, and how often.
_PATIENCE, _TIMES = 0.1, 5


@contextmanager
def seen_promptly() -> Iterator[None]:
    """Let Python see signals in the block, whatever the main thread waits for.

    It takes note of each, and calls its handler when it runs code the next time. So one that comes
    right before a system call is seen when that ends: perhaps never, if it waits for a lock. Here a
    thread is told of each, and interrupts such a call by another signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    end, told = os.pipe()
    os.set_blocking(told, False)
    over = threading.Event()
    thread = threading.Thread(target=_nudge, args=(end, threading.get_ident(), over), daemon=True)
    handler = signal.signal(_NUDGE, lambda *_: None)
    outer = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(outer)
        over.set()
        # To close it is not enough, as a forked process may have it; if it is full, that will do.
        with suppress(BlockingIOError):
            os.write(told, b"\0")
        thread.join()
        signal.signal(_NUDGE, handler)
        os.close(told)
        os.close(end)


def _nudge(end: int, waiting: int, over: threading.Event) -> None:
    while not over.is_set():
        times = _TIMES if {*os.read(end, 1 << 10)} != {_NUDGE} else 0
        while times and not over.wait(_PATIENCE):
            signal.pthread_kill(waiting, _NUDGE)
            times -= 1
