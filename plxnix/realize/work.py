"""The work of one call of `realize`: decide what exists, make what does not.

Dependencies first: the context of a derivation is what was selected for its direct dependencies;
its candidates are the realizations made from that context; its matcher selects among them or asks
for a run. Planning costs one listing and one small read for each cached stage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from plxnix.builders.sandboxing import Sandboxing
from plxnix.errors import InvalidValue, MatcherUnsatisfied, NotRealized, PlxnixError
from plxnix.model import DRef, RRef
from plxnix.realize.attempt import Attempt, clean, keep_output
from plxnix.realize.plan import Reasons
from plxnix.realize.registry import Closure, Derivation, RealizeArguments
from plxnix.realize.run import Artifact, Observer, Run
from plxnix.store import Store, tree

Context = Mapping[DRef, list[RRef]]


def prepare(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = False,
    assert_realized: Collection[DRef] = (),
    realize_args: Mapping[DRef, RealizeArguments] | None = None,
    keep_failed: bool = False,
    observer: Observer | None = None,
    sandbox: str | None = None,
) -> Work:
    """Check the arguments of `realize` and return the work that they ask for, not begun."""
    work = Work(
        closure,
        named(closure, force_rebuild, "force_rebuild"),
        named(closure, assert_realized, "assert_realized"),
        dict(realize_args or {}),
        keep_failed,
        observer or Observer(),
        Sandboxing.parse(sandbox),
    )
    named(closure, work.arguments, "realize_args")
    return work


@dataclass(frozen=True)
class Pause:
    """Where a realization stands still: at a derivation, before it runs or after it has failed.

    `error` is the failure, and `folders` are those that the failed realizer worked in.
    """

    derivation: Derivation
    context: dict[DRef, list[RRef]]
    error: PlxnixError | None = None
    folders: tuple[Path, ...] = ()


#: Stands still at each `Pause`; is sent what to select there, or None to run the realizer; gives
#: what was selected for each derivation in the end.
Steps: TypeAlias = Generator[Pause, "list[RRef] | None", dict[DRef, list[RRef]]]


class Work:
    """One call of `realize`: what was asked for, and what has been selected so far."""

    def __init__(
        self,
        closure: Closure,
        forced: frozenset[DRef],
        asserted: frozenset[DRef],
        arguments: dict[DRef, RealizeArguments],
        keep_failed: bool,
        observer: Observer,
        sandboxing: Sandboxing,
    ) -> None:
        self.sandboxing = sandboxing
        self.closure = closure
        self.store: Store = closure.store
        self.forced = forced
        self.asserted = asserted
        self.arguments = arguments
        self.keep_failed = keep_failed
        self.observer = observer
        self.selected: dict[DRef, list[RRef]] = {}
        #: What recipes compute once for the whole realization; its keys and values are theirs.
        self.memo: dict[str, Any] = {}
        #: Where `steps` stands still: before these derivations, and at failures if so wanted.
        self.pauses: frozenset[DRef] = frozenset()
        self.pauses_at_failures = False
        self._left: tuple[Path, ...] = ()

    def select(self) -> dict[DRef, list[RRef]]:
        """Realize all derivations of the closure, one after the other, in this thread.

        Returns what was selected for each. A `Scheduler` does it for several at once.
        """
        steps = self.steps()
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            selected: dict[DRef, list[RRef]] = stop.value
            return selected

    def steps(self) -> Steps:
        """Do what `select` does, and stand still at the pauses.

        What they rest on is kept until the generator ends or is closed; at a pause no derivation
        is locked.
        """
        selected = self.selected
        self.observer.begun(self.closure)
        self.observer.planned(len(self.closure.derivations))
        waiting = self.waiting(self.closure.targets[0])
        with self.store.keeping(self.closure.derivations, waiting):
            for dref, derivation in self.closure.derivations.items():
                context = {dep: selected[dep] for dep in derivation.config.dependencies}
                chosen = None
                forced = dref in self.forced
                if dref in self.pauses:
                    forced = True
                    chosen = yield Pause(derivation, context)
                elif not forced:
                    chosen = derivation.matcher(self.store, self.store.realizations(dref, context))
                    if chosen is not None:
                        self.observer.cached(dref, chosen)
                while chosen is None:
                    self._left = ()
                    try:
                        chosen = self._make(derivation, context, forced)
                    except PlxnixError as error:
                        if not self.pauses_at_failures:
                            raise
                        forced = True
                        chosen = yield Pause(derivation, context, error, self._left)
                selected[dref] = chosen
        return selected

    def adopt(self, pause: Pause, folders: Iterable[Path | Artifact], started: float) -> list[RRef]:
        """Publish folders that were made by hand for the stage at a pause.

        `started` is when that began, in seconds since the epoch. Raises `PromiseMissing` and what
        `publish` does; the folders stay where they are then.
        """
        attempt = self.attempt(pause.derivation, pause.context)
        artifacts = [one if isinstance(one, Artifact) else Artifact(one) for one in folders]
        attempt.check_promises(artifacts)
        self.store.restore(attempt.config)
        with self.store.realizing(attempt.dref, self.waiting(attempt.dref)):
            return attempt.publish(artifacts, started, time.time())

    def _make(self, derivation: Derivation, context: Context, forced: bool) -> list[RRef]:
        """Run a realizer, unless another process did so while this one waited for the lock."""
        dref, store = derivation.dref, self.store
        with store.realizing(dref, self.waiting(dref)):
            chosen = self.found(derivation, context, forced)
            if chosen is not None:
                return chosen
            made = self.run(self.attempt(derivation, context))
        return self.chosen(derivation, context, made)

    def found(self, derivation: Derivation, context: Context, forced: bool) -> list[RRef] | None:
        """Return what is selected if nothing has to be made; raise `NotRealized` if it may not.

        The caller holds the derivation's lock.
        """
        dref, store = derivation.dref, self.store
        if not forced:
            chosen = derivation.matcher(store, store.realizations(dref, context))
            if chosen is not None:
                self.observer.cached(dref, chosen)
                return chosen
        if dref in self.asserted:
            raise NotRealized(
                f"{dref} was said to be realized, but: "
                f"{Reasons(store).explain(derivation, context)}",
                "leave it out of assert_realized to have it realized",
                dref,
            )
        return None

    def chosen(self, derivation: Derivation, context: Context, made: list[RRef]) -> list[RRef]:
        """Return what the matcher selects after a run that made `made`."""
        dref, store = derivation.dref, self.store
        chosen = derivation.matcher(store, store.realizations(dref, context))
        if chosen is None:
            distinct = len(set(made))
            raise MatcherUnsatisfied(
                f"{derivation.matcher!r} is still not content with the realizations of {dref}: the "
                f"realizer gave {len(made)}, {distinct} of them distinct",
                "let the realizer give more (nouts=...), or results that differ; or ask for fewer",
                dref,
            )
        return chosen

    def attempt(self, derivation: Derivation, context: Context) -> Attempt:
        """Return what one call of a derivation's realizer is made of."""
        arguments = self.arguments.get(derivation.dref, {})
        return Attempt(self.store, derivation.config, derivation.realizer, context, arguments)

    def run(self, attempt: Attempt, observer: Observer | None = None) -> list[RRef]:
        """Make an attempt in this thread, and tell the observer of it."""
        run = Run(attempt.dref, observer or self.observer, self)
        run.observer.started(run.dref)
        try:
            rrefs, seconds = attempt.make(run)
        except BaseException as error:
            self._clean(run, error)
            raise
        run.observer.finished(run.dref, rrefs, seconds)
        return rrefs

    @contextmanager
    def trial(self, derivation: Derivation) -> Iterator[list[Artifact]]:
        """Run a realizer, and give what it made while the block lasts; nothing is published.

        What it depends on has to be selected, and kept (`Store.keeping`).
        Raises what `realize` raises of a realizer that fails.
        """
        dref = derivation.dref
        context = {dep: self.selected[dep] for dep in derivation.config.dependencies}
        run = Run(dref, self.observer, self)
        self.observer.started(dref)
        started = time.time()
        try:
            with (
                self.store.realizing(dref, self.waiting(dref)),
                run.current(),
                run.recording(),
            ):
                artifacts = self.attempt(derivation, context).artifacts()
            self.observer.finished(dref, [], time.time() - started)
        except BaseException as error:
            self._clean(run, error)
            raise
        try:
            yield artifacts
        finally:
            for folder in run.folders:
                tree.remove(os.fspath(folder))

    def _clean(self, run: Run, error: BaseException) -> None:
        """Keep the log of a failed run, and its folders if asked; remove them otherwise."""
        try:
            if self.pauses_at_failures and isinstance(error, PlxnixError):
                keep_output(self.store, run.dref, run.log.value(), error)
                self._left = tuple(run.folders)
                return
            said = partial(run.observer.said, run.dref)
            clean(self.store, run, error, self.keep_failed, said)
        finally:
            run.observer.failed(run.dref, error)

    def waiting(self, dref: DRef) -> Callable[[str], None]:
        """Return what tells the observer that a stage waits."""
        return lambda message: self.observer.waiting(dref, message)


def require_closure(closure: object) -> None:
    """Raise `InvalidValue` for what is no closure, such as a stage that is not instantiated."""
    if not isinstance(closure, Closure):
        raise InvalidValue(f"not a closure: {closure!r:.80}", "instantiate(stage) returns one")


def named(closure: Closure, drefs: bool | Collection[DRef], argument: str) -> frozenset[DRef]:
    """Return the derivations that an argument names; raise `InvalidValue` for strangers."""
    require_closure(closure)
    if isinstance(drefs, bool):
        return frozenset(closure.targets) if drefs else frozenset()
    if isinstance(drefs, str):
        drefs = [DRef(drefs)]
    if not isinstance(drefs, Collection):
        raise InvalidValue(f"{argument} is {drefs!r:.80}", "it is a list of references, or a bool")
    for dref in drefs:
        if dref not in closure.derivations:
            raise InvalidValue(
                f"{argument} names {dref!r}, which is not in the closure of "
                f"{', '.join(closure.targets)}",
                "name derivations that the target depends on",
            )
    return frozenset(drefs)
