"""Scheduling: many stages at once.

A stage is ready when all that it depends on is selected. Ready stages are looked at in the order of
the closure; one that is not cached waits until a job and its resources are free, and nobody else
realizes it. One thread decides; what runs, runs in others, or in other processes.

No stage holds a job, a resource or a lock while it waits for something, so two realizations of the
same stages in different orders cannot wait for each other. What is selected depends on the
realizations that there are, not on who was first: the result has the order of the closure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from threading import RLock
from typing import TYPE_CHECKING, Any

from plxnix.errors import (
    BuildFailed,
    FetchError,
    HashMismatch,
    InvalidValue,
    PlxnixError,
    RealizeError,
    StagesFailed,
)
from plxnix.model import DRef, RRef
from plxnix.realize import resources as needs
from plxnix.realize.registry import Derivation, runs_here
from plxnix.realize.resources import Demand, Resources, Supply
from plxnix.realize.run import Observer
from plxnix.stopping import Stop, check_stop

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from plxnix.realize.executors import Executor
    from plxnix.realize.work import Work

#: Seconds between two looks at a stage that another process realizes: the first, and the longest.
_SOON, _LATER = 0.02, 0.5


@dataclass(frozen=True)
class Schedule:
    """How the stages of a realization are run; see `realize`."""

    jobs: int = 1
    executor: Any = None
    keep_going: bool = False
    timeout: float | None = None
    retries: int = 0
    resources: Resources = field(default_factory=dict)

    @staticmethod
    def make(
        jobs: int | None = None,
        executor: Any = None,
        keep_going: bool = False,
        timeout: float | None = None,
        retries: int = 0,
        resources: Resources | None = None,
    ) -> Schedule:
        """Check the arguments of `realize`; raise `InvalidValue`, `InvalidSetting`."""
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise InvalidValue(f"timeout is {timeout!r}", "it is a number of seconds, or None")
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            raise InvalidValue(f"retries is {retries!r}", "it is a whole number, at least 0")
        count = needs.count_jobs(jobs)
        if jobs is None and executor is not None and count == 1:
            count = 0  # as many as the executor gets by default
        totals = needs.checked(resources or {}, "resources")
        return Schedule(count, executor, bool(keep_going), timeout, retries, totals)

    @property
    def plain(self) -> bool:
        """Whether one stage after the other runs in this thread, and the first failure is all."""
        return self == Schedule(jobs=1)


@dataclass
class _Running:
    """A stage that runs: its lock, and how it is stopped."""

    place: int
    derivation: Derivation
    context: Mapping[DRef, list[RRef]]
    demand: Demand
    lock: AbstractContextManager[None]
    stop: Stop = field(default_factory=Stop)
    tries: int = 0
    deadline: float = float("inf")
    begun: bool = False


class _Busy(Exception):
    """Another process realizes this; the message says who."""


class _Stopped(RealizeError):
    """A stage was stopped because of another one, or of the user."""


class Scheduler:
    """Realizes the stages of one `Work` as a `Schedule` says."""

    def __init__(self, work: Work, schedule: Schedule) -> None:
        from plxnix.realize.executors import HANDED_OVER, choose, is_local

        self._work = work
        self._schedule = schedule
        self._stages = list(work.closure.derivations.values())
        self._places = {one.dref: place for place, one in enumerate(self._stages)}
        self._observer = work.observer = Relay(work.observer)
        away = schedule.executor is not None
        self._executor: Executor | None = choose(schedule.executor) if away else None
        self._elsewhere = self._executor is not None and not is_local(self._executor)
        #: Nothing needs a thread: stages run where `realize` was called.
        self._alone = schedule.jobs == 1 and not away and schedule.timeout is None
        self._jobs = schedule.jobs or (HANDED_OVER if self._elsewhere else needs.cpus())
        self._local_jobs = min(self._jobs, needs.cpus()) if self._elsewhere else self._jobs
        self._supply = self._supplies()
        #: How many dependencies of each stage are not selected yet, and which stages wait for it.
        self._pending = [len(one.config.dependencies) for one in self._stages]
        self._above: list[list[int]] = [[] for _ in self._stages]
        for place, one in enumerate(self._stages):
            for below in one.config.dependencies:
                self._above[self._places[below]].append(place)
        self._fresh = [place for place, count in enumerate(self._pending) if not count]
        #: Stages that have to run, by what they need; in each the first of the closure is on top.
        self._queues: dict[Demand, list[int]] = {}
        #: Stages that other processes realize: when to look again, and how long to wait after that.
        self._blocked: dict[int, tuple[float, float]] = {}
        self._running: dict[int, _Running] = {}
        self._done: SimpleQueue[tuple[_Running, list[RRef] | BaseException]] = SimpleQueue()
        self._failures: dict[int, PlxnixError] = {}
        self._skipped: set[int] = set()
        self._threads: ThreadPoolExecutor | None = None

    def _supplies(self) -> Supply:
        asked = []
        for one in self._stages:
            if one.resources:
                label = f"the stage {one.dref.name}"
                asked.append((label, needs.checked(one.resources, f"resources of {label}")))
        # Jobs are resources as well: those of this machine, and those of an executor elsewhere.
        supply = Supply(self._schedule.resources, asked, self._jobs)
        supply.add(" here", self._local_jobs)
        supply.add(" there", self._jobs)
        return supply

    def select(self) -> dict[DRef, list[RRef]]:
        """Realize all stages and return what was selected for each, dependencies first.

        Raises what `Work.select` raises; of several failures that of the first stage in the
        closure. With `keep_going` all that can be realized is, and `StagesFailed` lists the
        failures. Cost: linear in the edges of the graph.
        """
        self._observer.planned(len(self._stages))
        waiting = self._work.waiting(self._work.closure.targets[0])
        try:
            with self._work.store.building(waiting):
                try:
                    self._loop()
                except BaseException:
                    self._cancel()
                    raise
        finally:
            if self._threads is not None:
                self._threads.shutdown()
            if self._executor is not None:
                self._executor.close()
        if self._failures:
            raise self._report()
        selected = self._work.selected
        return {one.dref: selected[one.dref] for one in self._stages}

    def _loop(self) -> None:
        while True:
            while not self._done.empty():
                self._finish(*self._done.get())
            if self._fresh:
                self._look(heappop(self._fresh))
            self._launch()
            if self._fresh:
                continue
            if not self._running and not any(self._queues.values()) and self._done.empty():
                return
            self._await()

    # -- from ready to running ---------------------------------------------------------------------

    def _look(self, place: int) -> None:
        """Decide on a stage whose dependencies are selected: it is cached, or has to run."""
        derivation = self._stages[place]
        dref, store = derivation.dref, self._work.store
        if dref not in self._work.forced:
            try:
                found = store.realizations(dref, self._context(derivation))
                chosen = derivation.matcher(store, found)
            except PlxnixError as error:
                self._fail(place, error)
                return
            if chosen is not None:
                self._observer.cached(dref, chosen)
                self._select(place, chosen)
                return
        elsewhere = self._elsewhere and not runs_here(derivation.realizer)
        own = {name: n for name, n in derivation.resources.items() if n}
        if elsewhere:
            demand = tuple(sorted({**own, " there": 1}.items()))
        else:
            demand = (*needs.demand(own), (" here", 1))
        heappush(self._queues.setdefault(demand, []), place)

    def _launch(self) -> None:
        """Start what can be started: in each queue the first, for as long as there is enough."""
        now = 0.0
        if self._blocked:
            now = time.monotonic()
        for demand, queue in self._queues.items():
            late: list[int] = []
            while queue and self._supply.take(demand):
                place = heappop(queue)
                if place in self._blocked and self._blocked[place][0] > now:
                    self._supply.give(demand)
                    late.append(place)
                    continue
                self._start(place, demand)
            for place in late:
                heappush(queue, place)

    def _start(self, place: int, demand: Demand) -> None:
        """Start a stage for which `demand` has been taken, or give that back."""
        derivation = self._stages[place]
        context = self._context(derivation)

        def busy(message: str) -> None:
            raise _Busy(message)

        lock = self._work.store.realizing(derivation.dref, busy)
        try:
            lock.__enter__()
        except _Busy as error:
            self._supply.give(demand)
            self._block(place, demand, str(error))
            return
        self._blocked.pop(place, None)
        running = _Running(place, derivation, context, demand, lock)
        self._running[place] = running
        try:
            forced = derivation.dref in self._work.forced
            chosen = self._work.found(derivation, context, forced)
        except PlxnixError as error:
            self._release(running)
            self._fail(place, error)
            return
        if chosen is not None:
            self._release(running)
            self._select(place, chosen)
            return
        self._try(running)

    def _block(self, place: int, demand: Demand, message: str) -> None:
        """Put a stage back that another process realizes."""
        if place not in self._blocked:
            self._observer.waiting(self._stages[place].dref, message)
        wait = min(2 * self._blocked.get(place, (0, _SOON / 2))[1], _LATER)
        self._blocked[place] = time.monotonic() + wait, wait
        heappush(self._queues[demand], place)

    def _try(self, running: _Running) -> None:
        """Begin an attempt."""
        running.tries += 1
        running.stop = Stop()
        make = self._maker(running)
        if self._alone:
            self._attempt(running, make)
            return
        if self._schedule.timeout is not None:
            running.deadline = time.monotonic() + self._schedule.timeout
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            count = self._jobs + self._local_jobs if self._elsewhere else self._jobs
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="plxnix")
        self._threads.submit(copy_context().run, self._attempt, running, make)
        running.begun = True

    def _maker(self, running: _Running) -> Callable[[], list[RRef]]:
        attempt = self._work.attempt(running.derivation, running.context)
        if self._alone or runs_here(attempt.realizer):
            return lambda: self._work.run(attempt, self._observer)
        if self._executor is None:
            from plxnix.realize.executors import choose

            self._executor = choose(None)
        executor = self._executor
        return lambda: executor.make(self._work, attempt, self._observer, running.stop)

    def _attempt(self, running: _Running, make: Callable[[], list[RRef]]) -> None:
        outcome: list[RRef] | BaseException
        try:
            with running.stop.working():
                outcome = make()
        except BaseException as error:  # the thread that decides gets it
            if self._alone and not isinstance(error, Exception):
                raise
            outcome = error
        self._done.put((running, outcome))

    # -- from running to selected ------------------------------------------------------------------

    def _await(self) -> None:
        """Wait until a stage is done, is late, or may be looked at again."""
        until = min(
            (
                *(one.deadline for one in self._running.values()),
                *(when for when, _ in self._blocked.values()),
            ),
            default=float("inf"),
        )
        left = max(0.0, until - time.monotonic()) + 0.001
        try:
            # Not for ever: the thread that waits has to see signals.
            self._finish(*self._done.get(timeout=min(left, 3600)))
        except Empty:
            now = time.monotonic()
            for one in self._running.values():
                if one.deadline <= now:
                    one.deadline = float("inf")
                    one.stop.set(self._late(one.derivation.dref))

    def _late(self, dref: DRef) -> BuildFailed:
        return BuildFailed(
            f"{dref} took longer than {self._schedule.timeout:g} seconds",
            "give it more by `timeout` (--timeout), or find out what it waits for",
            dref,
        )

    def _finish(self, running: _Running, outcome: list[RRef] | BaseException) -> None:
        """Take note of an attempt that is over."""
        place, dref = running.place, running.derivation.dref
        if isinstance(outcome, BaseException):
            if running.tries <= self._schedule.retries and _worth_another(outcome):
                reason = getattr(outcome, "message", "")
                said = f"{reason}; trying again ({running.tries})"
                self._observer.said(dref, said)
                self._try(running)
                return
            self._release(running)
            if not isinstance(outcome, PlxnixError):
                raise outcome
            self._fail(place, outcome)
            return
        self._release(running)
        try:
            chosen = self._work.chosen(running.derivation, running.context, outcome)
        except PlxnixError as error:
            self._fail(place, error)
        else:
            self._select(place, chosen)

    def _release(self, running: _Running) -> None:
        self._running.pop(running.place)
        self._supply.give(running.demand)
        running.lock.__exit__(None, None, None)

    def _select(self, place: int, chosen: list[RRef]) -> None:
        self._work.selected[self._stages[place].dref] = chosen
        for above in self._above[place]:
            self._pending[above] -= 1
            if not self._pending[above]:  # Never so above a failure.
                heappush(self._fresh, above)

    def _context(self, derivation: Derivation) -> dict[DRef, list[RRef]]:
        return {dep: self._work.selected[dep] for dep in derivation.config.dependencies}

    # -- failures ----------------------------------------------------------------------------------

    def _fail(self, place: int, error: PlxnixError) -> None:
        """Take note of a failure; raise it unless the rest is to go on."""
        self._failures[place] = error
        if not self._schedule.keep_going:
            raise error
        failed = self._stages[place].dref
        waiting = list(self._above[place])
        while waiting:
            above = waiting.pop()
            if above not in self._skipped:
                self._skipped.add(above)
                self._observer.skipped(self._stages[above].dref, failed)
                waiting.extend(self._above[above])

    def _cancel(self) -> None:
        """Stop what runs, and wait until it has."""
        for running in list(self._running.values()):
            dref = running.derivation.dref
            running.stop.set(_Stopped(f"{dref} was stopped", "realize it again", dref))
            if not running.begun:
                self._release(running)
        while self._running:
            self._release(self._done.get()[0])

    def _report(self) -> StagesFailed:
        failures = {self._stages[place].dref: self._failures[place] for place in self._failures}
        ordered = {one.dref: failures[one.dref] for one in self._stages if one.dref in failures}
        skipped = [self._stages[place].dref for place in sorted(self._skipped)]
        count = f"{len(ordered)} stage{'s' if len(ordered) > 1 else ''}"
        rest = f", {len(skipped)} that depend on them were not tried" if skipped else ""
        lines = "".join(f"\n  {dref.name}: {one.message}" for dref, one in ordered.items())
        return StagesFailed(
            f"{count} of {len(self._stages)} failed{rest}:{lines}",
            "the others are realized; `plxnix log` shows what each printed",
            next(iter(ordered)),
            {str(dref): one for dref, one in ordered.items()},
            skipped,
        )


def _worth_another(error: BaseException) -> bool:
    """Tell whether a failure may be gone the next time."""
    return isinstance(error, (BuildFailed, FetchError)) and not isinstance(error, HashMismatch)


class Relay(Observer):
    """Passes on what is told from several threads, one call at a time."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._guard = RLock()

    def planned(self, total: int) -> None:
        with self._guard:
            self._observer.planned(total)

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        with self._guard:
            self._observer.cached(dref, rrefs)

    def started(self, dref: DRef) -> None:
        with self._guard:
            self._observer.started(dref)

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        with self._guard:
            self._observer.finished(dref, rrefs, seconds)

    def failed(self, dref: DRef, error: BaseException) -> None:
        with self._guard:
            if isinstance(error, (_Stopped, KeyboardInterrupt)):
                self._observer.stopped(dref)
            else:
                self._observer.failed(dref, error)

    def stopped(self, dref: DRef) -> None:
        with self._guard:
            self._observer.stopped(dref)

    def skipped(self, dref: DRef, because: DRef) -> None:
        with self._guard:
            self._observer.skipped(dref, because)

    def waiting(self, dref: DRef, message: str) -> None:
        with self._guard:
            self._observer.waiting(dref, message)

    def said(self, dref: DRef, message: str) -> None:
        with self._guard:
            self._observer.said(dref, message)

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        check_stop()
        with self._guard:
            self._observer.downloading(dref, label, done, total)
