"""The nursery: a process that is forked for each worker of this machine.

See `worker` for what those processes run.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from plxnix.realize import worker

if TYPE_CHECKING:
    import subprocess

#: Seconds that a process has to end after it was killed.
_GRACE = 10.0

#: Called with what a stage prints in another process.
Printed = Callable[[bytes], object]


class Nursery:
    """A fresh interpreter that has plxnix loaded, with this one's `sys.path`; begun when needed."""

    def __init__(self) -> None:
        self._started: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def fork(self) -> Worker:
        """Have a worker forked."""
        import subprocess

        if self._started is None:
            here, there = socket.socketpair()
            with there:
                program = (
                    f"import sys; sys.path[:] = {sys.path!r}; "
                    f"from plxnix.realize.worker import nurse; nurse({there.fileno()})"
                )
                process = subprocess.Popen(
                    [sys.executable, *["-O"] * sys.flags.optimize, "-c", program],
                    pass_fds=[there.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C comes here, and we stop what is to be stopped.
                )
            self._started = process, here
        here, there = socket.socketpair()
        with there:
            socket.send_fds(self._started[1], [b"f"], [there.fileno()])
        return Worker(here)

    def close(self) -> None:
        """End it; the workers that it has forked have ended."""
        if self._started is not None:
            process, control = self._started
            control.close()
            process.wait()
            self._started = None


class Worker:
    """The other end of a socket: one process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._number = 0
        self._descriptor = -1

    def do(self, task: bytes, printed: Printed) -> bytes | None:
        """Have a task done and return the answer; None if the process has died."""
        with suppress(OSError):
            worker.put(self._connection, worker.TASK, task)
            while (message := worker.get(self._connection)) is not None:
                kind, data = message
                if kind == worker.HELLO:
                    self._met(int(data))
                elif kind == worker.PRINTED:
                    printed(data)
                else:
                    return data
        return None

    def _met(self, number: int) -> None:
        with suppress(OSError):
            self._descriptor = os.pidfd_open(number)
        self._number = number

    def kill(self) -> None:
        """Kill the process with its group; that it is closed tells one that has said no number."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._number and not self._ended(0):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._number, signal.SIGKILL)

    def dismiss(self) -> None:
        """Tell the process that there is nothing more to do."""
        with suppress(OSError):
            worker.put(self._connection, worker.END, b"")

    def end(self) -> None:
        """Wait until the process has ended, and forget it."""
        if not self._ended(_GRACE):
            self.kill()
            self._ended(_GRACE)
        self._connection.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _ended(self, seconds: float) -> bool:
        if self._descriptor < 0:
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
