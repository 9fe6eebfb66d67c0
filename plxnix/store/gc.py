"""Garbage collection: remove what no root reaches.

Kept is what roots reach through contexts. The rest is garbage, which may be spared for its age or
because the store is small enough. A realization counts as used when the last of those that were
made from it was started, so garbage in the order of last use never loses what later garbage needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from plxnix.errors import CorruptEntry, NotInStore, StoreError
from plxnix.model import DRef, RRef
from plxnix.store import fixed, nixroots
from plxnix.store.locks import Waiting
from plxnix.store.roots import remove_stale, roots
from plxnix.store.store import Store


class Garbage(NamedTuple):
    """A realization to delete: its size in bytes, and its last use in seconds since the epoch."""

    rref: RRef
    size: int
    used: float


@dataclass(frozen=True)
class GcPlan:
    """What garbage collection would do.

    `kept` maps each realization that stays to why: `root LINK`, `needed by RREF`, or the limit that
    spares it. `deleted` is sorted by last use, oldest first, dependents before what they were made
    from. `drefs` are the derivations that go too: no kept realization is theirs, and no kept
    derivation depends on them. `freed` is the sum of the sizes, in bytes of NAR archives.
    """

    kept: dict[RRef, str]
    deleted: list[Garbage]
    drefs: list[DRef]
    freed: int
    limits: Limits


@dataclass(frozen=True)
class Limits:
    """What a plan was asked for; `before` is in seconds since the epoch, `max_size` in bytes."""

    keep: tuple[RRef, ...] = ()
    before: float | None = None
    max_size: int | None = None
    everything: bool = False
    drefs: tuple[DRef, ...] = ()


def plan_gc(
    store: Store,
    keep: Iterable[RRef] = (),
    older_than: float | None = None,
    max_size: int | None = None,
    everything: bool = False,
    drefs: Iterable[DRef] = (),
) -> GcPlan:
    """Decide what to delete; nothing is changed.

    `keep` names further realizations to keep, with all that they were made from, and `drefs`
    derivations, of which all realizations are kept. `older_than` (in
    seconds) spares garbage that was used, and derivations that were written, since then.
    `max_size` (in bytes) deletes the oldest garbage only, until the total is not above it.

    Raises `StoreError` if there are no roots and nothing in `keep`, since then all would be
    garbage, unless `everything` says that this is meant or the store is empty; `NotInStore` if
    something in `keep` is missing; `CorruptEntry` if a kept realization has lost record and config
    both, so that nobody knows what it needs. Cost: one listing for each derivation and one small
    read for each realization, then linear in the edges.
    """
    before = None if older_than is None else time.time() - older_than
    limits = Limits(
        tuple(map(RRef.parse, keep)), before, max_size, everything, tuple(map(DRef.parse, drefs))
    )
    return _plan(store, _Graph(store), limits, None)


def collect(store: Store, plan: GcPlan, waiting: Waiting | None = None) -> GcPlan:
    """Delete what `plan` says, and return what was done.

    Waits until nobody builds, then plans again: what was rooted or used since `plan` was made
    stays, and what is new stays. Each realization disappears by one rename, dependents first, so
    an interruption leaves a whole store. Registrations of roots whose links are gone are removed,
    and so are roots in Nix and links by hash of realizations that are gone.
    Raises what `plan_gc` raises, and `StoreError` if the store cannot be written.
    """
    with store.deleting(waiting):
        try:
            remove_stale(store)
            done = _plan(store, _Graph(store), plan.limits, plan)
            store.remove([garbage.rref for garbage in done.deleted], done.drefs)
            nixroots.remove_stale(store)
            fixed.remove_stale(store)
        except OSError as error:
            raise StoreError(
                f"cannot delete from {store.root}: {error}", "is the store another user's?"
            ) from error
    return done


class _Graph:
    """All derivations and realizations of a store, and which was made from which."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.derivations: dict[DRef, list[RRef]] = {
            dref: store.realizations(dref) for dref in store.derivations()
        }
        #: What each realization was made from.
        self.below: dict[RRef, list[RRef]] = {}
        self.sizes: dict[RRef, int] = {}
        self.used: dict[RRef, float] = {}
        #: The direct dependencies of derivations that have realizations.
        self.dependencies: dict[DRef, Collection[DRef]] = {}
        #: Realizations of which neither the record nor the config can be read.
        self.unknown: dict[RRef, StoreError] = {}
        for dref, rrefs in self.derivations.items():
            for rref in rrefs:
                self._read(dref, rref)

    def _read(self, dref: DRef, rref: RRef) -> None:
        try:
            record = self.store.record(rref)
        except (CorruptEntry, NotInStore):
            self._guess(dref, rref)
            return
        self.sizes[rref] = record.nar_size
        self.used[rref] = record.started
        self.below[rref] = [one for rrefs in record.context.values() for one in rrefs]
        self.dependencies[dref] = record.context

    def _guess(self, dref: DRef, rref: RRef) -> None:
        """Without a record, anything that its config allows may be what it was made from."""
        self.sizes[rref] = 0
        self.used[rref] = 0.0
        self.below[rref] = []
        try:
            dependencies = self.store.config(dref).dependencies
        except (CorruptEntry, NotInStore) as error:
            self.unknown[rref] = error
            return
        self.dependencies.setdefault(dref, dependencies)
        self.below[rref] = [one for dep in dependencies for one in self.derivations.get(dep, ())]

    def reach(self, kept: dict[RRef, str]) -> None:
        """Add to `kept` all that it needs; raise `CorruptEntry` where that is not known."""
        waiting = list(kept)
        while waiting:
            rref = waiting.pop()
            if rref in self.unknown:
                raise CorruptEntry(
                    f"{rref} is kept ({kept[rref]}), but what it was made from cannot be read: "
                    f"{self.unknown[rref].message}",
                    "instantiate its stage again, or give it up with `plxnix rm`",
                    self.store.layout.derivation(rref.dref),
                )
            for one in self.below[rref]:
                if one not in kept and one in self.below:
                    kept[one] = f"needed by {rref}"
                    waiting.append(one)

    def garbage(self, kept: Collection[RRef]) -> list[Garbage]:
        """Return all but `kept` by last use, oldest first, dependents before dependencies."""
        dependents = {rref: 0 for rref in self.below if rref not in kept}
        for rref in list(dependents):
            for one in self.below[rref]:
                if one in dependents:
                    dependents[one] += 1
        used = {rref: self.used[rref] for rref in dependents}
        order = [rref for rref, count in dependents.items() if count == 0]
        for rref in order:  # grows while it is walked
            for one in self.below[rref]:
                if one in dependents:
                    used[one] = max(used[one], used[rref])
                    dependents[one] -= 1
                    if dependents[one] == 0:
                        order.append(one)
        # Realizations made from each other exist only if somebody forged records: then, last.
        order += [rref for rref, count in dependents.items() if count > 0]
        # The sort is stable, so among equals dependents stay first.
        return [
            Garbage(rref, self.sizes[rref], used[rref])
            for rref in sorted(order, key=lambda rref: used[rref])
        ]


