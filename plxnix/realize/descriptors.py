"""Descriptors 1 and 2: what programs print that a realizer starts, and code that is no Python.

While this process runs stages, and nothing else, its standard output and error are one pipe. So all
that is written there can go into the log of the stage and be shown.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from plxnix.builders.process import bytes_waiting
from plxnix.realize import run, spilling

#: How much is read at once, and how much the pipe is to hold, in bytes.
_PIECE, _ROOM = 1 << 16, 1 << 20


class Descriptors:
    """The two descriptors as a pipe, for a block of the main program of a process.

    What is written goes to the log of the stage that runs, if there is one and no other, and to
    `show`, from a thread of its own. Outputs of Python code and of programs keep their order.

    Compiled code of this process may print while it keeps that thread from running. A program then
    makes room in the pipe (`spilling`), as it would wait for ever when that is full.
    """

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept: list[int] = []
        #: Whether the program is there that empties the pipe, or is not needed any more.
        self._guarded = False
        self._draining = False

    def __enter__(self) -> Descriptors:
        """Raise `OSError` if one of them is closed."""
        self._kept = [os.dup(1), os.dup(2)]
        self._pipe, self._writing = os.pipe()  # which stays open, whatever a stage closes
        self._end, self._ending = os.pipe()
        self._place = os.memfd_create("plxnix-output")  # what the pipe is emptied into
        fcntl.fcntl(self._place, fcntl.F_SETFL, os.O_APPEND)
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
        self._guarded = True
        self._reader.join()
        self.drain()
        for descriptor in (self._end, self._pipe, self._writing, self._place):
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
            if self._draining:  # What is shown is printed, and that comes here.
                return
            if not self._guarded:
                self._begin_spilling()
            self._draining = True
            fcntl.lockf(self._place, fcntl.LOCK_EX)
            try:
                self._deliver()
            finally:
                fcntl.lockf(self._place, fcntl.LOCK_UN)
                self._draining = False

    def _deliver(self) -> None:
        """Deliver what the pipe was emptied into, and then what is in it."""
        spilled, waiting = os.fstat(self._place).st_size, bytes_waiting(self._pipe)
        done = 0
        # Not what comes meanwhile: a program that a stage has left behind may write for ever.
        while done < spilled + waiting:
            if done < spilled:
                data = os.pread(self._place, _PIECE, done)
            else:
                data = os.read(self._pipe, min(spilled + waiting - done, _PIECE))
            done += len(data)
            run.record(data)
            with suppress(OSError, ValueError):  # Nobody looks any more.
                self._show(self._decoder.decode(data))
        if spilled:
            os.ftruncate(self._place, 0)

    def _begin_spilling(self) -> None:
        """Start the program, as nobody's child, so that stages may wait for theirs."""
        self._guarded = True
        passed = self._pipe, self._end, self._place
        files: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)
        ]
        files += [(os.POSIX_SPAWN_DUP2, number, number) for number in passed]
        command = [sys.executable, "-I", "-S", spilling.__file__, *map(str, passed)]
        with suppress(OSError):  # Without it all is well that prints less than there is room for.
            shell = ["sh", "-c", '"$@" &', "sh", *command]
            os.waitpid(os.posix_spawn("/bin/sh", shell, os.environ, file_actions=files), 0)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while all(descriptor != self._end for descriptor, _ in poll.poll()):
            self.drain()
