"""Importing: built results go into the Nix store under the paths that Nix would build them at.

Only what is claimed to have Nix's bytes goes in, with its deriver and with the references that Nix
would find in it. For Nix it is then as if it had built that itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plxnix.builders.outputs import find_references
from plxnix.errors import ExportError, NotRealized, ToolFailed
from plxnix.export.graph import ExportGraph, Item
from plxnix.export.handover import Handed, add, add_graph, changed, place_of
from plxnix.export.register import register
from plxnix.model import RRef
from plxnix.nix import tools
from plxnix.nix.graph import Node, Package, references
from plxnix.nix.nar import nar_hash
from plxnix.nix.stream import StoreTree, export_stream
from plxnix.ordering import dependencies_first
from plxnix.realize.plan import make_plan
from plxnix.store import Store

#: What a daemon of Nix says to whom it does not trust, in versions 2.8 to 2.34.
_DISTRUST = ("lacks a signature by a trusted key", "lacks a valid signature", "not a trusted user")


@dataclass(frozen=True)
class Wanted:
    """A realization to be imported: `outputs` are its store paths by name.

    `inputs` are the store paths that it may refer to directly; what these refer to comes with them.
    Of the `foreign` ones among them only Nix knows that, as it has made them.
    """

    rref: RRef
    outputs: Mapping[str, str]
    inputs: frozenset[str]
    foreign: frozenset[str]


def import_graph(graph: ExportGraph) -> list[Handed]:
    """Put all of an export into the Nix store: derivations, fetches, pins and built results.

    What is returned comes dependencies first. After it Nix has nothing to build. Raises
    `NotRealized`, `ToolMissing`, `ToolFailed`, and `ExportError` for what is not claimed to be
    identical, for what was changed, and where Nix does not trust this user; then no built result
    went in.
    """
    store = graph.closure.store
    plan = make_plan(graph.closure, frozenset())
    selected = {stage.dref: stage for stage in plan}
    wanted = []
    for item in graph.items:
        if item.lowered is None or item.node.fixed is not None or item.node.existing is not None:
            continue
        stage = selected[item.lowered.dref]
        if not stage.rrefs:
            raise NotRealized(
                f"{stage.dref} is not realized: {stage.reason}",
                "realize it first: `plxnix realize` with the same target and arguments",
                stage.dref,
            )
        wanted.append(_wanted(graph, item, stage.rrefs[0]))
    _check(store, wanted)
    with _trust():
        register(graph)
    handed = add_graph(graph)
    return handed + _import(store, wanted)


def import_realizations(store: Store, rrefs: Sequence[RRef]) -> list[Handed]:
    """Put realizations into the Nix store, with all that they refer to, dependencies first.

    That is what their records say; no stage is needed. Errors are those of `import_graph`.
    """
    wanted: list[Wanted] = []
    fixed: list[RRef] = []

    def below(rref: RRef) -> list[RRef]:
        nix = store.record(rref).nix
        if nix.get("linked") or not _is_built(store, rref):
            return []
        return [RRef.parse(one) for one in nix.get("references", {}).values()]

    for rref in dependencies_first(rrefs, below, _circle):
        nix = store.record(rref).nix
        if nix.get("linked"):
            continue  # Nix has built it itself.
        if not _is_built(store, rref):
            if rref in rrefs and nix.get("path") != place_of(store, rref):
                raise ExportError(
                    f"{rref} is a result that Nix could not build: it has no path there but that "
                    "of its pin",
                    f"`plxnix nix add {rref.short}` puts it where its pin is",
                )
            fixed.append(rref)
            continue
        found = nix.get("references", {})
        outputs = nix.get("outputs") or {"out": nix["path"]}
        foreign = {
            path
            for path, origin in found.items()
            if store.record(RRef.parse(origin)).nix.get("linked")
        }
        wanted.append(Wanted(rref, outputs, frozenset(found), frozenset(foreign)))
    _check(store, wanted)
    return [add(store, rref) for rref in fixed] + _import(store, wanted)


def _circle(path: list[RRef]) -> ExportError:
    return ExportError(f"{path[0]} refers to itself through {path[1]}", "is its record damaged?")


def _is_built(store: Store, rref: RRef) -> bool:
    """Tell whether a realization is an output of a derivation whose hash is not fixed."""
    path, config = store.record(rref).nix.get("path"), store.config(rref.dref)
    if path is None or config.get("deterministic") is False or config.get("nouts", 1) != 1:
        return False
    return bool(path != place_of(store, rref))


def _wanted(graph: ExportGraph, item: Item, rref: RRef) -> Wanted:
    path_of = graph.instantiation.path
    outputs = {name: path_of(item.node, name) for name in item.node.outputs}
    inputs = {path_of(one.node, one.output): one.node for one in references(item.node)}
    foreign = {
        path
        for path, node in inputs.items()
        if isinstance(node, Package) or (isinstance(node, Node) and node.existing is not None)
    }
    return Wanted(rref, outputs, frozenset(inputs), frozenset(foreign))


def _check(store: Store, wanted: Sequence[Wanted]) -> None:
    """Refuse what Nix would not have made so, before anything goes in."""
    for one in wanted:
        nix = store.record(one.rref).nix
        if nix.get("identical") is not True:
            raise _not_identical(store, one.rref)
        recorded = nix.get("outputs") or {"out": nix.get("path")}
        if dict(one.outputs) != dict(recorded):
            raise ExportError(
                f"{one.rref} was made for {', '.join(map(str, recorded.values()))}, which is not "
                f"where Nix builds it now: {', '.join(one.outputs.values())}",
                "realize it again (`plxnix realize --force`), with this machine's tools",
            )


def _not_identical(store: Store, rref: RRef) -> ExportError:
    """Say which of the ancestors was made in a way that Nix would not."""
    guilty = rref
    while True:
        below = [
            one
            for rrefs in store.record(guilty).context.values()
            for one in rrefs
            if _is_built(store, one) and store.record(one).nix.get("identical") is not True
        ]
        if not below:
            break
        guilty = below[0]
    record = store.record(guilty)
    boxed = record.nix.get("sandboxed") is True
    how = "by a bubblewrap that cannot name programs" if boxed else "without a sandbox"
    who = "it" if guilty == rref else f"{guilty}, which it was made from,"
    return ExportError(
        f"{rref} is not claimed to have the bytes of Nix: {who} was made {how}",
        f"make {guilty.name} again: `plxnix realize --force --sandbox on` with it as the target"
        if not boxed
        else "install bubblewrap 0.9 or newer, or perl",
    )


def _import(store: Store, wanted: Sequence[Wanted]) -> list[Handed]:
    """Import built results, dependencies first; those that Nix has are passed over."""
    paths = [path for one in wanted for path in one.outputs.values()]
    there = tools.valid(paths)
    known = tools.nar_hashes(path for path in paths if path in there)
    handed = [
        Handed(
            one.rref,
            path,
            fresh=path not in known,
            other=path in known and known[path] != nar_hash(place)[0],
        )
        for one in wanted
        for path, place in _places(store, one).items()
    ]
    for rref in dict.fromkeys(one.rref for one in handed if one.fresh or one.other):
        place, expected = store.path(rref), store.record(rref).nar_hash
        found = nar_hash(place)[0].sri
        if found != expected:
            raise changed(place, found, expected)
    if len(there) == len(set(paths)):
        return handed
    with _trust():
        tools.import_paths(export_stream(_trees(store, wanted, there)))
    missing = set(paths) - tools.valid(paths)
    if missing:
        raise ExportError(
            f"Nix took not {', '.join(sorted(missing))}", "please report this as a defect"
        )
    return handed


def _trees(store: Store, wanted: Sequence[Wanted], there: set[str]) -> Iterator[StoreTree]:
    """Yield the outputs that Nix lacks, with what they refer to, found as Nix finds it.

    That is among the inputs, what they refer to, and the outputs themselves.
    """
    closures: dict[str, frozenset[str]] = {}
    foreign: set[str] = set()

    def closure_of(path: str) -> frozenset[str]:
        if path not in closures:
            closures[path] = frozenset(tools.closure([path]) if path in foreign else [path])
            if path in foreign:
                foreign.update(closures[path])
        return closures[path]

    for one in wanted:
        foreign |= one.foreign
        record = store.record(one.rref)
        candidates = set(one.outputs.values()).union(*map(closure_of, one.inputs))
        places = _places(store, one)
        found = {path: find_references(place, candidates) for path, place in places.items()}
        for path in _fellows_first(found):
            closures[path] = frozenset({path}.union(*map(closure_of, found[path] - {path})))
            if path not in there:
                deriver = str(record.nix["derivation"])
                yield StoreTree(path, places[path], tuple(sorted(found[path])), deriver)


def _places(store: Store, one: Wanted) -> dict[str, Path]:
    """Return where the outputs are natively, by store path."""
    record, top = store.record(one.rref), Path(store.path(one.rref))
    if record.nix.get("outputs"):
        return {path: top / name for name, path in one.outputs.items()}
    (path,) = one.outputs.values()
    return {path: top / one.rref.name if record.flat else top}


def _fellows_first(found: Mapping[str, set[str]]) -> list[str]:
    """Order outputs of one derivation so that those come first that others refer to."""
    ordered: list[str] = []
    left = list(found)
    while left:
        free = [one for one in left if not found[one] & set(left) - {one}] or left
        ordered += free
        left = [one for one in left if one not in free]
    return ordered


@contextmanager
def _trust() -> Iterator[None]:
    """Say what to do where Nix takes nothing unsigned from this user."""
    try:
        yield
    except ToolFailed as error:
        if not any(one in error.stderr for one in _DISTRUST):
            raise
        folder = os.environ.get("NIX_CONF_DIR", "/etc/nix")
        raise ExportError(
            "the Nix daemon takes paths without a signature from trusted users only",
            "run this as root, or let an administrator name you in `trusted-users` in "
            f"{folder}/nix.conf and restart the daemon",
        ) from error
