"""Verification: find all that is not as it was put into the store.

Artifacts are hashed again and compared with their records, records with the names of their
realizations, configs with the names of their folders, contexts with configs and with what is
there. What has no place in a store is reported too, hidden files included. Nothing is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from plxnix.config import Config
from plxnix.errors import StoreError
from plxnix.model import DRef, RRef
from plxnix.ordering import dependents_first
from plxnix.store import sharing, temproots
from plxnix.store.inspection import Damage, inspect, inspect_config, is_folder
from plxnix.store.layout import FORMAT, dref_of
from plxnix.store.store import Store
from plxnix.store.tree import open_file

#: Called before each realization with how many are done, how many there are, and its reference.
Progress = Callable[[int, int, str], None]


def verify(
    store: Store,
    rrefs: Iterable[RRef] | None = None,
    progress: Progress | None = None,
    jobs: int = 1,
) -> Iterator[Damage]:
    """Yield all damage in the store, or in the realizations named and their configs.

    Reads the disk, not what this process remembers; one bad entry never stops the rest. Others may
    build and delete meanwhile: nobody waits, but what looks damaged is kept from garbage collection
    and read once more, unless it is gone. Up to `jobs` threads read and hash.

    Cost: all artifacts are read once, in pieces, and damaged ones twice; memory grows with the
    number of realizations.
    """
    if rrefs is None:
        yield from _surroundings(store)
        if not os.path.isdir(store.layout.store):
            return
        chosen = _by_derivation(_all(store))
        drefs = list(store.derivations())
    else:
        chosen = _by_derivation([RRef.parse(rref) for rref in rrefs])
        drefs = sorted(chosen)
    configs: dict[DRef, Config | None] = {}
    for dref in drefs:
        configs[dref], damage = _derivation(store, dref, rrefs is None)
        if damage:
            with _kept(store, dref) as used:
                configs[dref], damage = _derivation(store, dref, rrefs is None)
            if used:  # Who publishes writes the record first.
                damage = [one for one in damage if one.kind != "leftover"]
        yield from damage
    contexts: dict[RRef, list[RRef]] = {}
    ordered = [rref for dref in drefs for rref in chosen.get(dref, ())]

    def look(rref: RRef) -> list[Damage]:
        found = list(inspect(store, rref, configs[rref.dref], contexts))
        if found:
            with _kept(store, rref.dref):
                gone = rrefs is None and not os.path.lexists(store.layout.realization(rref))
                found = [] if gone else list(inspect(store, rref, configs[rref.dref], contexts))
        return found

    with ExitStack() as stack:
        found: Iterator[list[Damage]]
        if jobs > 1:
            from concurrent.futures import ThreadPoolExecutor

            pool = ThreadPoolExecutor(jobs)
            stack.callback(pool.shutdown, cancel_futures=True)
            found = pool.map(look, ordered)
        else:
            found = map(look, ordered)
        for number, rref in enumerate(ordered):
            if progress is not None:
                progress(number, len(ordered), rref)
            yield from next(found)
    for rref in _circular(contexts):
        message = f"{rref} was made from itself, by way of others"
        yield Damage("context", store.layout.record(rref), message, rref.dref, rref)
    if progress is not None:
        progress(len(ordered), len(ordered), "")


@contextmanager
def _kept(store: Store, dref: DRef) -> Iterator[bool]:
    """Keep a derivation while it is read again, if the store is whole enough for that.

    Yields whether another block or process works with it.
    """
    used = False
    with ExitStack() as stack:
        with suppress(StoreError):
            used = dref in temproots.kept(store.layout)
            stack.enter_context(store.keeping([dref]))
        yield used


def _circular(contexts: Mapping[RRef, list[RRef]]) -> list[RRef]:
    """Return those that were made from themselves, which only forged records say; linear."""
    for direction in (contexts, _turned(contexts)):
        # What is left of the first pass lies on a circle or below one, of the second on one or
        # between two.
        _, left = dependents_first(contexts, direction.__getitem__)
        contexts = {rref: contexts[rref] for rref in left}
    return sorted(contexts)


def _turned(contexts: Mapping[RRef, list[RRef]]) -> dict[RRef, list[RRef]]:
    above: dict[RRef, list[RRef]] = {rref: [] for rref in contexts}
    for rref, below in contexts.items():
        for one in below:
            above.setdefault(one, []).append(rref)
    return above


def _all(store: Store) -> Iterator[RRef]:
    for dref in store.derivations():
        if not is_folder(store.layout.derivation(dref)):
            continue  # `_derivation` says so.
        try:
            yield from store.realizations(dref)
        except OSError:
            continue  # `_strays` says so.


def _by_derivation(rrefs: Iterable[RRef]) -> dict[DRef, list[RRef]]:
    groups: dict[DRef, list[RRef]] = {}
    for rref in dict.fromkeys(rrefs):
        groups.setdefault(rref.dref, []).append(rref)
    return groups


# -- the store as a whole --------------------------------------------------------------------------


def _surroundings(store: Store) -> Iterator[Damage]:
    """Look at the version, the folders of the store, and what lies between the derivations."""
    layout = store.layout
    try:
        with open_file(layout.version) as file:
            text = file.read(64)
        if text.removesuffix(b"\n") != str(FORMAT).encode():
            yield Damage(
                "version", layout.version, f"{layout.version} holds {text!r}, not {FORMAT}"
            )
    except OSError as error:
        yield Damage("version", layout.version, f"{layout.version}: {error.strerror}")
    if who := sharing.intruders(layout.root):
        message = f"{who} may write into {layout.root}: chmod it, or share it as docs/store.md says"
        yield Damage("access", layout.root, message)
    for folder in layout.folders():
        if not os.path.isdir(folder):
            yield Damage("missing", folder, f"the folder {folder} of the store is missing")
    known = {layout.version, *layout.folders(), *layout.later_folders()}
    for entry in sorted(os.listdir(layout.root)):
        if f"{layout.root}/{entry}" not in known:
            yield _stray(f"{layout.root}/{entry}")
    for entry in sorted(os.listdir(layout.store)) if os.path.isdir(layout.store) else ():
        if dref_of(entry) is None:
            yield _stray(f"{layout.store}/{entry}")


def _derivation(store: Store, dref: DRef, whole: bool) -> tuple[Config | None, list[Damage]]:
    """Return the config and what is wrong with it; of the `whole` store, with its folder too."""
    folder = store.layout.derivation(dref)
    if not is_folder(folder):
        message = f"{folder} is no folder, as derivations are"
        strange = whole and os.path.lexists(folder)
        return None, [Damage("stray", folder, message, dref)] if strange else []
    config, damage = inspect_config(store, dref)
    return config, [*damage, *(_strays(store, dref) if whole else ())]


def _strays(store: Store, dref: DRef) -> Iterator[Damage]:
    """Look at the names in a derivation's folder."""
    layout = store.layout
    folder = layout.derivation(dref)
    try:
        entries = os.listdir(folder)
    except OSError as error:
        yield Damage("config", folder, f"{folder} cannot be listed: {error.strerror}", dref)
        return
    whole = set(layout.rrefs(dref, entries))
    halves = (entry.removesuffix(".json").removesuffix(".log.gz") for entry in entries)
    beside: dict[str, RRef] = {}
    for rref in layout.rrefs(dref, set(halves)):
        beside[layout.record(rref)] = rref
        beside[layout.log(rref)] = rref
    known = {layout.config(dref), *map(layout.realization, whole)}
    for entry in sorted(entries):
        path = f"{folder}/{entry}"
        if path in known:
            continue
        owner = beside.get(path)
        if owner is None:
            yield _stray(path, dref)
        elif owner not in whole:
            yield Damage("leftover", path, f"{path} belongs to no realization", dref, owner)


def _stray(path: str, dref: DRef | None = None) -> Damage:
    return Damage("stray", path, f"{path!r} was not put into the store by plxnix", dref)


__all__ = ["Damage", "Progress", "verify"]
