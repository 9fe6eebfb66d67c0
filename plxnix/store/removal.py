"""Removal: delete realizations and derivations that were named, and nothing that is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plxnix.errors import CorruptEntry, NotInStore, StoreError
from plxnix.model import DRef, RRef
from plxnix.store import tree
from plxnix.store.locks import Waiting
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
    made_from, needed_by = _dependents(store)
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
    rrefs = _ordered([one for one in chosen if isinstance(one, RRef)], made_from)
    records = (store.readable_record(rref) for rref in rrefs)
    size = sum(record.nar_size for record in records if record is not None)
    return Removal(rrefs, sorted(one for one in chosen if isinstance(one, DRef)), size)


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
    for path in moved:
        tree.discard(path)
    return removal


def _dependents(
    store: Store,
) -> tuple[dict[RRef, list[RRef]], dict[DRef | RRef, list[DRef | RRef]]]:
    """Return what each realization was made from, and what needs each reference; reads all."""
    made_from: dict[RRef, list[RRef]] = {}
    needed_by: dict[DRef | RRef, list[DRef | RRef]] = {}
    for dref in store.derivations():
        try:
            for dependency in store.config(dref).dependencies:
                needed_by.setdefault(dependency, []).append(dref)
        except (CorruptEntry, NotInStore):
            pass
        for rref in store.realizations(dref):
            record = store.readable_record(rref)
            below = [] if record is None else [o for some in record.context.values() for o in some]
            made_from[rref] = below
            for one in below:
                needed_by.setdefault(one, []).append(rref)
    return made_from, needed_by


def _ordered(rrefs: list[RRef], made_from: dict[RRef, list[RRef]]) -> list[RRef]:
    """Sort realizations so that each comes before what it was made from."""
    counts = dict.fromkeys(rrefs, 0)
    for rref in rrefs:
        for one in made_from.get(rref, ()):
            if one in counts:
                counts[one] += 1
    order = [rref for rref in rrefs if counts[rref] == 0]
    for rref in order:  # grows while it is walked
        for one in made_from.get(rref, ()):
            if one in counts:
                counts[one] -= 1
                if counts[one] == 0:
                    order.append(one)
    return order
