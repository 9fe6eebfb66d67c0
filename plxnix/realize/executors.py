"""Executors: where realizers that are Python code run when several stages run at once.

- `Workers`: processes of this machine, made for one realization. They can be killed.
- `Threads`: this process; for code that waits more than it computes, or that cannot be pickled.
- `Others`: anything with the `submit` of `concurrent.futures`: Dask, MPI, Ray, Parsl.

`choose` makes one of what the user has said.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any

from plxnix.errors import BuildFailed, InvalidValue, MissingExtra
from plxnix.model import DRef, RRef
from plxnix.realize import worker
from plxnix.realize.attempt import Attempt, keep_output
from plxnix.realize.nursery import Nursery, Worker
from plxnix.realize.parcels import (
    Answer,
    Task,
    pack_call,
    pack_supplies,
    require_cloudpickle,
    unpack,
)
from plxnix.realize.run import Observer, RemoteTraceback, Run
from plxnix.realize.work import Work
from plxnix.stopping import Stop
from plxnix.store import Store, locks
from plxnix.store.layout import Layout
from plxnix.store.session import sweep

#: How many stages an executor of somebody else gets at once, unless `jobs` says.
HANDED_OVER = 64

#: Seconds between two looks at whether it has begun with one.
_LOOK = 0.5


class Executor(ABC):
    """Makes attempts of opaque stages; `make` is called from several threads at once."""

    @abstractmethod
    def make(self, work: Work, attempt: Attempt, observer: Observer, stop: Stop) -> list[RRef]:
        """Make an attempt, published in the end, and tell the observer; what it raises is final.

        It ends soon after `stop` is set, if it can be stopped.
        """

    def close(self) -> None:  # noqa: B027 (most have nothing to end)
        """End what was started for this realization."""


class Threads(Executor):
    """Runs realizers in the thread that asks."""

    def make(self, work: Work, attempt: Attempt, observer: Observer, stop: Stop) -> list[RRef]:
        """Make an attempt; the realizer cannot be stopped while it runs."""
        stop.check()
        return work.run(attempt, observer)


class Remote(Executor):
    """Sends attempts away as tasks: what `Workers` and `Others` share."""

    def __init__(self) -> None:
        require_cloudpickle()
        self._calls: dict[int, tuple[Any, bytes]] = {}
        #: Whether a worker has said that it sees no store.
        self._apart = False

    @abstractmethod
    def send(self, task: Task, stop: Stop, begun: Callable[[], object]) -> Answer:
        """Have a task done and return the answer; raise what prevented that.

        `begun` is called when it is known that a worker has the task.
        """

    def mark(self, store: Store, dref: DRef, observer: Observer) -> str:
        """Return the path of a file that a worker removes when it has the task; "" without one."""
        del store, dref, observer
        return ""

    def make(self, work: Work, attempt: Attempt, observer: Observer, stop: Stop) -> list[RRef]:
        """Make an attempt elsewhere; see `Executor.make`."""
        run = Run(attempt.dref, observer, work)
        begun = cache(partial(observer.started, run.dref))
        mark = self.mark(attempt.store, attempt.dref, observer)
        try:
            with run.current():
                answer = self._ask(work, attempt, stop, mark, begun)
                for line in answer.said:
                    observer.said(run.dref, line)
                if answer.error is not None:
                    raise _again(answer)
                unpack(attempt.store, answer.parcels)
        except BaseException as error:
            observer.failed(run.dref, error)
            raise
        finally:
            with suppress(OSError):
                os.unlink(mark)
        observer.finished(run.dref, answer.rrefs, answer.seconds)
        return answer.rrefs

    def _ask(
        self, work: Work, attempt: Attempt, stop: Stop, mark: str, begun: Callable[[], object]
    ) -> Answer:
        attempt.store.restore(attempt.config)
        task = Task(
            dref=attempt.dref,
            config=attempt.config.canonical,
            context=dict(attempt.context),
            call=self._call(attempt),
            store=attempt.store.root,
            proof=attempt.store.session().path,
            fsync=attempt.store.fsync,
            keep_failed=work.keep_failed,
            search=tuple(sys.path),
            token=os.urandom(16).hex(),
            mark=mark,
        )
        answer = Answer(lacks_store=True)
        if not self._apart:
            answer = self.send(task, stop, begun)
        if answer.lacks_store:
            self._apart = True
            supplies = pack_supplies(attempt.store, attempt.config, attempt.context)
            task = replace(task, supplies=supplies, token=os.urandom(16).hex())
            answer = self.send(task, stop, begun)
        begun()
        if answer.error is not None and not getattr(answer.error, "log", ""):
            keep_output(attempt.store, attempt.dref, answer.output, answer.error)
        return answer

    def _call(self, attempt: Attempt) -> bytes:
        """Return the pickled realizer; one that many stages share is pickled once."""
        if attempt.arguments:
            return pack_call(attempt.dref, attempt.realizer, attempt.arguments)
        key = id(attempt.realizer)
        if key not in self._calls:
            packed = pack_call(attempt.dref, attempt.realizer, {})
            self._calls[key] = attempt.realizer, packed  # It lives, so nobody gets its number.
        return self._calls[key][1]


class Workers(Remote):
    """Processes of this machine: each does one task at a time, and is killed if that is to stop.

    They are forked from a fresh interpreter that has plxnix loaded, with this one's `sys.path`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._nursery = Nursery()
        self._idle: list[Worker] = []
        #: Stores in which a worker was killed.
        self._littered: set[str] = set()

    def send(self, task: Task, stop: Stop, begun: Callable[[], object]) -> Answer:
        """Have a task done by a worker that is idle, or a new one."""
        stop.check()
        begun()
        with self._guard:
            found = self._idle.pop() if self._idle else self._nursery.fork()
        try:
            with stop.calling(found.kill):
                answer = found.do(pickle.dumps(task), _print)
                if answer is None:
                    stop.check()
                    raise BuildFailed(
                        f"the process that ran the realizer of {task.dref} ended before it was "
                        "done",
                        "it was killed (for want of memory?), crashed, or called os._exit",
                        task.dref,
                    )
        except BaseException:
            self._littered.add(task.store)
            found.kill()
            found.end()
            raise
        with self._guard:
            self._idle.append(found)
        found_answer: Answer = pickle.loads(answer)  # noqa: S301 (of our own worker)
        return found_answer

    def close(self) -> None:
        """End the processes, and sweep what those have left that were killed."""
        for one in self._idle:
            one.dismiss()
        for one in self._idle:
            one.end()
        self._idle.clear()
        self._nursery.close()
        for layout in map(Layout, self._littered):
            with suppress(OSError):  # The next process sweeps what is left.
                sweep(layout.tmp)
            with suppress(OSError):  # Garbage collection does.
                locks.sweep(layout.temproots)


