"""Garbage collection: remove what no root reaches.

Kept is what roots reach through contexts, and what running processes work on. The rest is garbage,
which may be spared for its age or because the store is small enough. A realization counts as used
when the last of those that were made from it was started, so garbage in the order of last use never
loses what later garbage needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from plxnix.errors import StoreError
from plxnix.model import DRef, RRef
from plxnix.store import fixed, locks, nixroots, temproots, tree
from plxnix.store.litter import Litter, find_litter, sweep_litter
from plxnix.store.locks import Waiting
from plxnix.store.reach import Garbage, StoreGraph
from plxnix.store.roots import remove_stale, roots
from plxnix.store.store import Store


@dataclass(frozen=True)
class GcPlan:
    """What garbage collection would do.

    `kept` maps each realization that stays to why: `root LINK`, `needed by RREF`, the process that
    works with it, or the limit that spares it. `deleted` is sorted by last use, oldest first,
    dependents before what they were made from. `drefs` are the derivations that go too: no kept
    realization is theirs, and no kept derivation depends on them. `freed` is the sum of the sizes,
    in bytes of NAR archives; that of `litter`, what failures and dead processes left, is not in it.
    `refused`: no root and no wish keeps anything, and the limits do not say that this is meant.
    """

    kept: dict[RRef, str]
    deleted: list[Garbage]
    drefs: list[DRef]
    freed: int
    limits: Limits
    litter: Sequence[Litter] = ()
    refused: bool = False


class Choice(NamedTuple):
    """What to keep of each derivation: why, and what takes its realizations and selects some."""

    reason: str
    select: Callable[[Store, list[RRef]], Iterable[RRef] | None]


@dataclass(frozen=True)
class Limits:
    """What a plan was asked for; `before` is in seconds since the epoch, `max_size` in bytes."""

    keep: tuple[RRef, ...] = ()
    before: float | None = None
    max_size: int | None = None
    everything: bool = False
    drefs: tuple[DRef, ...] = ()
    choices: tuple[Choice, ...] = ()


def plan_gc(
    store: Store,
    keep: Iterable[RRef] = (),
    older_than: float | None = None,
    max_size: int | None = None,
    everything: bool = False,
    drefs: Iterable[DRef] = (),
    choices: Iterable[Choice] = (),
) -> GcPlan:
    """Decide what to delete; nothing is changed.

    `keep` names further realizations to keep, with all that they were made from, and `drefs`
    derivations, of which all realizations are kept; of every derivation `choices` keep some.
    `older_than` (in seconds) spares garbage that was used, and derivations that were written, since
    then. `max_size` (in bytes) deletes the oldest garbage only, until the total is not above it.
    What belongs to another user stays, unless this is root. If there are no roots and nothing else
    is kept, all is garbage: `collect` refuses that, unless `everything` says that it is meant.

    Raises `NotInStore` if something in `keep` is missing; `CorruptEntry` if a kept realization has
    lost record and config both, so that nobody knows what it needs. Cost: one listing for each
    derivation and one small read for each realization, then linear in the edges.
    """
    before = None if older_than is None else time.time() - older_than
    limits = Limits(
        tuple(map(RRef.parse, keep)),
        before,
        max_size,
        everything,
        tuple(map(DRef.parse, drefs)),
        tuple(choices),
    )
    return _plan(store, StoreGraph(store), limits, temproots.kept(store.layout))


def collect(store: Store, plan: GcPlan, waiting: Waiting | None = None) -> GcPlan:
    """Delete what `plan` says, and return what was done.

    Plans again while nobody can begin to build: what was rooted or used since `plan` was made
    stays, what is new stays, and so does what running processes work on, which are not waited for.
    Each realization disappears by one rename, dependents first, so an interruption leaves a whole
    store; bytes are freed after others may begin. What cannot be deleted stays, with what it needs,
    and the rest goes. Registrations of roots whose links are gone are removed, and so are roots in
    Nix and links by hash of realizations that are gone, and locks of killed processes.
    Raises what `plan_gc` raises; `StoreError` if the plan is `refused` or nothing can be written.
    """
    _check_meant(store, plan)
    store.session()  # Who may not write here need not wait.
    moved: list[str] = []
    with store.deleting(waiting):
        try:
            remove_stale(store)
            used = temproots.kept(store.layout)
            graph = StoreGraph(store)
            done = _plan(store, graph, plan.limits, used, plan)
            _check_meant(store, done)
            for rref in done.kept:
                store.path(rref)  # Closes what a publisher was killed before closing.
            done = _take_away(store, graph, done, used, moved)
            nixroots.remove_stale(store, used)
            fixed.remove_stale(store)
            for folder in (store.layout.locks, store.layout.temproots):
                locks.sweep(folder, but=store.layout.store_lock())
        except OSError as error:
            raise StoreError(
                f"cannot delete from {store.root}: {error}", "is the store another user's?"
            ) from error
    tree.discard(*moved)
    return done


def _check_meant(store: Store, plan: GcPlan) -> None:
    if plan.refused:
        raise StoreError(
            f"nothing is kept: the store {store.root} has no roots, so all in it is garbage",
            "make roots with `plxnix realize --out-link`, or say --all",
        )


def _take_away(
    store: Store, graph: StoreGraph, plan: GcPlan, used: Mapping[DRef, str], moved: list[str]
) -> GcPlan:
    """Move out of the store what a plan deletes; return what of it was done."""
    kept, deleted = dict(plan.kept), []
    for garbage in plan.deleted:
        if garbage.rref not in kept:
            try:
                moved.append(store.take_away(garbage.rref))
            except OSError as error:
                kept[garbage.rref] = f"it cannot be deleted: {error.strerror}"
            else:
                deleted.append(garbage)
                continue
        for one in graph.below[garbage.rref]:
            kept.setdefault(one, f"needed by {garbage.rref}")
    drefs, going = [], plan.drefs
    if len(kept) > len(plan.kept):
        going = _derivations(graph, kept, plan.limits, used, going)
    for dref in going:
        with suppress(OSError):
            moved.append(store.take_away(dref))
            drefs.append(dref)
    freed = sum(garbage.size for garbage in deleted)
    return replace(
        plan,
        kept=kept,
        deleted=deleted,
        drefs=drefs,
        freed=freed,
        litter=sweep_litter(plan.litter),
    )


def _plan(
    store: Store,
    graph: StoreGraph,
    limits: Limits,
    used: Mapping[DRef, str],
    earlier: GcPlan | None = None,
) -> GcPlan:
    """Plan within `limits`, and within an earlier plan if there is one; `used` stays."""
    kept: dict[RRef, str] = {}
    for root in roots(store):
        # What is made meanwhile may be missing in the graph: what is not there is not deleted.
        if root.rref in graph.below:
            kept.setdefault(root.rref, f"root {root.path}")
    for rref in limits.keep:
        if rref not in graph.below:
            store.path(rref)  # raises NotInStore
        kept.setdefault(rref, "asked to keep")
    for dref in limits.drefs:
        for rref in graph.derivations.get(dref, ()):
            kept.setdefault(rref, f"of {dref}, which was asked for")
    for choice in limits.choices:
        for rrefs in graph.derivations.values():
            for rref in (rrefs and choice.select(store, rrefs)) or ():
                kept.setdefault(rref, choice.reason)
    refused = not kept and not limits.everything and bool(graph.derivations)
    for dref, owner in used.items():
        for rref in graph.derivations.get(dref, ()):
            kept.setdefault(rref, f"{owner} works with it")
    if earlier is not None:
        agreed = {garbage.rref for garbage in earlier.deleted}
        for rref in sorted(graph.below.keys() - agreed - kept.keys()):
            kept[rref] = earlier.kept.get(rref, "newer than the plan")
    graph.reach(kept)
    if os.geteuid() != 0:
        kept.update(_foreign(graph, kept))
        graph.reach(kept)
    deleted = _limit(graph, kept, limits)
    drefs = _derivations(graph, kept, limits, used, None if earlier is None else earlier.drefs)
    # What a realization that stays was made from may still be repaired with the help of its record,
    # and who publishes writes the record first.
    needed = {one for rref in kept for one in graph.below[rref]}
    halves = [
        path for path, rref in graph.halves.items() if rref not in needed and rref.dref not in used
    ]
    litter = find_litter(
        store.layout, graph.derivations.keys() - drefs, limits.before, halves, used
    )
    freed = sum(garbage.size for garbage in deleted)
    return GcPlan(kept, deleted, drefs, freed, limits, litter, refused)


def _foreign(graph: StoreGraph, kept: Collection[RRef]) -> dict[RRef, str]:
    """Return what this user may not delete."""
    found = {}
    for rref in graph.below:
        if rref not in kept:
            with suppress(OSError):
                owner = os.lstat(graph.store.layout.realization(rref)).st_uid
                if owner != os.geteuid():
                    found[rref] = f"of the user {owner}"
    return found


def _limit(graph: StoreGraph, kept: dict[RRef, str], limits: Limits) -> list[Garbage]:
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
    graph: StoreGraph,
    kept: Iterable[RRef],
    limits: Limits,
    used: Iterable[DRef],
    agreed: Iterable[DRef] | None,
) -> list[DRef]:
    """Return the derivations that go, sorted."""
    stay = {rref.dref for rref in kept}.union(limits.drefs, used)
    if agreed is not None:
        stay |= graph.derivations.keys() - agreed
    if (before := limits.before) is not None:
        empty = (dref for dref, rrefs in graph.derivations.items() if not rrefs)
        stay.update(dref for dref in empty if _written(graph.store, dref) >= before)
    waiting = list(stay)
    while waiting:
        dref = waiting.pop()
        for one in graph.needs(dref):
            if one not in stay:
                stay.add(one)
                waiting.append(one)
    return [dref for dref in graph.derivations if dref not in stay]


def _written(store: Store, dref: DRef) -> float:
    try:
        return os.stat(store.layout.config(dref)).st_mtime
    except OSError:
        return 0.0


__all__ = ["Choice", "Garbage", "GcPlan", "Limits", "collect", "plan_gc"]
