"""Questions to a store, as plain functions; each takes the current store if none is given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from plxnix.config import Config
from plxnix.model import DRef, RRef
from plxnix.store.current import current_store
from plxnix.store.store import Store


def alldrefs(store: Store | None = None) -> Iterator[DRef]:
    """Yield all derivations, sorted."""
    yield from current_store(store).derivations()


def allrrefs(store: Store | None = None) -> Iterator[RRef]:
    """Yield all realizations of all derivations, sorted by derivation."""
    opened = current_store(store)
    for dref in opened.derivations():
        yield from opened.realizations(dref)


def drefrrefs(dref: str, store: Store | None = None) -> list[RRef]:
    """Return the realizations of a derivation, sorted; matchers are not asked."""
    return current_store(store).realizations(dref)


def drefcfg(dref: str, store: Store | None = None) -> Config:
    """Return the config of a derivation as it was registered; raise `NotInStore`."""
    return current_store(store).config(dref)


def dref2path(dref: str, store: Store | None = None) -> Path:
    """Return the folder of a derivation; it need not exist."""
    return Path(current_store(store).layout.derivation(DRef.parse(dref)))


def rref2path(rref: str, store: Store | None = None) -> Path:
    """Return the folder with the artifacts of a realization; raise `NotInStore`."""
    return Path(current_store(store).path(rref))


def path2rref(path: str | os.PathLike[str], store: Store | None = None) -> RRef | None:
    """Return the realization that `path` is in, or that a link at `path` leads to, or None."""
    return current_store(store).layout.rref_of(os.path.realpath(path))


def rrefctx(rref: str, store: Store | None = None) -> dict[DRef, list[RRef]]:
    """Return the direct context of a realization: what was selected for each dependency."""
    record = current_store(store).record(rref)
    return {dref: list(rrefs) for dref, rrefs in record.context.items()}


def drefdeps1(drefs: Iterable[str], store: Store | None = None) -> set[DRef]:
    """Return the direct dependencies of derivations, without themselves."""
    opened = current_store(store)
    return {dep for dref in drefs for dep in opened.config(dref).dependencies}


def drefdeps(drefs: Iterable[str], store: Store | None = None) -> set[DRef]:
    """Return all dependencies of derivations, without those given unless one needs another."""
    opened = current_store(store)
    first = drefdeps1(drefs, opened)
    return set(_closure(first, lambda dref: opened.config(dref).dependencies))


def rrefdeps1(rrefs: Iterable[str], store: Store | None = None) -> set[RRef]:
    """Return the realizations that the given ones were made from directly."""
    opened = current_store(store)
    return {dep for rref in rrefs for dep in _direct(opened, RRef.parse(rref))}


def rrefdeps(rrefs: Iterable[str], store: Store | None = None) -> set[RRef]:
    """Return all realizations that the given ones were made from."""
    opened = current_store(store)
    return set(_closure(rrefdeps1(rrefs, opened), lambda rref: _direct(opened, rref)))


def rrefbstart(rref: str, store: Store | None = None) -> float:
    """Return when the realizer was started, in seconds since the epoch."""
    return current_store(store).record(rref).started


def rrefbstop(rref: str, store: Store | None = None) -> float:
    """Return when the realizer was done, in seconds since the epoch."""
    return current_store(store).record(rref).stopped


def rrefbdelta(rref: str, store: Store | None = None) -> float:
    """Return how long the realizer ran, in seconds."""
    record = current_store(store).record(rref)
    return record.stopped - record.started


def _direct(store: Store, rref: RRef) -> list[RRef]:
    return [one for rrefs in store.record(rref).context.values() for one in rrefs]


def _closure(first: Iterable[Any], below: Any) -> list[Any]:
    """Return what is reached from `first`, each once; iterative, linear in the edges."""
    reached = dict.fromkeys(first)
    waiting = list(reached)
    while waiting:
        for one in below(waiting.pop()):
            if one not in reached:
                reached[one] = None
                waiting.append(one)
    return list(reached)