class Others(Remote):
    """An executor that the user has, such as that of a Dask client; it is not shut down here.

    What it has begun to run cannot be stopped, only not be waited for.
    """

    def __init__(self, executor: Any, end: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._executor = executor
        self._end = end

    def mark(self, store: Store, dref: DRef, observer: Observer) -> str:
        """Make the file, and tell the observer that the stage is handed over."""
        mark = store.session().file("mark")
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        observer.queued(dref)
        return mark

    def send(self, task: Task, stop: Stop, begun: Callable[[], object]) -> Answer:
        """Submit a task and wait for its answer."""
        stop.check()
        over = threading.Event()

        def cancel() -> None:
            over.set()
            with suppress(Exception):  # Parsl's futures cannot be cancelled, and raise.
                future.cancel()

        try:
            future = self._executor.submit(worker.perform, pickle.dumps(task))
            with stop.calling(cancel):
                future.add_done_callback(lambda _: over.set())
                while not over.wait(_LOOK):
                    # `running` is a hint only: pools say it of what comes next, too.
                    if future.running() if self._apart else not os.path.exists(task.mark):
                        begun()
                        over.wait()
                stop.check()
                answer: Answer = pickle.loads(future.result())  # noqa: S301 (of our own worker)
        except Exception as error:  # whatever the executor raises for a lost worker
            stop.check()
            raise BuildFailed(
                f"the executor gave no answer for {task.dref}: {type(error).__name__}: {error}",
                "did its worker die? --retries tries again; plxnix has to be installed there",
                task.dref,
            ) from error
        if answer.output:
            _print(answer.output)
        return answer

    def close(self) -> None:
        """Leave the executor as it was, and close what `choose` has opened for it."""
        if self._end is not None:
            self._end()


def choose(executor: Any) -> Executor:
    """Return the executor that is meant.

    That is None or `processes`, `threads`, `dask:ADDRESS` (of a scheduler), a Dask `Client`, or an
    object with `submit`. Raises `InvalidValue`, `MissingExtra`.
    """
    if executor is None or executor == "processes":
        return Workers()
    if executor == "threads" or isinstance(executor, ThreadPoolExecutor):
        return Threads()
    if isinstance(executor, str) and executor.startswith("dask:"):
        return _dask(executor.removeprefix("dask:"))
    if hasattr(executor, "get_executor"):
        executor = executor.get_executor()
    if not callable(getattr(executor, "submit", None)):
        raise InvalidValue(
            f"executor is {executor!r:.80}",
            "it is processes, threads, dask:tcp://HOST:PORT, or an object with submit()",
        )
    return Others(executor)


def is_local(executor: Executor) -> bool:
    """Tell whether an executor uses the CPUs of this machine."""
    return not isinstance(executor, Others)


def _dask(address: str) -> Executor:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise MissingExtra("distributed", "dask") from None
    try:
        # A client of an address that is none hangs when it is collected, and writes a traceback.
        get_address_host_port(address, strict=True)
        client: Any = Client(address, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InvalidValue(
            f"there is no Dask scheduler at {address!r}: {error}",
            "the address is that which `dask scheduler` prints, such as tcp://10.0.0.1:8786",
        ) from error
    return Others(client.get_executor(), client.close)


def _again(answer: Answer) -> BaseException:
    """Return the error of an answer, with its cause and the traceback that it had there."""
    error = answer.error or BuildFailed("no answer")
    text = RemoteTraceback(answer.traceback, answer.frames)
    if answer.cause is not None:
        answer.cause.__cause__ = text
        error.__cause__ = answer.cause
    else:
        error.__cause__ = text
    return error


def _print(data: bytes) -> None:
    """Pass on what a stage printed elsewhere."""
    if sys.stdout is not None:
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()
