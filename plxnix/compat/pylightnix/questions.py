"""Questions about a store: where things lie in it, and what they were made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from plxnix.compat.pylightnix.configs import from_native as config_from_native
from plxnix.compat.pylightnix.errors import check, door
from plxnix.compat.pylightnix.functions import PYLIGHTNIX_RESERVED, full_context
from plxnix.compat.pylightnix.graphs import dagroots, kahntsort
from plxnix.compat.pylightnix.names import (
    assert_valid_refpath,
    assert_valid_rref,
    cfgcattrs,
    resolve,
    rref2dref,
    undref,
    unrref,
)
from plxnix.compat.pylightnix.storage import fsstorage, store_of
from plxnix.compat.pylightnix.timing import timestring
from plxnix.compat.pylightnix.types import (
    Config,
    Context,
    DRef,
    Path,
    RConfig,
    RefPath,
    RRef,
    StorageSettings,
)
from plxnix.model import RRef as NativeRRef
from plxnix.store import query


def reserved(folder: Path, name: str) -> Path:
    """Return the path of a file that Pylightnix reserves."""
    check(name in PYLIGHTNIX_RESERVED, f"{name} is not one of {PYLIGHTNIX_RESERVED}")
    return Path(os.path.join(folder, name))


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
def drefrrefsC(dref: DRef, context: Context, S: StorageSettings | None = None) -> Iterable[RRef]:
    """Return the realizations of a derivation that were made from a (transitive) context."""
    store = store_of(S)
    below = store.config(dref).dependencies
    if any(not context.get(DRef(one)) for one in below):
        return []
    direct = {one: list(map(NativeRRef, context[DRef(one)] or ())) for one in below}
    return list(map(RRef, store.realizations(dref, direct)))


@door()
def rrefbstart(rref: RRef, S: StorageSettings | None = None) -> str:
    """Return when a realization was begun, as `timestring` writes it."""
    return timestring(store_of(S).record(rref).started)


@door()
def rrefbstop(rref: RRef, S: StorageSettings | None = None) -> str:
    """Return when a realization was done, as `timestring` writes it."""
    return timestring(store_of(S).record(rref).stopped)


@door()
def rrefbdelta(rref: RRef, S: StorageSettings | None = None) -> float | None:
    """Return how long a realization took, in seconds."""
    record = store_of(S).record(rref)
    return record.stopped - record.started


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


__all__ = [
    "alldrefs",
    "allrrefs",
    "dref2path",
    "drefattrs",
    "drefcfg",
    "drefcfg_",
    "drefcfgpath",
    "drefdeps",
    "drefdeps1",
    "drefrrefs",
    "drefrrefsC",
    "reserved",
    "rootdrefs",
    "rootrrefs",
    "rref2path",
    "rrefattrs",
    "rrefctx",
    "rrefdata",
    "rrefdeps",
    "rrefdeps1",
    "rrefpath2path",
    "store_gc",
]
