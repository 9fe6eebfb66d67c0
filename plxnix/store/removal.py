"""Removal: delete realizations and derivations that were named, and nothing that is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plxnix.errors import StoreError
from plxnix.model import DRef, RRef
from plxnix.ordering import dependents_first
from plxnix.store import tree
from plxnix.store.locks import Waiting
from plxnix.store.reach import StoreGraph
from plxnix.store.roots import roots
from plxnix.store.store import Store
from plxnix.store.temproots import check_unused


@dataclass(frozen=True)
class Removal:
    """What goes: realizations, those made from others first, and whole derivations.

    `size` is the sum of the sizes of the realizations, in bytes of NAR archives.
    """

    rrefs: list[RRef]
    drefs: list[DRef]
    size: int


def plan_removal(store: Store, named: Iterable[DRef | RRef], recursive: bool = False) -> Removal:
    """Find what goes with what is named: realizations of derivations, and with `recursive` all
    that depends on any.

    Raises `StoreError` where something else depends on it, or a root or a running process keeps it.
    Reads all records.
    """
    graph = StoreGraph(store)
    needed_by: dict[DRef | RRef, list[DRef | RRef]] = {}
    for dref, made in graph.derivations.items():
        for needed in graph.needs(dref):
            needed_by.setdefault(needed, []).append(dref)
        for rref in made:
            for below in graph.below[rref]:
                needed_by.setdefault(below, []).append(rref)
    chosen: dict[DRef | RRef, None] = {}
    waiting = list(named)
    while waiting:
        one = waiting.pop()
        if one in chosen:
            continue
        chosen[one] = None
        waiting.extend(needed_by.get(one, ()) if recursive else ())
        waiting.extend(store.realizations(one) if isinstance(one, DRef) else ())
    for one in chosen:
        left = [other for other in needed_by.get(one, ()) if other not in chosen]
        if left:
            raise StoreError(
                f"{one} is needed by {', '.join(left[:5])}"
                + (f" and {len(left) - 5} more" if len(left) > 5 else ""),
                "with --recursive they are deleted too",
            )
    for root in roots(store):
        if root.rref in chosen:
            raise StoreError(
                f"{root.rref} is kept by the root {root.path}", "remove that link first"
            )
    check_unused(store.layout, {one if isinstance(one, DRef) else one.dref for one in chosen})
    order, circular = dependents_first(
        (one for one in chosen if isinstance(one, RRef)), lambda rref: graph.below.get(rref, ())
    )
    rrefs, drefs = order + circular, sorted(one for one in chosen if isinstance(one, DRef))
    return Removal(rrefs, drefs, sum(graph.sizes.get(rref, 0) for rref in rrefs))


def remove(
    store: Store,
    named: Iterable[DRef | RRef],
    recursive: bool = False,
    *,
    agreed: Removal | None = None,
    waiting: Waiting | None = None,
) -> Removal:
    """Delete what is named, and return what was deleted.

    Raises what `plan_removal` raises, and `StoreError` if that is not what was `agreed` to.
    """
    with store.deleting(waiting):
        removal = plan_removal(store, named, recursive)
        if agreed is not None and removal != agreed:
            raise StoreError("the store has changed meanwhile", "look again, and say it again")
        moved = [*map(store.take_away, removal.rrefs), *map(store.take_away, removal.drefs)]
    tree.discard(*moved)
    return removal
