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
        self._lock = Lock()
        self._added: list[J] = []
        self._threads: ThreadPoolExecutor | None = None
        #: What wakes up who waits: an error to raise, or None.
        self._news: SimpleQueue[BaseException | None] = SimpleQueue()
        #: Nothing more is to be decided.
        self.over = False

    def add(self, job: J) -> None:
        """Have an attempt made soon; who calls this is deciding."""
        job.begun = False
        self._added.append(job)

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Let the caller decide in the block; what was added is begun at its end."""
        with turn(), self._lock:
            yield
            self._hand_out()

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
        self.over = True
        with self._lock:
            self._added.clear()

    def close(self, wait: bool) -> None:
        """End the threads when they have made their attempts, and `wait` for that."""
        if self._threads is not None:
            self._threads.shutdown(wait=wait)

    def _hand_out(self) -> None:
        for job in self._added:
            if self._threads is None:
                from concurrent.futures import ThreadPoolExecutor

                self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="plxnix")
            self._threads.submit(self._begin, job)
        self._added.clear()

    def _begin(self, job: J) -> None:
        """Take a job, unless it is too late."""
        with self._lock:
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
                with self._lock:
                    job = self._context.copy().run(self._next)

    def _next(self) -> J | None:
        """Decide what comes after an attempt of this thread, and return what it is to do."""
        if self.over:
            return None
        try:
            wake = self._decide()
            mine = self._added.pop(0) if self._added and not self.over else None
            if not self.over:
                self._hand_out()
        except BaseException as error:  # noqa: BLE001 (who waits gets it)
            self.over = True
            self._news.put(error)
            return None
        if mine is not None:
            mine.begun = True
        if wake:
            self._news.put(None)
        return mine
