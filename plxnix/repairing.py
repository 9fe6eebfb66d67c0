"""Repairing: what a store's own modules cannot do: ask Nix, download again, build again.

A recipe's config alone says what is done, and the record of a realization which results it was
made from. So what is damaged is made again from just these, and taken if it has the same hash.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from plxnix.config import Config
from plxnix.errors import BuildFailed, PlxnixError, ToolFailed, ToolMissing
from plxnix.model import DRef, RRef
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Closure, Derivation, Realizer, Registry, instantiate
from plxnix.realize.run import Observer
from plxnix.realize.work import prepare
from plxnix.recipes.recipe import FIELD
from plxnix.recipes.shared import setting, take_tree
from plxnix.store import Record, Store, tree
from plxnix.store.arrival import derivations
from plxnix.store.copying import copy_tree
from plxnix.store.inspection import Damage
from plxnix.store.locks import Waiting
from plxnix.store.repair import Repair, repair
from plxnix.store.sources import Source, store_source

#: The recipes of which a config says all, by their kinds: module and class.
_RECIPES = {
    "execute-1": ("command", "Execute"),
    "fetch-1": ("fetch", "Fetch"),
    "files-1": ("files", "Files"),
    "git-1": ("git", "Git"),
    "pure-1": ("pure", "Pure"),
    "pyenv-1": ("pyenv", "PythonEnvironment"),
    "pypi-1": ("pypi", "PythonPackage"),
    "tree-1": ("tree", "Tree"),
    "unpack-1": ("unpack", "Unpack"),
}

#: Those that may go to the net.
_FETCHES = frozenset({"fetch-1", "git-1", "pypi-1", "tree-1"})


def repair_store(
    store: Store,
    damages: Iterable[Damage],
    *,
    others: Sequence[Store] = (),
    refetch: bool = False,
    observer: Observer | None = None,
    waiting: Waiting | None = None,
) -> list[Repair]:
    """Put right what `verify` has found, and say what became of each damage.

    Asked are `others`, the Nix store, and the recipe, which builds again; with `refetch` fetches
    are downloaded again too. Nothing is taken that has another hash; see `store.repair`. Raises
    `StoreError` if the store cannot be written.
    """
    sources = [
        *map(store_source, others),
        Source("the Nix store", _from_nix),
        Source("its recipe", _by_recipe(refetch, observer)),
    ]
    return repair(store, damages, sources, waiting)


def _from_nix(store: Store, rref: RRef, record: Record | None, folder: str) -> bytes | None:
    """Copy a realization from where Nix has it: as a pin, or at the path of its stage."""
    del store
    if record is None or setting() == "off":
        return None
    if take_tree(rref.name, Hash.parse(record.nar_hash), Path(folder), lambda _: None):
        return b""
    outputs = record.nix.get("outputs")
    said = record.nix.get("fixed")
    file = said.get("file") if isinstance(said, dict) else rref.name if record.flat else ""
    found = (
        {name: path for name, path in outputs.items() if isinstance(path, str)}
        if isinstance(outputs, dict)
        else {str(file or ""): record.nix.get("path")}
    )
    paths = [path for path in found.values() if isinstance(path, str) and os.path.lexists(path)]
    if not paths or len(paths) < len(found):
        return None
    try:
        if set(tools.valid(paths)) != set(paths):
            return None
    except (ToolMissing, ToolFailed):
        return None
    if [*found] != [""]:
        os.mkdir(folder, 0o755)
    for name, path in found.items():
        if os.path.basename(name) != name:
            return None  # The record is not trusted.
        copy_tree(str(path), os.path.join(folder, name).rstrip("/"))
    return b""


def _by_recipe(
    refetch: bool, observer: Observer | None
) -> Callable[[Store, RRef, Record | None, str], bytes | None]:
    def get(store: Store, rref: RRef, record: Record | None, folder: str) -> bytes | None:
        if record is None:
            return None
        kind = str(store.config(rref.dref).get(FIELD, ""))
        if kind not in _RECIPES:
            raise BuildFailed("Python code made it: realize its stage again", "", rref.dref)
        if kind in _FETCHES and not refetch:
            raise BuildFailed("--refetch downloads it again", "", rref.dref)
        closure = _closure(store, rref)
        work = prepare(closure, observer=observer)
        work.selected.update(_selected(store, rref, closure))
        with work.trial(closure.derivations[rref.dref]) as artifacts:
            for artifact in artifacts:
                path = os.fspath(artifact.path)
                tree.freeze(path)
                if nar_hash(path)[0].sri == record.nar_hash:
                    os.rename(path, folder)
                    return b""
        raise BuildFailed("it gives other bytes now", "", rref.dref)

    return get


def _closure(store: Store, rref: RRef) -> Closure:
    """Return the closure of a derivation, as far as configs say how stages are made."""
    registry = Registry(store)
    for dref in derivations(store, [rref]):
        config = store.config(dref)
        registry.derivations[dref] = Derivation(dref, config, match_only(), _realizer(config))
    return instantiate(rref.dref, registry=registry)


def _realizer(config: Config) -> Realizer:
    found = _RECIPES.get(str(config.get(FIELD, "")))
    if found is None:
        return _unknown
    module, name = found
    recipe: Realizer = getattr(importlib.import_module(f"plxnix.recipes.{module}"), name)()
    return recipe


def _unknown(*arguments: object) -> list[str]:
    raise PlxnixError("this stage is only selected from, not realized", f"{arguments!r:.200}")


def _selected(store: Store, rref: RRef, closure: Closure) -> dict[DRef, list[RRef]]:
    """Return what a realization, and what it was made from, was made from; the nearest counts."""
    found: dict[DRef, list[RRef]] = {}
    waiting = [rref]
    for one in waiting:  # grows while it is walked
        for dref, rrefs in store.record(one).context.items():
            if dref not in found:
                found[dref] = list(rrefs)
                waiting.extend(rrefs)
    return {dref: found.get(dref, []) for dref in closure.derivations if dref != rref.dref}