def _plan(store: Store, graph: _Graph, limits: Limits, earlier: GcPlan | None) -> GcPlan:
    """Plan within `limits`, and within an earlier plan if there is one."""
    kept: dict[RRef, str] = {}
    for root in roots(store):
        kept.setdefault(root.rref, f"root {root.path}")
    for rref in limits.keep:
        if rref not in graph.below:
            store.path(rref)  # raises NotInStore
        kept.setdefault(rref, "asked to keep")
    for dref in limits.drefs:
        for rref in graph.derivations.get(dref, ()):
            kept.setdefault(rref, f"of {dref}, which was asked for")
    if not kept and not limits.everything and graph.derivations:
        raise StoreError(
            f"nothing is kept: the store {store.root} has no roots, so all "
            f"{len(graph.below)} realizations of {len(graph.derivations)} derivations are garbage",
            "make roots with `plxnix realize --out-link`, or say --all",
        )
    if earlier is not None:
        agreed = {garbage.rref for garbage in earlier.deleted}
        for rref in sorted(graph.below.keys() - agreed - kept.keys()):
            kept[rref] = earlier.kept.get(rref, "newer than the plan")
    graph.reach(kept)
    deleted = _limit(graph, kept, limits)
    drefs = _derivations(graph, kept, limits, None if earlier is None else set(earlier.drefs))
    return GcPlan(kept, deleted, drefs, sum(garbage.size for garbage in deleted), limits)


def _limit(graph: _Graph, kept: dict[RRef, str], limits: Limits) -> list[Garbage]:
    """Return the garbage that goes; put what the limits spare into `kept`."""
    total = sum(graph.sizes.values())
    deleted = []
    for garbage in graph.garbage(kept):
        if limits.before is not None and garbage.used >= limits.before:
            kept[garbage.rref] = "younger than the age limit"
        elif limits.max_size is not None and total <= limits.max_size:
            kept[garbage.rref] = "within the size limit"
        else:
            deleted.append(garbage)
            total -= garbage.size
    return deleted


def _derivations(
    graph: _Graph, kept: Iterable[RRef], limits: Limits, agreed: set[DRef] | None
) -> list[DRef]:
    """Return the derivations that go, sorted."""
    stay = {rref.dref for rref in kept} | set(limits.drefs)
    for dref, rrefs in graph.derivations.items():
        if (agreed is not None and dref not in agreed) or (
            limits.before is not None and not rrefs and _written(graph.store, dref) >= limits.before
        ):
            stay.add(dref)
    waiting = list(stay)
    while waiting:
        dref = waiting.pop()
        for one in _dependencies(graph, dref):
            if one not in stay:
                stay.add(one)
                waiting.append(one)
    return [dref for dref in graph.derivations if dref not in stay]


def _dependencies(graph: _Graph, dref: DRef) -> Collection[DRef]:
    found = graph.dependencies.get(dref)
    if found is None:
        try:
            found = graph.store.config(dref).dependencies
        except (CorruptEntry, NotInStore):
            found = ()
    return found


def _written(store: Store, dref: DRef) -> float:
    try:
        return os.stat(store.layout.config(dref)).st_mtime
    except OSError:
        return 0.0


__all__ = ["Garbage", "GcPlan", "Limits", "collect", "plan_gc"]
