"""Descriptors 1 and 2: what programs print that a realizer starts, and code that is no Python.

While this process runs stages, and nothing else, its standard output and error are one pipe. So all
that is written there can go into the log of the stage and be shown.
"""

from __future__ import annotations

import codecs
import fcntl
import mmap
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from plxnix.builders.process import bytes_waiting
from plxnix.realize import pump, run

#: How much is read at once, how much the pipe is to hold, and how much is freed at once, in bytes.
_PIECE, _ROOM, _FREED = 1 << 16, 1 << 20, 1 << 20


class Descriptors:
    """The two descriptors as a pipe, for a block of the main program of a process.

    What is written goes to the log of the stage that runs, if there is one and no other, and to
    `show`, from a thread of its own. Outputs of Python code and of programs keep their order.

    Compiled code may print while it keeps all threads of this process from running. So the pipe is
    emptied by a program (`pump`), from when the first stage runs, and this process reads the file
    that it fills. Without that program it reads the pipe.
    """

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept: list[int] = []
        self._draining = False
        #: Whether it was tried to start the pump, and whether it runs.
        self._tried = self._pumped = False
        #: The file, up to where it was delivered, and up to where it is freed.
        self._place, self._delivered, self._freed = -1, 0, 0

    def __enter__(self) -> Descriptors:
        """Raise `OSError` if one of them is closed."""
        self._kept = [os.dup(1), os.dup(2)]
        self._pipe, self._writing = os.pipe()  # which stays open, whatever a stage closes
        self._end, self._ending = os.pipe()
        self._told, self._telling = os.pipe()
        for descriptor in (self._told, self._telling):
            os.set_blocking(descriptor, False)
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
        self._tried = True
        self.drain()
        os.write(self._ending, b".")  # To close it is not enough: a forked process may have it.
        self._reader.join()
        pipes = self._pipe, self._writing, self._end, self._ending, self._told, self._telling
        for descriptor in (*pipes, self._place):
            if descriptor >= 0:
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

    def drain(self, most: int | None = None) -> None:
        """Deliver what has been written up to now, or that much; in a forked process, nothing."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._draining:  # What is shown is printed, and that comes here.
                return
            self._draining = True
            try:
                if not self._tried:
                    self._start()
                if self._place >= 0:
                    end = self._written()
                    self._deliver_moved(end if most is None else min(end, self._delivered + most))
                if not self._pumped:
                    self._deliver_waiting()
            finally:
                self._draining = False

    # Not what comes meanwhile: a program that a stage has left behind may write for ever.

    def _written(self) -> int:
        """Return how long the file will be when what is in the pipe now has been moved."""
        for _ in range(100 if self._pumped else 0):
            size = self._size()
            waiting = bytes_waiting(self._pipe)
            if size == self._size():  # Nothing was moved between the two looks.
                return size + waiting
        return self._size()

    def _deliver_moved(self, end: int) -> None:
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        while self._delivered < end:
            size = min(_PIECE, end - self._delivered, self._size() - self._delivered)
            if size:
                data = os.pread(self._place, size, self._delivered)
                self._delivered += size
                self._free()
                self._pass_on(data)
            elif not self._pumped:
                return
            else:
                poll.poll()
                self._hear()

    def _deliver_waiting(self) -> None:
        left = bytes_waiting(self._pipe)
        while left > 0:
            data = os.read(self._pipe, min(left, _PIECE))
            left -= len(data)
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        run.record(data)
        with suppress(OSError, ValueError):  # Nobody looks any more.
            self._show(self._decoder.decode(data))

    def _size(self) -> int:
        return os.fstat(self._place).st_size

    def _free(self) -> None:
        end = self._delivered // mmap.PAGESIZE * mmap.PAGESIZE
        if end - self._freed >= _FREED:
            with mmap.mmap(self._place, end) as mapped:
                mapped.madvise(mmap.MADV_REMOVE, self._freed, end - self._freed)
            self._freed = end

    def _hear(self) -> None:
        """Take what the pump has told; see whether it has ended."""
        with suppress(BlockingIOError):
            self._pumped = bool(os.read(self._told, _PIECE))

    def _start(self) -> None:
        """Start the pump, as nobody's child, so that stages may wait for theirs."""
        self._tried = True
        # Without it all is well that prints less than there is room for.
        with suppress(AttributeError, OSError):
            self._place = os.memfd_create("plxnix-output")
            passed = self._pipe, self._end, self._place, self._telling
            files: list[tuple[Any, ...]] = [
                (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)
            ]
            files += [(os.POSIX_SPAWN_DUP2, number, number) for number in passed]
            command = [sys.executable, "-I", "-S", pump.__file__, *map(str, passed)]
            shell = ["sh", "-c", '"$@" &', "sh", *command]
            os.waitpid(os.posix_spawn("/bin/sh", shell, os.environ, file_actions=files), 0)
            self._pumped = True
        os.close(self._telling)  # So that it is seen when the pump has ended.
        self._telling = -1

    def _read(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            with self._lock:
                if self._pumped or not self._tried:
                    poll.register(self._told, select.POLLIN)
                if not self._pumped:
                    poll.register(self._pipe, select.POLLIN)
                left = self._place >= 0 and self._delivered < self._size()
            ready = [descriptor for descriptor, _ in poll.poll(0 if left else None)]
            if self._end in ready:
                return
            with self._lock:
                if self._told in ready:
                    self._hear()
                self.drain(_ROOM)
            if left:  # Others who drain have their turn.
                time.sleep(0.001)
