"""Signals that end a process which a test has started."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

#: How long a signal may take, in seconds, before another one is sent, and how many are sent.
#: Python sees one that comes right before a system call only after that call, and a sleep is one:
#: of a thousand interrupts, sent at the moment when the sleep begins, one was seen at its end.
#: One too many, while it tidies up on a slow disk, is as if the user did not want to wait for that.
PATIENCE, TIMES = 100, 5


def interrupt(
    process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT
) -> tuple[str, str]:
    """Send a process a signal until it ends; return what it printed."""
    for _ in range(TIMES):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=PATIENCE)
    process.kill()
    return process.communicate()


@contextmanager
def interrupting(send: Callable[[], None]) -> Iterator[None]:
    """Send an interrupt, and again until the block ends."""
    ended = Event()

    def act() -> None:
        for _ in range(TIMES):
            send()
            if ended.wait(PATIENCE):
                break

    thread = Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
