"""Realizing closures, at once or with stops."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, TypeAlias

from plxnix.compat.pylightnix.derivations import (
    Targets,
    instantiate,
    native_closure,
    unpack_closure_arg_,
)
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.functions import from_native, full_context
from plxnix.compat.pylightnix.types import (
    Closure,
    Context,
    Derivation,
    DRef,
    Path,
    PromiseException,
    RealizeArg,
    RRef,
    StageResult,
    StorageSettings,
)
from plxnix.compat.pylightnix.values import isdref
from plxnix.errors import PromiseMissing
from plxnix.model import RRef as NativeRRef
from plxnix.realize import realizing
from plxnix.realize import registry as native
from plxnix.realize.work import Work, prepare

RealizeSeqGen: TypeAlias = Generator[
    "tuple[StorageSettings | None, DRef, Context, Derivation, RealizeArg]",
    "tuple[list[RRef] | None, bool]",
    Context,
]


def _contexted(selected: dict[Any, Any]) -> Context:
    return {
        DRef(dref): [RRef(rref) for rref in sorted(rrefs)] if rrefs else None
        for dref, rrefs in sorted(selected.items())
    }


def _prepared(
    closure: native.Closure,
    force: Iterable[DRef],
    assert_realized: Iterable[DRef],
    realize_args: dict[DRef, RealizeArg],
) -> Any:
    known = closure.derivations
    return prepare(
        closure,
        [dref for dref in force if dref in known],
        [dref for dref in assert_realized if dref in known],
        {dref: args for dref, args in realize_args.items() if dref in known},
    )


@door()
def realize(
    closure: Targets,
    force_rebuild: list[DRef] | bool = [],
    assert_realized: list[DRef] = [],
    realize_args: dict[DRef, RealizeArg] = {},
    dry_run: bool = False,
) -> tuple[StageResult, Closure, Context]:
    """Realize a closure; return its result, itself, and what was selected for each derivation.

    With `dry_run` nothing runs, and what would run has None in the context.
    """
    result, given = unpack_closure_arg_(closure)
    targets = native_closure(given)
    force = _forced(given, force_rebuild, "force_rebuild")
    if dry_run:
        known = [dref for dref in force if dref in targets.derivations]
        plan = realizing.realize(targets, known, dry_run=True)
        return result, given, _contexted({stage.dref: stage.rrefs for stage in plan})
    try:
        selected = _prepared(targets, force, assert_realized, realize_args).select()
    except PromiseMissing as error:
        raise promise_exception(error) from None
    context = _contexted(selected)
    empty = [dref for dref in given.targets if not context[dref]]
    check(not empty, f"the matcher selected no realization of {empty}", "it returns None to ask")
    return result, given, context


def promise_exception(error: PromiseMissing) -> PromiseException:
    """Return the exception of Pylightnix for promises that a realizer broke."""
    dref = DRef(error.dref)
    return PromiseException(dref, [(Path(), [dref, *one.split("/")]) for one in error.missing])


def _forced(closure: Closure, force: Any, argument: str) -> list[DRef]:
    if isinstance(force, bool):
        return closure.targets if force else []
    if not isinstance(force, (list, tuple, set)):
        refuse(f"{argument} is {force!r:.80}", "it is a list of references, or a bool")
    return list(force)


@door()
def realizeSeq(
    closure: Closure,
    force_interrupt: list[DRef] = [],
    assert_realized: list[DRef] = [],
    realize_args: dict[DRef, RealizeArg] = {},
    dry_run: bool = False,
) -> RealizeSeqGen:
    """Return a generator that realizes a closure and stands still at the named derivations.

    At each it yields what a realizer is called with, and is sent what to select there (None: run
    the realizer) and whether to give up. It returns the context.
    """
    if dry_run:
        refuse("realizeSeq does not do dry runs", "use realize(..., dry_run=True)")
    targets = native_closure(closure)
    work = _prepared(targets, (), assert_realized, realize_args)
    work.pauses = frozenset(dref for dref in force_interrupt if dref in targets.derivations)
    return _sequence(closure, work, dict(realize_args))


def _sequence(
    closure: Closure, realization: Work, arguments: dict[DRef, RealizeArg]
) -> RealizeSeqGen:
    steps = realization.steps()
    try:
        with door():
            pause = next(steps)
        while True:
            dref = DRef(pause.derivation.dref)
            context = full_context(realization.store, pause.context)
            drv = from_native(pause.derivation)
            rrefs, abort = yield closure.S, dref, context, drv, arguments.get(dref, {})
            if abort:
                return {}
            chosen = None if rrefs is None else [NativeRRef(one) for one in sorted(rrefs)]
            with door():
                pause = steps.send(chosen)
    except StopIteration as stop:
        return _contexted(stop.value)
    finally:
        steps.close()


@door()
def realizeMany(
    closure: Targets,
    force_rebuild: list[DRef] | bool = [],
    assert_realized: list[DRef] = [],
    realize_args: dict[DRef, RealizeArg] = {},
    dry_run: bool = False,
) -> list[RRef]:
    """Realize a closure whose result is one reference; return what was selected for it."""
    result, _, context = realize(closure, force_rebuild, assert_realized, realize_args, dry_run)
    if not isinstance(result, str) or not isdref(result):
        refuse(f"realizeMany is for one derivation, not {result!r:.200}", "use realize")
    return context[DRef(result)]  # type: ignore[return-value]


@door()
def realize1(
    closure: Targets,
    force_rebuild: list[DRef] | bool = [],
    assert_realized: list[DRef] = [],
    realize_args: dict[DRef, RealizeArg] = {},
    dry_run: bool = False,
) -> RRef:
    """Realize a closure whose result is one reference; return the one that was selected."""
    rrefs = realizeMany(closure, force_rebuild, assert_realized, realize_args, dry_run)
    check(rrefs is not None and len(rrefs) == 1, f"not one realization: {rrefs}", "use realizeMany")
    return rrefs[0]


def evaluate(stage: Any, *args: Any, **kwargs: Any) -> RRef:
    """Instantiate a stage and realize it."""
    return realize1(instantiate(stage, *args, **kwargs))


__all__ = [
    "RealizeSeqGen",
    "evaluate",
    "promise_exception",
    "realize",
    "realize1",
    "realizeMany",
    "realizeSeq",
]
