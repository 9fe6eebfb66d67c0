"""The crew: threads that make attempts of stages, and decide one at a time what comes next.

The thread that has made an attempt decides, and goes on with what it has decided on, so that small
stages follow each other without waking up other threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from plxnix.realize.turns import turn

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


#: Seconds after which somebody decides for long: what waits for that does not wait any more.
_LONG = 0.05


class _Job(Protocol):
    #: Whether a thread has taken it: then it is waited for, whenever the user interrupts.
    begun: bool

    @property
    def takes_turns(self) -> bool:
        """Whether it is Python code of this process, which may be small."""


J = TypeVar("J", bound=_Job)


class Crew(Generic[J]):
    """At most `size` threads, begun when they are needed; they all see the caller's context.

    `attempt` makes an attempt, and raises nothing. `decide` takes note of those that were made and
    calls `add` for those that are to be; it tells whether the thread that calls `wait` has to look
    at what is there, too. No two threads are in it at once.
    """

    def __init__(
        self, size: int, attempt: Callable[[J], object], decide: Callable[[], bool]
    ) -> None:
        self._size = size
        self._attempt = attempt
        self._decide = decide
        self._context = copy_context()
        #: Held by who decides.
        self._lock = Lock()
        #: How many of what was added the thread keeps that decides, to do it itself.
        self._keeps = 0
        self._added: list[J] = []
        #: The lock for `_added`, `over`, and what is begun.
        self._gate = Lock()
        self._threads: ThreadPoolExecutor | None = None
        #: What wakes up who waits: an error to raise, or None.
        self._news: SimpleQueue[BaseException | None] = SimpleQueue()
        #: Nothing more is to be decided.
        self.over = False

    def add(self, job: J) -> None:
        """Have an attempt made soon; who calls this is deciding."""
        job.begun = False
        with self._gate:
            self._added.append(job)

    def hand_out(self) -> None:
        """Begin what was added, before who decides calls what may be slow."""
        self._hand_out(self._keeps)

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Let the caller decide in the block; what was added is begun at its end."""
        with turn():
            while not self._lock.acquire(timeout=_LONG):
                # Who decides is slow, and may keep something.
                self._hand_out(0)
            try:
                self._keeps = 0
                yield
                self._hand_out(0)
            finally:
                self._lock.release()

    def wait(self, until: float) -> None:
        """Wait until there is something to look at, at the latest at a monotonic time.

        Raises what was raised where a thread of the crew decided.
        """
        with suppress(Empty):
            error = self._news.get(timeout=max(0.0, until - time.monotonic()) + 0.001)
            if error is not None:
                raise error

    def stop(self) -> None:
        """Let nobody decide any more, and wait for who does; what is not begun never is."""
        with self._gate:
            self.over = True
        with self._lock:
            self._added.clear()

    def close(self, wait: bool) -> None:
        """End the threads when they have made their attempts, and `wait` for that."""
        if self._threads is not None:
            self._threads.shutdown(wait=wait)

    def _hand_out(self, kept: int) -> None:
        with self._gate:
            jobs = self._added[kept:]
            del self._added[kept:]
        for job in jobs:
            if self._threads is None:
                from concurrent.futures import ThreadPoolExecutor

                self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="plxnix")
            self._threads.submit(self._begin, job)

    def _begin(self, job: J) -> None:
        """Take a job, unless it is too late."""
        with self._gate:
            if self.over:
                return
            job.begun = True
        self._work(job)

    def _work(self, job: J | None) -> None:
        """Make an attempt in this thread, and those that follow."""
        while job is not None:
            with ExitStack() as stack:
                if job.takes_turns:
                    stack.enter_context(turn())
                self._context.copy().run(self._attempt, job)
                if not job.takes_turns:
                    stack.enter_context(turn())
                if not self._lock.acquire(timeout=_LONG):
                    # Who decides has to have threads for what it decides on.
                    self._news.put(None)
                    return
                try:
                    job = self._context.copy().run(self._next)
                finally:
                    self._lock.release()

    def _next(self) -> J | None:
        """Decide what comes after an attempt of this thread, and return what it is to do."""
        if self.over:
            return None
        try:
            self._keeps = 1
            wake = self._decide()
            if not self.over:
                self._hand_out(1)
        except BaseException as error:  # noqa: BLE001 (who waits gets it)
            self.over = True
            self._news.put(error)
            return None
        if wake:
            self._news.put(None)
        with self._gate:
            if self.over or not self._added:
                return None
            mine = self._added.pop()
            mine.begun = True
        return mine
