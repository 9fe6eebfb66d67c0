"""Derivations: registered, gathered into closures, and published as realizations."""

from __future__ import annotations

import os
import time
from typing import Any, TypeAlias

from plxnix.compat.pylightnix.configs import to_native as config_to_native
from plxnix.compat.pylightnix.contexts import context_deref
from plxnix.compat.pylightnix.errors import asserting, check, door, refuse
from plxnix.compat.pylightnix.functions import artifact, to_native
from plxnix.compat.pylightnix.names import assert_rref_deps, assert_valid_config, cfgsp
from plxnix.compat.pylightnix.questions import drefcfg_, drefdeps
from plxnix.compat.pylightnix.storage import mkregistry, needed_registry, store_of, tlregistry
from plxnix.compat.pylightnix.types import (
    Closure,
    Config,
    Context,
    Derivation,
    DRef,
    Matcher,
    MatcherO,
    Output,
    Path,
    PromiseException,
    RealizeArg,
    Realizer,
    RealizerO,
    Registry,
    RRef,
    StorageSettings,
)
from plxnix.compat.pylightnix.values import scanref_dict
from plxnix.errors import MissingRealizer, RecursiveInstantiate
from plxnix.model import RRef as NativeRRef
from plxnix.realize import registry as native
from plxnix.store import Record
from plxnix.store.publication import publish

Targets: TypeAlias = "Closure | tuple[Any, Closure]"


@door()
def mkdrv_(c: Config, S: StorageSettings | None = None) -> DRef:
    """Write the config of a derivation into a store and return the reference."""
    assert_valid_config(c)
    assert_rref_deps(c)
    return DRef(store_of(S).add(config_to_native(c)))


@door()
def mkrealization(dref: DRef, l: Context, o: Path, S: StorageSettings | None = None) -> RRef:
    """Publish a folder as a realization that was made from a (transitive) context."""
    store = store_of(S)
    config = store.config(dref)
    direct = {
        one: tuple(map(NativeRRef, context_deref(l, DRef(one)))) for one in config.dependencies
    }
    made = artifact(dref, o)
    started, stopped = made.times or (time.time(),) * 2
    record = Record(direct, "", 0, started=started, stopped=stopped)
    with store.keeping([config.dref, *direct]), store.realizing(config.dref):
        store.restore(config)
        return RRef(publish(store, config.dref, os.fspath(made.path), record))


@door()
def output_validate(dref: DRef, o: Output[Path], S: StorageSettings | None = None) -> list[Path]:
    """Return the folders of an output; raise `PromiseException` for broken promises."""
    failed = [
        (path, promise)
        for _, promise in cfgsp(drefcfg_(dref, S))
        for path in o.val
        if not os.path.lexists(os.path.join(path, *promise[1:]))
    ]
    if failed:
        raise PromiseException(dref, failed)
    return o.val


def output_realizer(f: RealizerO) -> Realizer:
    """Return a realizer that checks the promises."""

    def realizer(S: StorageSettings | None, dref: DRef, ctx: Context, ra: RealizeArg) -> list[Path]:
        return output_validate(dref, f(S, dref, ctx, ra), S)

    return realizer


def output_matcher(r: MatcherO) -> Matcher:
    """Return a matcher made of one that looks at outputs."""

    def matcher(S: StorageSettings | None, rrefs: list[RRef]) -> list[RRef] | None:
        chosen = r(S, Output(rrefs))
        return None if chosen is None else chosen.val

    return matcher


@door()
def mkdrv(config: Config, matcher: Matcher, realizer: Realizer, r: Registry | None = None) -> DRef:
    """Register a derivation and return its reference; its config is written at once."""
    r = needed_registry(r)
    dref = mkdrv_(config, r.S)
    r.builders[dref] = Derivation(dref, matcher, realizer)
    return dref


@door()
def mkclosure(result: Any, r: Registry) -> Closure:
    """Return the closure of the references in what a stage returned."""
    targets, _ = scanref_dict({"result": result})
    check(targets, f"there is no derivation reference in {result!r:.200}")
    assert_have_realizers(r, targets)
    return Closure(result, targets, list(r.builders.values()), r.S)


@door()
def instantiate(
    stage: Any,
    *args: Any,
    S: StorageSettings | None = None,
    r: Registry | None = None,
    **kwargs: Any,
) -> tuple[Any, Closure]:
    """Call a stage with a registry, or take references; return its result and the closure."""
    r = tlregistry(r)
    if r is None:
        r = mkregistry(S)
    elif S is not None and r.S != S:
        refuse(f"the registry is over {r.S}, not {S}", "give one of the two")
    if r.in_instantiate:
        refuse(
            "instantiate() was called by a stage, with the registry of that stage",
            "a stage calls other stages directly",
            RecursiveInstantiate,
        )
    r.in_instantiate = True
    try:
        result = stage(*args, r=r, **kwargs) if callable(stage) else stage
    finally:
        r.in_instantiate = False
    return result, mkclosure(result, r)


def unpack_closure_arg_(arg: Targets) -> tuple[Any, Closure]:
    """Return a closure with the result that goes with it."""
    if isinstance(arg, Closure):
        return arg.result, arg
    check(
        isinstance(arg, tuple) and len(arg) == 2 and isinstance(arg[1], Closure),
        f"not a closure: {arg!r:.80}",
        "pass on what instantiate() returned",
    )
    return arg[0], arg[1]


def native_closure(closure: Closure) -> native.Closure:
    """Return the closure of plxnix, which holds the targets and what they depend on."""
    assert_valid_closure(closure)
    registry = Registry(closure.S)
    for drv in closure.derivations:
        registry.derivations[drv.dref] = to_native(drv, closure.S)
    return native.instantiate(list(closure.targets), registry=registry)


def assert_valid_closure(closure: Closure) -> None:
    """Raise `InvalidValue` for a closure without derivations, or without one for a target."""
    check(closure.derivations, "the closure is empty")
    known = {drv.dref for drv in closure.derivations}
    strangers = [dref for dref in closure.targets if dref not in known]
    check(not strangers, f"the closure lacks its targets {strangers}")


@door()
def assert_have_realizers(r: Registry, drefs: list[DRef]) -> None:
    """Raise `MissingRealizer` if a registry does not know derivations or their dependencies."""
    missing = sorted((drefdeps(drefs, r.S) | set(drefs)) - r.builders.keys())
    if missing:
        raise asserting(MissingRealizer)(
            f"the registry does not know {', '.join(missing)}", "call all stages with one registry"
        )


__all__ = [
    "Targets",
    "assert_have_realizers",
    "assert_valid_closure",
    "instantiate",
    "mkclosure",
    "mkdrv",
    "mkdrv_",
    "mkrealization",
    "native_closure",
    "output_matcher",
    "output_realizer",
    "output_validate",
    "unpack_closure_arg_",
]
