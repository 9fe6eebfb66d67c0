"""Pausing a realization, as Pylightnix does it; see `plxnix.repl` for ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plxnix import repl as native
from plxnix.compat.pylightnix.derivations import native_closure, unpack_closure_arg_
from plxnix.compat.pylightnix.errors import door, refuse
from plxnix.compat.pylightnix.functions import artifact, from_native, full_context
from plxnix.compat.pylightnix.types import (
    Closure,
    Context,
    Derivation,
    DRef,
    Path,
    RealizeArg,
    RRef,
    StageResult,
    StorageSettings,
)
from plxnix.compat.pylightnix.values import scanref_dict
from plxnix.errors import InvalidValue, RealizeError
from plxnix.model import isdref

ERR_INVALID_RH = "neither a global ReplHelper nor one that was given is there"
ERR_INACTIVE_RH = "the REPL session is not paused, or is done"

#: The helper that is meant when none is given: the last one.
PYLIGHTNIX_REPL_HELPER: ReplHelper | None = None


class ReplHelper:
    """A realization that can stand still: `gen` is None once it is done or cancelled."""

    def __init__(self, gen: native.ReplHelper | None, result: StageResult) -> None:
        self.gen = gen
        self.S: StorageSettings | None = None
        self.dref: DRef | None = None
        self.context: Context | None = None
        self.drv: Derivation | None = None
        self.result: StageResult | None = result
        self.rarg: RealizeArg | None = None

    def _note(self, helper: native.ReplHelper) -> None:
        """Take over where the realization stands."""
        if helper.pause is None:
            self.gen = None
            if helper.done:
                chosen = helper.selected
                self.context = {
                    DRef(dref): [RRef(rref) for rref in chosen[dref]] for dref in sorted(chosen)
                }
            return
        derivation = helper.pause.derivation
        self.dref = DRef(derivation.dref)
        self.context = full_context(helper.store, helper.pause.context)
        self.drv = from_native(derivation)
        self.rarg = dict(helper.work.arguments.get(derivation.dref, {}))


@door()
def repl_realize(
    arg: Closure | tuple[Any, Closure],
    force_interrupt: list[DRef] | bool = True,
    realize_args: dict[DRef, RealizeArg] = {},
) -> ReplHelper:
    """Realize a closure, and stand still before the targets, or the derivations that are named."""
    global PYLIGHTNIX_REPL_HELPER
    result, closure = unpack_closure_arg_(arg)
    if not isinstance(force_interrupt, (bool, list)):
        refuse(f"force_interrupt is {force_interrupt!r}", "it is a bool or a list", InvalidValue)
    targets = native_closure(closure)
    known = targets.derivations
    helper = native.repl_realize(
        targets,
        list(closure.targets) if force_interrupt is True else force_interrupt or (),
        {dref: args for dref, args in realize_args.items() if dref in known},
    )
    found = ReplHelper(helper, result)
    found.S = closure.S
    PYLIGHTNIX_REPL_HELPER = found
    found._note(helper)
    return found


@door()
def repl_continue(
    out_paths: list[Path] | None = None,
    out_rrefs: list[RRef] | None = None,
    rh: ReplHelper | None = None,
) -> tuple[Any, Context]:
    """Go on from a pause; return what the stage returned, and the context so far."""
    found, helper = paused(rh)
    if out_paths is not None and out_rrefs is not None:
        refuse("out_paths and out_rrefs are both given", "give one of them", InvalidValue)
    if [] in (out_paths, out_rrefs):
        refuse("there is nothing to go on with: []", "leave it out to run the stage", InvalidValue)
    chosen: list[Any] | None = list(out_rrefs) if out_rrefs is not None else None
    if out_paths is not None and helper.pause is not None:
        # Who hands a folder over has to look at promises: that is what output_validate is for.
        made = [replace(artifact(str(found.dref), path), failed=True) for path in out_paths]
        chosen = list(helper.work.adopt(helper.pause, made, helper.started))
    try:
        helper.advance(chosen)
    finally:
        found._note(helper)
    return found.result, found.context or {}


def repl_continueMany(
    out_paths: list[Path] | None = None,
    out_rrefs: list[RRef] | None = None,
    rh: ReplHelper | None = None,
) -> list[RRef] | None:
    """Go on; return the realizations of the only target, or None at a pause."""
    result, context = repl_continue(out_paths, out_rrefs, rh)
    return context.get(_target(result))


def repl_continue1(
    out_paths: list[Path] | None = None,
    out_rrefs: list[RRef] | None = None,
    rh: ReplHelper | None = None,
) -> RRef | None:
    """Go on; return the only realization of the only target, or None at a pause."""
    return _single(repl_continueMany(out_paths, out_rrefs, rh))


def repl_result(rh: ReplHelper) -> Any | None:
    """Return the result with lists of realizations for references, or None at a pause."""
    context = rh.context or {}
    drefs = _drefs(rh.result)
    if any(dref not in context for dref in drefs):
        return None
    return _replaced(rh.result, context)


def repl_rrefs(rh: ReplHelper) -> list[RRef] | None:
    """Return the realizations of the only target, or None at a pause."""
    return (rh.context or {}).get(_target(rh.result))


def repl_rref(rh: ReplHelper) -> RRef | None:
    """Return the only realization of the only target, or None at a pause."""
    return _single(repl_rrefs(rh))


@door()
def repl_cancel(rh: ReplHelper | None = None) -> None:
    """Give up."""
    found, helper = paused(rh)
    helper.cancel()
    found._note(helper)


def paused(rh: ReplHelper | None) -> tuple[ReplHelper, native.ReplHelper]:
    """Return a helper (default: the last one) with its realization, which has to be paused."""
    found = rh if rh is not None else PYLIGHTNIX_REPL_HELPER
    if found is None:
        refuse(ERR_INVALID_RH, "call repl_realize first", RealizeError)
    if found.gen is None:
        refuse(ERR_INACTIVE_RH, "call repl_realize", RealizeError)
    return found, found.gen


def _drefs(result: Any) -> list[DRef]:
    return list(dict.fromkeys(scanref_dict({"result": result})[0]))


def _target(result: Any) -> DRef:
    drefs = _drefs(result)
    if len(drefs) != 1:
        refuse(f"there are {len(drefs)} targets, not one", "use repl_continue", InvalidValue)
    return drefs[0]


def _single(rrefs: list[RRef] | None) -> RRef | None:
    if rrefs is None:
        return None
    if len(rrefs) != 1:
        refuse(f"there are {len(rrefs)} realizations, not one", "use repl_rrefs", InvalidValue)
    return rrefs[0]


def _replaced(value: Any, context: Context) -> Any:
    if isinstance(value, str) and isdref(value):
        return context[DRef(value)]
    if isinstance(value, dict):
        return {key: _replaced(item, context) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(item, context) for item in value)
    return value
