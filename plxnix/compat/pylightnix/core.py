"""Derivations, realizations, contexts: the functions of Pylightnix's core."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeAlias

from plxnix.compat.pylightnix.configs import from_native as config_from_native
from plxnix.compat.pylightnix.configs import to_native as config_to_native
from plxnix.compat.pylightnix.errors import asserting, check, door, refuse
from plxnix.compat.pylightnix.functions import (
    PYLIGHTNIX_RESERVED,
    artifact,
    from_native,
    full_context,
    to_native,
)
from plxnix.compat.pylightnix.matching import (
    Key,
    exact,
    latest,
    match,
    match_all,
    match_exact,
    match_latest,
    match_only,
    match_some,
    texthash,
)
from plxnix.compat.pylightnix.names import (
    PYLIGHTNIX_NAMEPAT,
    assert_rref_deps,
    assert_valid_config,
    assert_valid_context,
    assert_valid_dref,
    assert_valid_hash,
    assert_valid_hashpart,
    assert_valid_name,
    assert_valid_refpath,
    assert_valid_rref,
    cfgcattrs,
    cfgdeps,
    cfgdict,
    cfghash,
    cfgname,
    cfgserialize,
    cfgsp,
    mkconfig,
    mkdref,
    mkname,
    mkrefpath,
    mkrref,
    path2dref,
    path2rref,
    resolve,
    rref2dref,
    trimhash,
    undref,
    unrref,
)
from plxnix.compat.pylightnix.storage import (
    PYLIGHTNIX_STORE_VERSION,
    TL,
    assert_valid_storage,
    current_registry,
    current_storage,
    fsinit,
    fsroot,
    fsstorage,
    fstmpdir,
    mkregistry,
    mksettings,
    mkSS,
    setregistry,
    setstorage,
    storagename,
    store_of,
    tlregistry,
    tlstorage,
)
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
    RConfig,
    RealizeArg,
    Realizer,
    RealizerO,
    RefPath,
    Registry,
    RRef,
    StageResult,
    StorageSettings,
)
from plxnix.compat.pylightnix.utils import (
    dagroots,
    datahash,
    isdref,
    kahntsort,
    scanref_dict,
    selfref,
)
from plxnix.errors import (
    MissingRealizer,
    NoRegistry,
    NotInStore,
    PromiseMissing,
    RecursiveInstantiate,
)
from plxnix.model import RRef as NativeRRef
from plxnix.realize import realizing
from plxnix.realize import registry as native
from plxnix.realize.work import Work, prepare
from plxnix.store import Record, query
from plxnix.store.publication import publish

# ruff: noqa: N803 (settings are called S in Pylightnix)

Targets: TypeAlias = "Closure | tuple[Any, Closure]"
RealizeSeqGen: TypeAlias = Generator[
    "tuple[StorageSettings | None, DRef, Context, Derivation, RealizeArg]",
    "tuple[list[RRef] | None, bool]",
    Context,
]


def reserved(folder: Path, name: str) -> Path:
    """Return the path of a file that Pylightnix reserves."""
    check(name in PYLIGHTNIX_RESERVED, f"{name} is not one of {PYLIGHTNIX_RESERVED}")
    return Path(os.path.join(folder, name))


# -- questions to the store --------------------------------------------------------------------


def dref2path(r: DRef, S: StorageSettings | None = None) -> Path:
    """Return the folder of a derivation; it need not exist."""
    return Path(os.path.join(fsstorage(S), "-".join(undref(r))))


def rref2path(r: RRef, S: StorageSettings | None = None) -> Path:
    """Return the folder of a realization; it need not exist."""
    rhash, dhash, name = unrref(r)
    return Path(os.path.join(fsstorage(S), f"{dhash}-{name}", rhash))


def rrefpath2path(r: RRef, refpath: RefPath, S: StorageSettings | None = None) -> Path:
    """Return the path of something in a realization, given by a refpath of its derivation."""
    assert_valid_refpath(refpath)
    check(rref2dref(r) == refpath[0], f"{refpath} is no refpath of {r}")
    return Path(os.path.join(rref2path(r, S), *refpath[1:]))


def drefcfgpath(r: DRef, S: StorageSettings | None = None) -> Path:
    """Return the file with the config of a derivation."""
    return Path(os.path.join(dref2path(r, S), "config.json"))


@door()
def rrefctx(r: RRef, S: StorageSettings | None = None) -> Context:
    """Return all that a realization was made from: the transitive context."""
    assert_valid_rref(r)
    return full_context(store_of(S), store_of(S).record(r).context)


@door()
def drefcfg_(dref: DRef, S: StorageSettings | None = None) -> Config:
    """Return the config of a derivation as it was registered."""
    return config_from_native(store_of(S).config(dref))


def drefcfg(dref: DRef, S: StorageSettings | None = None) -> RConfig:
    """Return the config of a derivation; promises are refpaths."""
    return resolve(drefcfg_(dref, S), DRef(dref))


def drefattrs(r: DRef, S: StorageSettings | None = None) -> Any:
    """Return the config of a derivation as an object with attributes."""
    return cfgcattrs(drefcfg(r, S))


def rrefattrs(r: RRef, S: StorageSettings | None = None) -> Any:
    """Return the config of a realization as an object with attributes."""
    return drefattrs(rref2dref(r), S)


@door()
def drefdeps1(drefs: Iterable[DRef], S: StorageSettings | None = None) -> set[DRef]:
    """Return direct dependencies of derivations."""
    return set(map(DRef, query.drefdeps1(drefs, store_of(S))))


@door()
def drefdeps(drefs: Iterable[DRef], S: StorageSettings | None = None) -> set[DRef]:
    """Return all dependencies of derivations."""
    return set(map(DRef, query.drefdeps(drefs, store_of(S))))


@door()
def rrefdeps1(rrefs: Iterable[RRef], S: StorageSettings | None = None) -> set[RRef]:
    """Return the realizations that others were made from directly."""
    return set(map(RRef, query.rrefdeps1(rrefs, store_of(S))))


@door()
def rrefdeps(rrefs: Iterable[RRef], S: StorageSettings | None = None) -> set[RRef]:
    """Return all realizations that others were made from."""
    return set(map(RRef, query.rrefdeps(rrefs, store_of(S))))


@door()
def alldrefs(S: StorageSettings | None = None) -> Iterable[DRef]:
    """Return all derivations of a store."""
    return list(map(DRef, store_of(S).derivations()))


@door()
def allrrefs(S: StorageSettings | None = None) -> Iterable[RRef]:
    """Return all realizations of a store."""
    return list(map(RRef, query.allrrefs(store_of(S))))


@door()
def drefrrefs(dref: DRef, S: StorageSettings | None = None) -> set[RRef]:
    """Return all realizations of a derivation."""
    return set(map(RRef, store_of(S).realizations(dref)))


@door()
def drefrrefsC(  # noqa: N802
    dref: DRef, context: Context, S: StorageSettings | None = None
) -> Iterable[RRef]:
    """Return the realizations of a derivation that were made from a (transitive) context."""
    store = store_of(S)
    below = store.config(dref).dependencies
    if any(not context.get(DRef(one)) for one in below):
        return []
    direct = {one: list(map(NativeRRef, context[DRef(one)] or ())) for one in below}
    return list(map(RRef, store.realizations(dref, direct)))


def rrefdata(rref: RRef, S: StorageSettings | None = None) -> Iterable[Path]:
    """Yield the paths of the artifacts at the top of a realization."""
    root = rref2path(rref, S)
    for name in sorted(os.listdir(root)):
        yield Path(os.path.join(root, name))


def rootdrefs(S: StorageSettings | None = None) -> set[DRef]:
    """Return the derivations that no other needs."""
    return _roots(alldrefs(S), lambda dref: drefdeps1([dref], S))


def rootrrefs(S: StorageSettings | None = None) -> set[RRef]:
    """Return the realizations that no other was made from."""
    return _roots(allrrefs(S), lambda rref: rrefdeps1([rref], S))


def _roots(nodes: Iterable[Any], below: Callable[[Any], set[Any]]) -> set[Any]:
    known = {node: below(node) for node in nodes}
    ordered = kahntsort(known, lambda node: known[node] & known.keys())
    return dagroots(ordered or [], lambda node: known[node])


@door()
def store_gc(
    keep_drefs: list[DRef], keep_rrefs: list[RRef], S: StorageSettings | None = None
) -> tuple[set[DRef], set[RRef]]:
    """Return what a store need not keep: derivations, and realizations; nothing is removed."""
    drefs = drefdeps(keep_drefs, S) | set(keep_drefs)
    rrefs = rrefdeps(keep_rrefs, S) | set(keep_rrefs)
    for dref in drefs:
        rrefs |= drefrrefs(dref, S)
    drefs |= {rref2dref(rref) for rref in rrefs}
    return set(alldrefs(S)) - drefs, set(allrrefs(S)) - rrefs


# -- writing into the store --------------------------------------------------------------------


@door()
def mkdrv_(c: Config, S: StorageSettings | None = None) -> DRef:
    """Write the config of a derivation into a store and return the reference."""
    assert_valid_config(c)
    assert_rref_deps(c)
    return DRef(store_of(S).add(config_to_native(c)))


@door()
def mkrealization(
    dref: DRef,
    l: Context,  # noqa: E741
    o: Path,
    S: StorageSettings | None = None,
) -> RRef:
    """Publish a folder as a realization that was made from a (transitive) context."""
    store = store_of(S)
    config = store.config(dref)
    direct = {
        one: tuple(map(NativeRRef, context_deref(l, DRef(one)))) for one in config.dependencies
    }
    made = artifact(dref, o)
    started, stopped = made.times or (time.time(),) * 2
    record = Record(direct, "", 0, started=started, stopped=stopped)
    store.restore(config)
    with store.building(), store.realizing(config.dref):
        return RRef(publish(store, config.dref, os.fspath(made.path), record))


# -- contexts ----------------------------------------------------------------------------------


def mkcontext() -> Context:
    """Return an empty context."""
    return {}


def context_eq(a: Context, b: Context) -> bool:
    """Tell whether two contexts are the same."""
    return json.dumps(a) == json.dumps(b)


def context_add(ctx: Context, dref: DRef, rrefs: list[RRef] | None) -> Context:
    """Return a context with one derivation more."""
    check(dref not in ctx, f"the context has {dref} already: {ctx.get(dref)}, and now {rrefs}")
    return dict(sorted([(dref, sorted(rrefs) if rrefs else None), *ctx.items()]))


def context_deref(context: Context, dref: DRef) -> list[RRef]:
    """Return what a context has for a derivation; raise `NotInStore` if it has nothing."""
    if dref not in context:
        refuse(f"{dref} is not in the context", "it holds dependencies only", NotInStore)
    return context[dref]  # type: ignore[return-value]


def context_derefpath(
    context: Context, refpath: RefPath, S: StorageSettings | None = None
) -> list[Path]:
    """Return the paths that a refpath stands for."""
    assert_valid_refpath(refpath)
    rrefs = context_deref(context, DRef(refpath[0]))
    return [Path(os.path.join(rref2path(one, S), *refpath[1:])) for one in rrefs]


def context_serialize(c: Context) -> str:
    """Return a context as JSON."""
    assert_valid_context(c)
    return json.dumps(c, indent=4)


# -- stages ------------------------------------------------------------------------------------


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
    r = tlregistry(r)
    if r is None:
        refuse("no registry is current", "pass one, or use current_registry", NoRegistry)
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
    force_rebuild: list[DRef] | bool = [],  # noqa: B006 (never changed)
    assert_realized: list[DRef] = [],  # noqa: B006
    realize_args: dict[DRef, RealizeArg] = {},  # noqa: B006
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
    return result, given, _contexted(selected)


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
def realizeSeq(  # noqa: N802
    closure: Closure,
    force_interrupt: list[DRef] = [],  # noqa: B006
    assert_realized: list[DRef] = [],  # noqa: B006
    realize_args: dict[DRef, RealizeArg] = {},  # noqa: B006
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
def realizeMany(  # noqa: N802
    closure: Targets,
    force_rebuild: list[DRef] | bool = [],  # noqa: B006
    assert_realized: list[DRef] = [],  # noqa: B006
    realize_args: dict[DRef, RealizeArg] = {},  # noqa: B006
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
    force_rebuild: list[DRef] | bool = [],  # noqa: B006
    assert_realized: list[DRef] = [],  # noqa: B006
    realize_args: dict[DRef, RealizeArg] = {},  # noqa: B006
    dry_run: bool = False,
) -> RRef:
    """Realize a closure whose result is one reference; return the one that was selected."""
    rrefs = realizeMany(closure, force_rebuild, assert_realized, realize_args, dry_run)
    check(rrefs is not None and len(rrefs) == 1, f"not one realization: {rrefs}", "use realizeMany")
    return rrefs[0]


def evaluate(stage: Any, *args: Any, **kwargs: Any) -> RRef:
    """Instantiate a stage and realize it."""
    return realize1(instantiate(stage, *args, **kwargs))


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
            f"the registry does not know {', '.join(missing)}",
            "call all stages with one registry",
        )


__all__ = [
    "PYLIGHTNIX_NAMEPAT",
    "PYLIGHTNIX_RESERVED",
    "PYLIGHTNIX_STORE_VERSION",
    "TL",
    "Key",
    "RealizeSeqGen",
    "Targets",
    "alldrefs",
    "allrrefs",
    "assert_have_realizers",
    "assert_rref_deps",
    "assert_valid_closure",
    "assert_valid_config",
    "assert_valid_context",
    "assert_valid_dref",
    "assert_valid_hash",
    "assert_valid_hashpart",
    "assert_valid_name",
    "assert_valid_refpath",
    "assert_valid_rref",
    "assert_valid_storage",
    "cfgcattrs",
    "cfgdeps",
    "cfgdict",
    "cfghash",
    "cfgname",
    "cfgserialize",
    "cfgsp",
    "context_add",
    "context_deref",
    "context_derefpath",
    "context_eq",
    "context_serialize",
    "current_registry",
    "current_storage",
    "datahash",
    "dref2path",
    "drefattrs",
    "drefcfg",
    "drefcfg_",
    "drefcfgpath",
    "drefdeps",
    "drefdeps1",
    "drefrrefs",
    "drefrrefsC",
    "evaluate",
    "exact",
    "fsinit",
    "fsroot",
    "fsstorage",
    "fstmpdir",
    "instantiate",
    "latest",
    "match",
    "match_all",
    "match_exact",
    "match_latest",
    "match_only",
    "match_some",
    "mkSS",
    "mkclosure",
    "mkconfig",
    "mkcontext",
    "mkdref",
    "mkdrv",
    "mkdrv_",
    "mkname",
    "mkrealization",
    "mkrefpath",
    "mkregistry",
    "mkrref",
    "mksettings",
    "native_closure",
    "output_matcher",
    "output_realizer",
    "output_validate",
    "path2dref",
    "path2rref",
    "promise_exception",
    "realize",
    "realize1",
    "realizeMany",
    "realizeSeq",
    "reserved",
    "resolve",
    "rootdrefs",
    "rootrrefs",
    "rref2dref",
    "rref2path",
    "rrefattrs",
    "rrefctx",
    "rrefdata",
    "rrefdeps",
    "rrefdeps1",
    "rrefpath2path",
    "selfref",
    "setregistry",
    "setstorage",
    "storagename",
    "store_gc",
    "store_of",
    "texthash",
    "tlregistry",
    "tlstorage",
    "trimhash",
    "undref",
    "unpack_closure_arg_",
    "unrref",
]
