"""Handing over: results of the native store go into the Nix store, where an export expects them.

Nix itself computes the path of what is added, and that path has to be the one that the export
predicts. What holds store paths is refused: a fixed output must not refer to others.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from plxnix.errors import ExportError
from plxnix.export.graph import ExportGraph
from plxnix.model import RRef
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import hash_of
from plxnix.nix.paths import fixed_path, sanitise_name
from plxnix.recipes.fetch import Fetch
from plxnix.recipes.pypi import PythonPackage
from plxnix.recipes.recipe import FIELD
from plxnix.store import Store

#: A path of the Nix store, as far as its hash goes, and how many bytes that are.
_STORE_PATH = re.compile(rb"/nix/store/[0-9a-df-np-sv-z]{32}-")
_LENGTH = len("/nix/store/") + 32 + 1


@dataclass(frozen=True)
class Handed:
    """One result that is in the Nix store now; `fresh` if it was not there before.

    `other`: what was there has other bytes than the realization, so that it is not the same each
    time.
    """

    rref: RRef
    path: str
    fresh: bool
    other: bool = False


def add(store: Store, rref: RRef) -> Handed:
    """Put a realization into the Nix store where an export looks for it.

    For a fetched file that is the path of the fetch, for the result of a command whose hash is
    given that which follows from it, and for all else that of the pin (and a fetched tree has the
    same path as both). Raises what `add_pin` raises.
    """
    found = _fixed(store, rref)
    if found is None:
        return add_pin(store, rref)
    place, fixed, recursive, predicted = found
    return _add(rref, predicted, place, recursive, fixed)


def place_of(store: Store, rref: RRef) -> str:
    """Return the path where `add` puts a realization; raise `NotInStore`."""
    found = _fixed(store, rref)
    return _pin_path(store, rref) if found is None else found[3]


def _fixed(store: Store, rref: RRef) -> tuple[str, Hash, bool, str] | None:
    """Return the place, hash, whether that is of the NAR, and path in Nix of a fixed output.

    It is None for what has the path of its pin.
    """
    config = store.config(rref.dref)
    if config.get("deterministic") is False:
        return None
    if "outputHash" in config:
        fixed, recursive = Hash.parse(config["outputHash"]), config["outputHashMode"] == "recursive"
        name, file = str(rref.name), rref.name if store.record(rref).flat else ""
    elif config.get(FIELD) in (Fetch.kind, PythonPackage.kind) and not config["mode"]:
        fixed, recursive = Hash.parse(config["hash"]), False
        name, file = sanitise_name(config["filename"]), config["filename"]
    else:
        return None
    place = os.path.join(store.path(rref), file) if file else store.path(rref)
    return place, fixed, recursive, fixed_path(name, fixed, recursive)


def _pin_path(store: Store, rref: RRef) -> str:
    return fixed_path(rref.name, Hash.parse(store.record(rref).nar_hash), recursive=True)


def add_pin(store: Store, rref: RRef) -> Handed:
    """Put a realization into the Nix store at the path that its pin has.

    Raises `NotInStore`, `ExportError` if it was changed or refers to store paths, `ToolMissing`,
    `ToolFailed`.
    """
    expected = Hash.parse(store.record(rref).nar_hash)
    return _add(rref, _pin_path(store, rref), store.path(rref), True, expected)


def add_graph(graph: ExportGraph) -> list[Handed]:
    """Put all pins of an export, and all of its fetches that are realized, into the Nix store."""
    store = graph.closure.store
    handed = []
    for item in graph.items:
        lowered, fixed = item.lowered, item.node.fixed
        if lowered is None or fixed is None:
            continue
        if lowered.rref is not None:
            handed.append(add_pin(store, lowered.rref))
            continue
        for rref in store.realizations(lowered.dref)[:1]:
            predicted = fixed_path(item.node.name, fixed.hash, fixed.recursive)
            name = rref.name if store.record(rref).flat else lowered.flat
            place = os.path.join(store.path(rref), name) if name else store.path(rref)
            handed.append(_add(rref, predicted, place, fixed.recursive, fixed.hash))
    return handed


def _add(rref: RRef, predicted: str, place: str, recursive: bool, expected: Hash) -> Handed:
    if predicted in tools.valid([predicted]):
        return Handed(rref, predicted, fresh=False)
    found = hash_of(place, expected.algorithm, recursive)
    if found != expected:
        raise changed(place, found.sri, expected.sri)
    if recursive:
        _refuse_references(place)
    name = predicted.partition("-")[2]
    path = tools.add_fixed(place, expected.algorithm, recursive, name)
    if path != predicted:
        raise ExportError(
            f"Nix put {rref} at {path}, not at {predicted}", "please report this as a defect"
        )
    return Handed(rref, path, fresh=True)


def changed(place: str, found: str, expected: str) -> ExportError:
    """Return the error for a realization that is not what its record says."""
    return ExportError(
        f"{place} was changed after it was realized: its hash is {found}, not {expected}",
        "`plxnix verify` finds all damage; remove the realization and realize it again",
    )


def _refuse_references(place: str) -> None:
    """Refuse a tree that mentions the Nix store: Nix would not see what it depends on."""
    for folder, folders, files in os.walk(place):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            if _mentions_store(path):
                raise ExportError(
                    f"{path} holds a path of the Nix store, which a pin must not depend on",
                    "let the stage write no absolute store paths into its results",
                )


def _mentions_store(path: str) -> bool:
    if os.path.islink(path):
        return _STORE_PATH.search(os.fsencode(os.readlink(path))) is not None
    if os.path.isdir(path):
        return False
    with open(path, "rb") as file:
        kept = b""
        while piece := file.read(1 << 20):
            piece = kept + piece
            if _STORE_PATH.search(piece):
                return True
            kept = piece[1 - _LENGTH :]
    return False
