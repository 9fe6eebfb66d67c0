"""Realizing: decide what exists, make what does not.

Dependencies first: the context of a derivation is what was selected for its direct dependencies;
its candidates are the realizations made from that context; its matcher selects among them or asks
for a run. Planning costs one listing and one small read for each cached stage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from plxnix.builders.sandbox import Sandboxing
from plxnix.errors import (
    BuildFailed,
    InvalidValue,
    MatcherUnsatisfied,
    NotRealized,
    PlxnixError,
    PromiseMissing,
)
from plxnix.model import DRef, RRef, isdref
from plxnix.realize.plan import Plan, Reasons, make_plan
from plxnix.realize.registry import Closure, Derivation, RealizeArguments, instantiate
from plxnix.realize.run import Artifact, Observer, Run
from plxnix.store import Record, Store, tree
from plxnix.store.publication import keep_log, publish

Context = Mapping[DRef, list[RRef]]


@overload
def realize(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = ...,
    assert_realized: Collection[DRef] = ...,
    realize_args: Mapping[DRef, RealizeArguments] | None = ...,
    dry_run: Literal[False] = ...,
    keep_failed: bool = ...,
    observer: Observer | None = ...,
    sandbox: str | None = ...,
) -> Any: ...


@overload
def realize(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = ...,
    assert_realized: Collection[DRef] = ...,
    realize_args: Mapping[DRef, RealizeArguments] | None = ...,
    *,
    dry_run: Literal[True],
    keep_failed: bool = ...,
    observer: Observer | None = ...,
    sandbox: str | None = ...,
) -> Plan: ...


def realize(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = False,
    assert_realized: Collection[DRef] = (),
    realize_args: Mapping[DRef, RealizeArguments] | None = None,
    dry_run: bool = False,
    keep_failed: bool = False,
    observer: Observer | None = None,
    sandbox: str | None = None,
) -> Any:
    """Realize a closure; return its result with each reference replaced by what was selected.

    That is a realization, or a list of them where the matcher selects several. `force_rebuild`
    names derivations that are run even if their matchers are content (True: the targets);
    `assert_realized` names those that must not run; `realize_args` passes arguments to realizers.
    With `dry_run` nothing runs and a `Plan` comes back. With `keep_failed` the folder of a failed
    realizer is kept below `failed/` in the store. `sandbox` is `on` or `off` for
    commands, or `auto`: on if it works here; the default is `$PLXNIX_SANDBOX`, else `auto`.

    Raises `BuildFailed` (with the original exception as its cause), `PromiseMissing`,
    `NotRealized`, `MatcherUnsatisfied`, and what matchers and recipes raise. What was realized
    before a failure stays.
    """
    forced = _named(closure, force_rebuild, "force_rebuild")
    if dry_run:
        return make_plan(closure, forced)
    work = Work(
        closure,
        forced,
        _named(closure, assert_realized, "assert_realized"),
        dict(realize_args or {}),
        keep_failed,
        observer or Observer(),
        Sandboxing.parse(sandbox),
    )
    _named(closure, work.arguments, "realize_args")
    return _replace(closure.result, work.select())


def realizeMany(closure: Closure, *args: Any, **kwargs: Any) -> list[RRef]:  # noqa: N802
    """Realize a closure with one target and return the list of what its matcher selected.

    Further arguments are those of `realize`.
    """
    target = closure.dref
    found = realize(Closure(target, (target,), closure.derivations, closure.store), *args, **kwargs)
    return found if isinstance(found, list) else [found]


def realize1(closure: Closure, *args: Any, **kwargs: Any) -> RRef:
    """Realize a closure with one target, of which the matcher selects one realization.

    Raises `InvalidValue` if it selects several. Further arguments are those of `realize`.
    """
    rrefs = realizeMany(closure, *args, **kwargs)
    if len(rrefs) != 1:
        raise InvalidValue(
            f"the matcher of {closure.dref} selected {len(rrefs)} realizations, not one",
            "use realizeMany",
        )
    return rrefs[0]


def evaluate(stage: Any, *args: Any, **kwargs: Any) -> RRef:
    """Instantiate a stage and realize it: `realize1(instantiate(stage, ...))`."""
    return realize1(instantiate(stage, *args, **kwargs))


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

    def select(self) -> dict[DRef, list[RRef]]:
        """Realize all derivations of the closure and return what was selected for each."""
        selected = self.selected
        self.observer.planned(len(self.closure.derivations))
        with self.store.building(self._waiting(self.closure.targets[0])):
            for dref, derivation in self.closure.derivations.items():
                context = {dep: selected[dep] for dep in derivation.config.dependencies}
                chosen = None
                if dref not in self.forced:
                    chosen = derivation.matcher(self.store, self.store.realizations(dref, context))
                if chosen is None:
                    chosen = self._make(derivation, context)
                else:
                    self.observer.cached(dref, chosen)
                selected[dref] = chosen
        return selected

    def _make(self, derivation: Derivation, context: Context) -> list[RRef]:
        """Run a realizer, unless another process did so while this one waited for the lock."""
        dref, store = derivation.dref, self.store
        with store.realizing(dref, self._waiting(dref)):
            if dref not in self.forced:
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
            rrefs = [
                publish(
                    self.store,
                    run.dref,
                    os.fspath(artifact.path),
                    Record(
                        context={dep: tuple(rrefs) for dep, rrefs in context.items()},
                        nar_hash="",
                        nar_size=0,
                        started=started,
                        stopped=stopped,
                        index=index,
                        flat=artifact.flat,
                        nix=artifact.nix,
                    ),
                    run.log.value(),
                )
                for index, artifact in enumerate(artifacts)
            ]
        except BaseException as error:
            self._clean(run, error)
            raise
        for folder in run.folders:
            # What the realizer worked in; what it gave has been moved out of it.
            tree.remove(os.fspath(folder))
        self.observer.finished(run.dref, rrefs, stopped - started)
        return rrefs

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


def _named(closure: Closure, drefs: bool | Collection[DRef], argument: str) -> frozenset[DRef]:
    """Return the derivations that an argument names; raise `InvalidValue` for strangers."""
    if isinstance(drefs, bool):
        return frozenset(closure.targets) if drefs else frozenset()
    if isinstance(drefs, str):
        drefs = [DRef(drefs)]
    for dref in drefs:
        if dref not in closure.derivations:
            raise InvalidValue(
                f"{argument} names {dref!r}, which is not in the closure of "
                f"{', '.join(closure.targets)}",
                "name derivations that the target depends on",
            )
    return frozenset(drefs)


def _replace(result: Any, selected: Mapping[DRef, list[RRef]]) -> Any:
    if isinstance(result, str) and isdref(result):
        rrefs = selected[DRef(result)]
        return rrefs[0] if len(rrefs) == 1 else list(rrefs)
    if isinstance(result, Mapping):
        return {key: _replace(item, selected) for key, item in result.items()}
    if isinstance(result, (list, tuple, set, frozenset)):
        items = [_replace(item, selected) for item in result]
        return tuple(items) if isinstance(result, tuple) else items
    return result
