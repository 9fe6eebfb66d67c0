"""Sources: where the artifacts of a damaged realization may be had.

Nothing of what a source says is trusted: whoever uses one hashes what it gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from plxnix.config import Config
from plxnix.model import DRef, RRef
from plxnix.store.copying import copy_tree
from plxnix.store.record import Record
from plxnix.store.store import Store
from plxnix.store.tree import read_file


@dataclass(frozen=True)
class Source:
    """Where artifacts may be had: a title for people, and how to get them.

    `get` is given the store, a realization, its record if that is whole, and a path at which it
    puts the artifacts. It returns the text of the record if it has one, an empty one to keep that
    of the store, or None if it has nothing; it may raise `PlxnixError` or `OSError` to say why not.
    `config` returns a config, if the source has it. Nothing of what it says is trusted.
    """

    title: str
    get: Callable[[Store, RRef, Record | None, str], bytes | None]
    config: Callable[[DRef], Config | None] = lambda _: None


def store_source(other: Store) -> Source:
    """Return another store as a source."""

    def get(store: Store, rref: RRef, record: Record | None, folder: str) -> bytes | None:
        del store, record
        place = other.layout.realization(rref)
        if not os.path.isdir(place):
            return None
        with other.keeping([rref.dref]):
            text = read_file(other.layout.record(rref))
            copy_tree(place, folder)
        return text

    def config(dref: DRef) -> Config | None:
        return other.config(dref) if os.path.isdir(other.layout.derivation(dref)) else None

    return Source(f"the store {other.root}", get, config)
