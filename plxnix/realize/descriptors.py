"""Descriptors 1 and 2: what programs print that a realizer starts, and code that is no Python.

While this process runs stages, and nothing else, its standard output and error are one pipe. So all
that is written there can go into the log of the stage and be shown.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from plxnix.builders.process import bytes_waiting
from plxnix.realize import run

#: How much is read at once, and how much the pipe is to hold, in bytes: a program in this process
#: that writes more while it keeps Python from running would wait for ever.
_PIECE, _ROOM = 1 << 16, 1 << 20


class Descriptors:
    """The two descriptors as a pipe, for a block of the main program of a process.

    What is written goes to the log of the stage that runs, if there is one and no other, and to
    `show`, from a thread of its own. Outputs of Python code and of programs keep their order.
    """

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept: list[int] = []

    def __enter__(self) -> Descriptors:
        """Raise `OSError` if one of them is closed."""
        self._kept = [os.dup(1), os.dup(2)]
        self._pipe, self._writing = os.pipe()  # which stays open, whatever a stage closes
        self._end, self._ending = os.pipe()
        with suppress(OSError):
            fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, _ROOM)
        for descriptor in (1, 2):
            os.dup2(self._writing, descriptor)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._outer, run.descriptors = run.descriptors, self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            return
        run.descriptors = self._outer
        for descriptor, kept in enumerate(self._kept, start=1):
            os.dup2(kept, descriptor)
            os.close(kept)
        os.close(self._ending)
        self._reader.join()
        self.drain()
        for descriptor in (self._end, self._pipe, self._writing):
            os.close(descriptor)

    def take(self, text: str) -> bool:
        """Come before Python code prints: tell whether the text was written to the pipe itself.

        So it is in a process that was forked from this one, whose log nobody reads.
        """
        if os.getpid() != self._process:
            os.write(1, text.encode(errors="replace"))
            return True
        self.drain()
        return False

    def drain(self) -> None:
        """Deliver what has been written up to now; in a forked process, nothing."""
        if os.getpid() != self._process:
            return
        with self._lock:
            # Not what comes meanwhile: a program that a stage has left behind may write for ever.
            left = bytes_waiting(self._pipe)
            # To show it may have delivered the rest, if that prints.
            while (waiting := min(left, bytes_waiting(self._pipe))) > 0:
                data = os.read(self._pipe, min(waiting, _PIECE))
                left -= len(data)
                run.record(data)
                with suppress(OSError, ValueError):  # Nobody looks any more.
                    self._show(self._decoder.decode(data))

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while all(descriptor != self._end for descriptor, _ in poll.poll()):
            self.drain()
