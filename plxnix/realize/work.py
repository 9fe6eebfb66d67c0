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
from pathlib import Path
from typing import Any, TypeAlias

from plxnix.builders.sandbox import Sandboxing
from plxnix.errors import (
    BuildFailed,
    InvalidValue,
    MatcherUnsatisfied,
    NotRealized,
    PlxnixError,
    PromiseMissing,
)
from plxnix.model import DRef, RRef
from plxnix.realize.plan import Reasons
from plxnix.realize.registry import Closure, Derivation, RealizeArguments
from plxnix.realize.run import Artifact, Observer, Run
from plxnix.store import Record, Store, tree
from plxnix.store.publication import keep_log, publish

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
        """Realize all derivations of the closure and return what was selected for each."""
        steps = self.steps()
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            selected: dict[DRef, list[RRef]] = stop.value
            return selected

    def steps(self) -> Steps:
        """Do what `select` does, and stand still at the pauses.

        Garbage collection is held off until the generator ends or is closed; at a pause no
        derivation is locked.
        """
        selected = self.selected
        self.observer.planned(len(self.closure.derivations))
        with self.store.building(self._waiting(self.closure.targets[0])):
            for dref, derivation in self.closure.derivations.items():
                context = {dep: selected[dep] for dep in derivation.config.dependencies}
                chosen = None
                forced = dref in self.forced
                if dref in self.pauses:
                    forced = True
                    with self.store.paused():
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
                        with self.store.paused():
                            chosen = yield Pause(derivation, context, error, self._left)
                selected[dref] = chosen
        return selected

    def adopt(self, pause: Pause, folders: Iterable[Path | Artifact], started: float) -> list[RRef]:
        """Publish folders that were made by hand for the stage at a pause.

        `started` is when that began, in seconds since the epoch. Raises `PromiseMissing` and what
        `publish` does; the folders stay where they are then.
        """
        derivation = pause.derivation
        artifacts = [one if isinstance(one, Artifact) else Artifact(one) for one in folders]
        _check_promises(derivation, artifacts)
        self.store.restore(derivation.config)
        with self.store.realizing(derivation.dref, self._waiting(derivation.dref)):
            return self._publish(derivation, pause.context, artifacts, started, time.time())

    def _make(self, derivation: Derivation, context: Context, forced: bool) -> list[RRef]:
        """Run a realizer, unless another process did so while this one waited for the lock."""
        dref, store = derivation.dref, self.store
        with store.realizing(dref, self._waiting(dref)):
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
            made = self._run(derivation, context)
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

    def _run(self, derivation: Derivation, context: Context) -> list[RRef]:
        self.store.restore(derivation.config)
        run = Run(derivation.dref, self.observer, self)
        self.observer.started(run.dref)
        started = time.time()
        try:
            with run.current(), run.recording():
                artifacts = self._artifacts(derivation, context)
                _check_promises(derivation, artifacts)
            stopped = time.time()
            rrefs = self._publish(derivation, context, artifacts, started, stopped, run.log.value())
        except BaseException as error:
            self._clean(run, error)
            raise
        for folder in run.folders:
            # What the realizer worked in; what it gave has been moved out of it.
            tree.remove(os.fspath(folder))
        self.observer.finished(run.dref, rrefs, stopped - started)
        return rrefs

    def _publish(
        self,
        derivation: Derivation,
        context: Context,
        artifacts: list[Artifact],
        started: float,
        stopped: float,
        log: bytes = b"",
    ) -> list[RRef]:
        return [
            publish(
                self.store,
                derivation.dref,
                os.fspath(artifact.path),
                Record(
                    context={dep: tuple(rrefs) for dep, rrefs in context.items()},
                    nar_hash="",
                    nar_size=0,
                    started=(artifact.times or (started, stopped))[0],
                    stopped=(artifact.times or (started, stopped))[1],
                    index=index,
                    flat=artifact.flat,
                    nix=artifact.nix,
                ),
                log,
            )
            for index, artifact in enumerate(artifacts)
        ]

    @contextmanager
    def trial(self, derivation: Derivation) -> Iterator[list[Artifact]]:
        """Run a realizer, and give what it made while the block lasts; nothing is published.

        What it depends on has to be selected, and garbage collection held off (`Store.building`).
        Raises what `realize` raises of a realizer that fails.
        """
        dref = derivation.dref
        context = {dep: self.selected[dep] for dep in derivation.config.dependencies}
        run = Run(dref, self.observer, self)
        self.observer.started(dref)
        started = time.time()
        try:
            with (
                self.store.realizing(dref, self._waiting(dref)),
                run.current(),
                run.recording(),
            ):
                artifacts = self._artifacts(derivation, context)
                _check_promises(derivation, artifacts)
            self.observer.finished(dref, [], time.time() - started)
        except BaseException as error:
            self._clean(run, error)
            raise
        try:
            yield artifacts
        finally:
            for folder in run.folders:
                tree.remove(os.fspath(folder))

    def _artifacts(self, derivation: Derivation, context: Context) -> list[Artifact]:
        dref = derivation.dref
        arguments = self.arguments.get(dref, {})
        try:
            given = derivation.realizer(self.store, dref, context, arguments)
            # A string is a sequence of letters, and one of its letters may be "/".
            made = [given] if isinstance(given, (str, os.PathLike)) else list(given or ())
        except PlxnixError:
            raise
        except Exception as error:  # whatever the user's code raises; it stays as the cause
            raise BuildFailed(
                f"the realizer of {dref} raised {type(error).__name__}: {error}",
                "its output is shown by `plxnix log`, the traceback with --debug",
                dref,
            ) from error
        if not made:
            raise BuildFailed(
                f"the realizer of {dref} gave nothing",
                "a realizer returns the folders with its artifacts; build_wrapper does it for you",
                dref,
            )
        for one in made:
            if not isinstance(one, (Artifact, str, os.PathLike)):
                raise BuildFailed(
                    f"the realizer of {dref} gave {one!r:.80}, which is no folder",
                    "a realizer returns the folders with its artifacts; build_wrapper does it",
                    dref,
                )
        return [one if isinstance(one, Artifact) else Artifact(Path(one)) for one in made]

    def _clean(self, run: Run, error: BaseException) -> None:
        """Keep the log of a failed run, and its folders if asked; remove them otherwise."""
        try:
            kept = keep_log(self.store, run.dref, run.log.value())
            if isinstance(error, BuildFailed) and not error.log:
                error.log = kept
            if self.pauses_at_failures and isinstance(error, PlxnixError):
                self._left = tuple(run.folders)
                return
            for number, folder in enumerate(run.folders):
                if self.keep_failed and folder.is_dir():
                    place = f"{self.store.layout.failed}/{run.dref[5:]}-{number}"
                    try:
                        tree.remove(place)
                        os.rename(folder, place)
                    except OSError as problem:  # The failure itself is what the user has to see.
                        self.observer.said(run.dref, f"cannot keep the failed folder: {problem}")
                    else:
                        self.observer.said(run.dref, f"kept the failed folder: {place}")
                tree.remove(os.fspath(folder))
        finally:
            self.observer.failed(run.dref, error)

    def _waiting(self, dref: DRef) -> Callable[[str], None]:
        return lambda message: self.observer.said(dref, message)


def _check_promises(derivation: Derivation, artifacts: list[Artifact]) -> None:
    missing = sorted(
        {
            "/".join(parts)
            for artifact in artifacts
            if not artifact.failed
            for parts in derivation.config.promises
            if not os.path.lexists(artifact.path.joinpath(*parts))
        }
    )
    if missing:
        raise PromiseMissing(
            f"{derivation.dref} promised {', '.join(missing)} but its realizer did not make it",
            "each [selfref, ...] of the config has to exist in each output folder in the end",
            derivation.dref,
            missing,
        )


def named(closure: Closure, drefs: bool | Collection[DRef], argument: str) -> frozenset[DRef]:
    """Return the derivations that an argument names; raise `InvalidValue` for strangers."""
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
