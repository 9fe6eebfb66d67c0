"""Scheduling: many stages at once.

A stage is ready when all that it depends on is selected. Ready stages are looked at in the order of
the closure; one that is not cached waits until a job and its resources are free, and nobody else
realizes it. One thread at a time decides; what runs, runs in several, or in other processes.

No stage holds a job, a resource or a lock while it waits for something, so two realizations of the
same stages in different orders cannot wait for each other. What is selected depends on the
realizations that there are, not on who was first: the result has the order of the closure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from plxnix.errors import BuildFailed, PlxnixError
from plxnix.model import DRef, RRef
from plxnix.realize import resources as needs
from plxnix.realize.crew import Crew
from plxnix.realize.failures import Failures, worth_another
from plxnix.realize.observer import Relay, Stopped
from plxnix.realize.queues import Queues
from plxnix.realize.registry import Derivation, runs_here
from plxnix.realize.resources import Demand, Supply
from plxnix.realize.schedule import Schedule
from plxnix.realize.work import Work
from plxnix.stopping import Stop

if TYPE_CHECKING:
    from plxnix.realize.executors import Executor


#: Seconds after which it is said what is waited for.
_PATIENCE = 1.0


@dataclass
class _Running:
    """A stage that runs: its lock, and how it is stopped."""

    place: int
    derivation: Derivation
    context: Mapping[DRef, list[RRef]]
    demand: Demand
    lock: AbstractContextManager[None]
    takes_turns: bool
    stop: Stop = field(default_factory=Stop)
    tries: int = 0
    deadline: float = float("inf")
    begun: bool = False


class _Busy(Exception):
    """Another process realizes this; the message says who."""


class Scheduler:
    """Realizes the stages of one `Work` as a `Schedule` says."""

    def __init__(self, work: Work, schedule: Schedule) -> None:
        from plxnix.realize.executors import HANDED_OVER, Threads, choose, is_local

        self._work = work
        self._schedule = schedule
        self._stages = list(work.closure.derivations.values())
        self._places = {one.dref: place for place, one in enumerate(self._stages)}
        self._observer = work.observer = Relay(work.observer)
        away = schedule.executor is not None
        self._executor: Executor | None = choose(schedule.executor) if away else None
        self._elsewhere = self._executor is not None and not is_local(self._executor)
        self._in_threads = isinstance(self._executor, Threads)
        #: Nothing needs a thread: stages run where `realize` was called.
        self._alone = schedule.jobs == 1 and not away and schedule.timeout is None
        self._jobs = schedule.jobs or (HANDED_OVER if self._elsewhere else needs.cpus())
        self._local_jobs = min(self._jobs, needs.cpus()) if self._elsewhere else self._jobs
        self._queues = Queues(self._supply())
        #: How many dependencies of each stage are not selected yet, and which stages wait for it.
        self._pending = [len(one.config.dependencies) for one in self._stages]
        self._above: list[list[int]] = [[] for _ in self._stages]
        for place, one in enumerate(self._stages):
            for below in one.config.dependencies:
                self._above[self._places[below]].append(place)
        self._fresh = [place for place, count in enumerate(self._pending) if not count]
        self._running: dict[int, _Running] = {}
        self._done: SimpleQueue[tuple[_Running, list[RRef] | BaseException]] = SimpleQueue()
        self._failures = Failures(self._stages, self._above, work.closure.labels)
        size = self._jobs + self._local_jobs if self._elsewhere else self._jobs
        self._crew = Crew(size, self._attempt, self._go_on)
        #: What runs cannot be stopped, and the user does not want to wait for it.
        self._abandoned = False

    def _supply(self) -> Supply:
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
        self._observer.begun(self._work.closure)
        self._observer.planned(len(self._stages))
        waiting = self._work.waiting(self._work.closure.targets[0])
        try:
            with self._work.store.keeping(self._work.closure.derivations, waiting):
                try:
                    self._loop()
                except BaseException:
                    self._cancel()
                    raise
        finally:
            self._crew.close(wait=not self._abandoned)
            if self._executor is not None:
                self._executor.close()
        if self._failures:
            raise self._failures.report()
        selected = self._work.selected
        return {one.dref: selected[one.dref] for one in self._stages}

    def _loop(self) -> None:
        while True:
            with self._crew.deciding():
                self._stop_late()
                self._decide()
                if self._is_done() and not self._crew.over:
                    return
                until = min((one.deadline for one in self._running.values()), default=float("inf"))
                until = min(until, self._queues.next_look())
            self._crew.wait(min(until, time.monotonic() + _PATIENCE))

    def _decide(self) -> None:
        """Take note of what is done, and start what can be."""
        while not self._crew.over:
            while not self._done.empty():
                self._finish(*self._done.get())
            for place, demand in self._queues.taken():
                self._start(place, demand)
            if self._fresh:
                self._crew.hand_out()
                self._look(heappop(self._fresh))
            elif self._done.empty():
                return

    def _go_on(self) -> bool:
        """Decide in a thread of the crew; tell whether `_loop` has to look."""
        self._decide()
        timed = self._schedule.timeout is not None
        return timed or self._queues.next_look() < float("inf") or self._is_done()

    def _is_done(self) -> bool:
        return not self._running and not self._queues and self._done.empty()

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
            # How many CPUs and GPUs there are is not known here, unless the user says it.
            unknown = {"cpus", "gpus"} - {*self._schedule.resources}
            need = {name: n for name, n in own.items() if name not in unknown}
            demand = tuple(sorted({**need, " there": 1}.items()))
        else:
            demand = (*needs.demand(own), (" here", 1))
        self._queues.put(place, demand)

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
            self._queues.give(demand)
            if self._queues.block(place, demand):
                self._observer.waiting(derivation.dref, str(error))
            return
        self._queues.unblock(place)
        takes_turns = self._in_threads and not runs_here(derivation.realizer)
        running = _Running(place, derivation, context, demand, lock, takes_turns)
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

    def _try(self, running: _Running) -> None:
        """Begin an attempt."""
        running.tries += 1
        running.stop = Stop()
        if self._alone:
            self._attempt(running)
            return
        if self._schedule.timeout is not None:
            running.deadline = time.monotonic() + self._schedule.timeout
        if self._executor is None and not runs_here(running.derivation.realizer):
            from plxnix.realize.executors import choose

            self._executor = choose(None)
        self._crew.add(running)

    def _attempt(self, running: _Running) -> None:
        outcome: list[RRef] | BaseException
        try:
            with running.stop.working():
                outcome = self._make(running)
        except BaseException as error:  # the thread that decides gets it
            if self._alone and not isinstance(error, Exception):
                raise
            outcome = error
        self._done.put((running, outcome))

    def _make(self, running: _Running) -> list[RRef]:
        attempt = self._work.attempt(running.derivation, running.context)
        if self._executor is None or runs_here(attempt.realizer):
            return self._work.run(attempt, self._observer)
        return self._executor.make(self._work, attempt, self._observer, running.stop)

    # -- from running to selected ------------------------------------------------------------------

    def _stop_late(self) -> None:
        """Stop the attempts that take too long."""
        if self._schedule.timeout is not None:
            now = time.monotonic()
            for one in self._running.values():
                if one.deadline <= now:
                    one.deadline = float("inf")
                    one.stop.set(self._late(one.derivation.dref))

    def _late(self, dref: DRef) -> BuildFailed:
        return BuildFailed(
            f"{dref} took longer than {self._schedule.timeout:g} s",
            "give it more by `timeout` (--timeout), or find out what it waits for",
            dref,
        )

    def _finish(self, running: _Running, outcome: list[RRef] | BaseException) -> None:
        """Take note of an attempt that is over."""
        place, dref = running.place, running.derivation.dref
        if isinstance(outcome, BaseException):
            if running.tries <= self._schedule.retries and worth_another(outcome):
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
        self._queues.give(running.demand)
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
        if not self._schedule.keep_going:
            raise error
        self._failures.add(place, error, self._observer)

    def _cancel(self) -> None:
        """Stop what runs, and wait until it has, or until the user does not want to wait."""
        try:
            self._stop()
        except KeyboardInterrupt:
            self._abandoned = True
            raise

    def _stop(self) -> None:
        self._crew.stop()
        for running in list(self._running.values()):
            dref = running.derivation.dref
            running.stop.set(Stopped(f"{dref} was stopped", "realize it again", dref))
            if not running.begun:
                self._release(running)
        told = False
        while self._running:
            try:
                self._release(self._done.get(timeout=_PATIENCE)[0])
            except Empty:
                waiting = [] if told else self._running.values()
                told = True
                for running in waiting:
                    self._observer.said(
                        running.derivation.dref,
                        "cannot be stopped: waiting for its end (or for Ctrl-C)",
                    )
