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
from functools import partial
from types import TracebackType
from typing import Any

from plxnix.builders.process import bytes_waiting
from plxnix.realize import run, spilling

#: How much is read at once, and how much the pipe is to hold, in bytes.
_PIECE, _ROOM = 1 << 16, 1 << 20

#: What ends the threads.
_OVER = b"."

#: For `fallocate`: make a hole, and keep the size.
_PUNCH = 3


class Descriptors:
    """The two descriptors as a pipe, for a block of the main program of a process.

    What is written goes to the log of the stage that runs, if there is one and no other, and to
    `show`, from a thread of its own. Outputs of Python code and of programs keep their order.

    Compiled code of this process may print while it keeps other threads from running. A program
    then makes room in the pipe (`spilling`), as it would wait for ever when that is full.
    """

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept: list[int] = []
        self._draining = False
        #: Whether the program was started that empties the pipe, or is not needed any more; the
        #: file that it does so into, and how much of that was delivered.
        self._guarded = False
        self._place = -1
        self._delivered = 0
        self._next: Callable[[int], tuple[int, bytes]] = self._next_alone

    def __enter__(self) -> Descriptors:
        """Raise `OSError` if one of them is closed."""
        self._kept = [os.dup(1), os.dup(2)]
        self._pipe, self._writing = os.pipe()  # which stays open, whatever a stage closes
        self._end, self._ending = os.pipe()
        self._asked, self._asking = os.pipe()
        os.set_blocking(self._pipe, False)
        with suppress(OSError):
            fcntl.fcntl(self._writing, fcntl.F_SETPIPE_SZ, _ROOM)
        for descriptor in (1, 2):
            os.dup2(self._writing, descriptor)
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._read, self._answer)
        ]
        for thread in self._threads:
            thread.start()
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
        os.write(self._ending, _OVER)  # To close it is not enough: a forked process may have it.
        os.write(self._asking, _OVER)
        self._guarded = True
        for thread in self._threads:
            thread.join()
        self.drain()
        pipes = self._pipe, self._writing, self._end, self._ending, self._asked, self._asking
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
            try:
                self._deliver()
            finally:
                self._draining = False

    def _deliver(self) -> None:
        # Not what comes meanwhile: a program that a stage has left behind may write for ever.
        left = bytes_waiting(self._pipe)
        while True:
            spilled, data = self._next(self._delivered)
            while self._delivered < spilled:
                size = min(_PIECE, spilled - self._delivered)
                self._pass_on(os.pread(self._place, size, self._delivered))
                self._delivered += size
            if data:
                self._pass_on(data)
            left -= len(data)
            if left <= 0 or not data:
                return

    def _pass_on(self, data: bytes) -> None:
        run.record(data)
        with suppress(OSError, ValueError):  # Nobody looks any more.
            self._show(self._decoder.decode(data))

    def _next_alone(self, delivered: int) -> tuple[int, bytes]:
        """Read as what `_reader` returns does, where there is no program."""
        try:
            return delivered, os.read(self._pipe, _PIECE)
        except BlockingIOError:
            return delivered, b""

    def _begin_spilling(self) -> None:
        """Start the program, as nobody's child, so that stages may wait for theirs."""
        self._guarded = True
        # Without it all is well that prints less than there is room for.
        with suppress(ImportError, AttributeError, OSError):
            self._place = os.memfd_create("plxnix-output")
            self._next = _reader(self._pipe, self._place)
            passed = self._pipe, self._end, self._place, self._asking
            files: list[tuple[Any, ...]] = [
                (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)
            ]
            files += [(os.POSIX_SPAWN_DUP2, number, number) for number in passed]
            command = [sys.executable, "-I", "-S", spilling.__file__, *map(str, passed)]
            shell = ["sh", "-c", '"$@" &', "sh", *command]
            os.waitpid(os.posix_spawn("/bin/sh", shell, os.environ, file_actions=files), 0)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while all(descriptor != self._end for descriptor, _ in poll.poll()):
            self.drain()

    def _answer(self) -> None:
        """Show the program that threads run: who cannot reads but one byte."""
        while os.read(self._asked, 1) != _OVER:
            pass


def _reader(pipe: int, place: int) -> Callable[[int], tuple[int, bytes]]:
    """Return a function that reads a piece of a pipe, which may be empty.

    It returns how much had been moved to the file before, too, and frees the beginning of the file
    up to where it is told that is delivered. The file is locked for that, and no other thread runs:
    if compiled code kept this one from going on, nobody would ever unlock it.
    """
    import ctypes

    library = ctypes.PyDLL(None)
    library.lseek.restype = library.read.restype = ctypes.c_ssize_t
    data, start, done = ctypes.create_string_buffer(_PIECE), ctypes.c_long(0), ctypes.c_long(0)
    calls = [
        partial(library.lockf, place, os.F_LOCK, start),
        partial(library.lseek, place, start, os.SEEK_END),
        partial(library.read, pipe, data, ctypes.c_size_t(_PIECE)),
        partial(library.lseek, place, start, os.SEEK_SET),
        partial(library.lockf, place, os.F_ULOCK, start),
        partial(library.fallocate, place, _PUNCH, start, done),
    ]

    def read(delivered: int) -> tuple[int, bytes]:
        done.value = delivered
        # No code of Python between them.
        _, spilled, size, *_ = list(map(partial.__call__, calls))
        return spilled, ctypes.string_at(data, max(size, 0))

    return read
