"""Reaching: which realizations of a store were made from which, and what keeps which.

The graph of a whole store is read at once; damaged entries are in it, with what they may need.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import NamedTuple

from plxnix.errors import CorruptEntry, NotInStore, StoreError
from plxnix.model import DRef, RRef
from plxnix.ordering import dependents_first
from plxnix.store.configs import unreadable
from plxnix.store.roots import Root
from plxnix.store.store import Store


class Garbage(NamedTuple):
    """A realization to delete: its size in bytes, and its last use in seconds since the epoch."""

    rref: RRef
    size: int
    used: float


class Chain(NamedTuple):
    """Why something stays: a root, and realizations, each made from the next, that being last."""

    root: Root
    rrefs: list[RRef]


class StoreGraph:
    """All derivations and realizations of a store, and which was made from which."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.derivations: dict[DRef, list[RRef]] = {}
        #: Records and logs whose realizations are not there.
        self.halves: dict[str, RRef] = {}
        #: What each realization was made from.
        self.below: dict[RRef, list[RRef]] = {}
        self.sizes: dict[RRef, int] = {}
        self.used: dict[RRef, float] = {}
        #: The direct dependencies of derivations that have realizations.
        self.dependencies: dict[DRef, Collection[DRef]] = {}
        #: Realizations of which neither the record nor the config can be read.
        self.unknown: dict[RRef, StoreError] = {}
        for dref in store.derivations():
            self._list(dref)
        for dref, rrefs in self.derivations.items():
            for rref in rrefs:
                self._read(dref, rref)

    def _list(self, dref: DRef) -> None:
        layout = self.store.layout
        try:
            entries = os.listdir(layout.derivation(dref))
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        except OSError as error:
            raise unreadable(layout.derivation(dref), error) from error
        whole = self.derivations[dref] = layout.rrefs(dref, entries)
        if len(entries) <= 1 + len(whole):
            return
        ends = {one.removesuffix(".json").removesuffix(".log.gz") for one in entries}
        for rref in layout.rrefs(dref, ends.difference(one.rhash for one in whole)):
            for path in (layout.record(rref), layout.log(rref)):
                if os.path.basename(path) in entries:
                    self.halves[path] = rref

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

    def needs(self, dref: DRef) -> Collection[DRef]:
        """Return the direct dependencies of a derivation, none if its config is damaged."""
        found = self.dependencies.get(dref)
        if found is None:
            try:
                found = self.store.config(dref).dependencies
            except (CorruptEntry, NotInStore):
                found = ()
        return found

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
        used = {rref: self.used[rref] for rref in self.below if rref not in kept}
        order, circular = dependents_first(used, self.below.__getitem__)
        for rref in order:
            for one in self.below[rref]:
                if one in used:
                    used[one] = max(used[one], used[rref])
        # The sort is stable, so among equals dependents stay first; those that were made from each
        # other, as only forged records say, are last.
        return [
            Garbage(rref, self.sizes[rref], used[rref])
            for rref in sorted(order + circular, key=used.__getitem__)
        ]

    def chains(self, roots: Iterable[Root], wanted: Collection[RRef]) -> list[Chain]:
        """Return the shortest chain from each root that reaches one of `wanted`, in their order.

        Cost: linear in the edges, once for all roots.
        """
        above: dict[RRef, list[RRef]] = {}
        for rref, below in self.below.items():
            for one in below:
                above.setdefault(one, []).append(rref)
        #: For each that needs one of `wanted`, the next on the way there.
        onward: dict[RRef, RRef | None] = dict.fromkeys(wanted)
        waiting = list(onward)
        for rref in waiting:  # grows while it is walked
            for one in above.get(rref, ()):
                if one not in onward:
                    onward[one] = rref
                    waiting.append(one)
        found = []
        for root in roots:
            step: RRef | None = root.rref
            rrefs = []
            while step is not None and step in onward:
                rrefs.append(step)
                step = onward[step]
            if rrefs:
                found.append(Chain(root, rrefs))
        return found
