"""Reading a lock: JSON that may come from anywhere, to derivations that are checked.

Nothing in it is believed: types, names, references and hashes are checked, and the paths that a
lock gives have to be those that follow from its derivations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from plxnix.errors import InvalidValue, NixFormatError
from plxnix.export.graph import OURS
from plxnix.export.lock_checks import check_keys, items, mapping, missing, string, strings, wrong
from plxnix.export.locked import Lock, Locked
from plxnix.locking import document
from plxnix.locking.source import LockedSource
from plxnix.model import DRef, RRef
from plxnix.nix.graph import (
    FixedOutput,
    Instantiation,
    Node,
    Package,
    Reference,
    Source,
    Text,
    attributes,
    references,
    text,
)
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import check_name, fixed_path, split
from plxnix.nix.text import check, identifier
from plxnix.ordering import dependencies_first

KINDS: Final = ("derivation", "fixed-output", "pin")


#: The sections that a lock of sources alone lacks.
_EMPTY: Final[dict[str, Any]] = {
    "derivations": {},
    "generated": {},
    "targets": {},
    "toolchain": {"name": "", "system": ""},
}

_REQUIRED: Final = {"builder", "kind", "name", "system"}
_OPTIONAL: Final = {"args", "dref", "env", "fixed", "outputs", "rref", "tools", "urls"}


def read_lock(path: str | os.PathLike[str]) -> Lock:
    """Read a lock file and check all of it.

    Raises `InvalidValue` (also `InvalidHash`, `InvalidName`, `InvalidReference` and
    `NixFormatError`, which derive from it) and `ExportError`, which say what is wrong and where.
    Cost: linear in the file, with no bound on the depth of the graph.
    """
    try:
        return parse_lock(Path(path).read_bytes())
    except OSError as error:
        raise InvalidValue(f"cannot read the lock {path}: {error}", "name another file") from error


def parse_lock(data: bytes) -> Lock:
    """Return what the text of a lock says; for errors see `read_lock`."""
    return _Reader(document.parse_lock(data, "the lock", "write it anew")).read()


class _Reader:
    """Builds the nodes of one lock, dependencies first."""

    def __init__(self, value: dict[str, Any]) -> None:
        if value.keys() == {"sources", "version"}:  # `plxnix lock add` has made it.
            value = {**_EMPTY, **value}
        self._value = value
        check_keys(
            value,
            {"derivations", "generated", "targets", "toolchain", "version"},
            {"order", "packages", "sources"},
            "the lock",
        )
        self._entries = mapping(value["derivations"], "derivations")
        self._packages = {
            name: self._package(name, one)
            for name, one in mapping(value.get("packages", {}), "packages").items()
        }
        self._done: dict[str, Locked] = {}
        self._instantiation = Instantiation()
        self._known: set[Node] = set()

    def read(self) -> Lock:
        toolchain = mapping(self._value["toolchain"], "toolchain")
        check_keys(toolchain, {"name", "system"}, set(), "toolchain")
        generated = mapping(self._value["generated"], "generated")
        for variable in dependencies_first(self._entries, self._above, _circle):
            self._done[variable] = self._derivation(variable)
        order = strings(self._value.get("order", [*self._done]), "order")
        if len(order) != len(self._done) or set(order) != self._done.keys():
            raise wrong(order, "order", "each derivation once")
        return Lock(
            command=string(generated.get("with", ""), "generated.with"),
            toolchain=string(toolchain["name"], "toolchain.name"),
            system=string(toolchain["system"], "toolchain.system"),
            derivations=self._done,
            targets=dict(self._targets()),
            sources={
                name: LockedSource.parse(name, one)
                for name, one in mapping(self._value.get("sources", {}), "sources").items()
            },
        )

    def _targets(self) -> Iterator[tuple[DRef, tuple[str, ...]]]:
        for name, one in mapping(self._value["targets"], "targets").items():
            where = f"targets.{name:.300}"
            dref = DRef.parse(name)
            check_keys(mapping(one, where), {"name", "variables"}, set(), where)
            if one["name"] != dref.name:
                raise wrong(one["name"], f"{where}.name", f"the name {dref.name}")
            variables = strings(one["variables"], f"{where}.variables")
            for variable in variables:
                if variable not in self._done:
                    raise missing(variable, where)
            yield dref, tuple(variables)

    def _above(self, variable: str) -> Iterator[str]:
        """Check the names in a derivation, and yield the variables that it refers to."""
        entry, where = self._entries[variable], f"derivations.{variable:.300}"
        if variable != identifier(variable) or variable in OURS:
            raise wrong(variable, "derivations", "the name of a variable of Nix")
        entry = mapping(entry, where)
        check_keys(entry, _REQUIRED, _OPTIONAL, where)
        texts = [
            entry["builder"],
            *items(entry.get("args", []), f"{where}.args"),
            *mapping(entry.get("env", {}), f"{where}.env").values(),
        ]
        for one in texts:
            for part in one if isinstance(one, list) else ():
                if isinstance(part, dict) and "ref" in part:
                    above = string(part["ref"], where)
                    if above not in self._entries:
                        raise missing(above, where)
                    yield above

    # -- one derivation ------------------------------------------------------------------------

    def _derivation(self, variable: str) -> Locked:
        entry, where = self._entries[variable], f"derivations.{variable:.300}"
        node = self._node(entry, where)
        attributes(node)
        kind = entry["kind"]
        if kind not in KINDS or (kind == "derivation") != (node.fixed is None):
            expected = "derivation" if node.fixed is None else "fixed-output or pin"
            raise wrong(kind, f"{where}.kind", expected)
        urls = tuple(strings(entry.get("urls", []), f"{where}.urls"))
        drv_path, paths = self._paths(node, bool(urls))
        return Locked(
            variable,
            node,
            kind,
            DRef.parse(entry["dref"]) if "dref" in entry else None,
            RRef.parse(entry["rref"]) if "rref" in entry else None,
            drv_path,
            paths,
            urls,
        )

    def _node(self, entry: dict[str, Any], where: str) -> Node:
        fixed, tools = None, None
        if "fixed" in entry:
            value = mapping(entry["fixed"], f"{where}.fixed")
            check_keys(value, {"hash", "mode"}, set(), f"{where}.fixed")
            digest = Hash.parse(value["hash"])
            if value["hash"] != digest.sri:
                raise wrong(value["hash"], f"{where}.fixed.hash", f"the SRI form, {digest}")
            if value["mode"] not in ("flat", "recursive"):
                raise wrong(value["mode"], f"{where}.fixed.mode", "flat or recursive")
            fixed = FixedOutput(digest, value["mode"] == "recursive")
        if "tools" in entry:
            tools = tuple(map(self._of_set, strings(entry["tools"], f"{where}.tools")))
            if not entry.get("args"):
                raise InvalidValue(f"the lock has no script in {where}.args", "write it anew")
        return Node(
            name=string(entry["name"], f"{where}.name"),
            system=string(entry["system"], f"{where}.system"),
            builder=self._text(entry["builder"], f"{where}.builder"),
            args=tuple(
                self._text(one, f"{where}.args")
                for one in items(entry.get("args", []), f"{where}.args")
            ),
            env={
                check(key): self._text(one, f"{where}.env.{key:.100}")
                for key, one in mapping(entry.get("env", {}), f"{where}.env").items()
            },
            outputs=tuple(strings(entry.get("outputs", ["out"]), f"{where}.outputs")),
            fixed=fixed,
            comment=f"pin of {entry.get('rref', '')}" if entry["kind"] == "pin" else "",
            tools=tools,
        )

    def _paths(self, node: Node, by_package_set: bool) -> tuple[str, dict[str, str]]:
        known = all(self._is_known(reference.node) for reference in references(node))
        if by_package_set or node.tools is not None or not known:
            if node.fixed is None:
                return "", {}
            return "", {"out": fixed_path(node.name, node.fixed.hash, node.fixed.recursive)}
        self._known.add(node)
        made = self._instantiation.derivation(node)
        return made.path, {name: output.path for name, output in made.outputs.items()}

    def _is_known(self, node: Node | Source | Package) -> bool:
        if isinstance(node, Package):
            return bool(node.drv_path)
        return isinstance(node, Source) or node in self._known

    # -- texts ---------------------------------------------------------------------------------

    def _text(self, value: Any, where: str) -> Text:
        if isinstance(value, str):
            return text(check(value))
        return text(*(self._part(one, where) for one in items(value, where)))

    def _part(self, part: Any, where: str) -> str | Reference:
        if isinstance(part, str):
            return check(part)
        part = mapping(part, where)
        if "file" in part:
            check_keys(part, {"contents", "file"}, set(), where)
            name = check_name(string(part["file"], where), allow_drv=True)
            contents = part["contents"]
            lines = [contents] if isinstance(contents, str) else strings(contents, where)
            return Reference(Source(name, check("".join(lines))))
        if "package" in part:
            check_keys(part, {"output", "package"}, set(), where)
            return Reference(
                self._of_set(string(part["package"], where)), string(part["output"], where)
            )
        check_keys(part, {"output", "ref"}, set(), where)
        node, output = self._done[part["ref"]].node, string(part["output"], where)
        if output not in node.outputs:
            raise wrong(output, where, f"an output of {part['ref']}: {', '.join(node.outputs)}")
        return Reference(node, output)

    def _of_set(self, attribute: str) -> Package:
        return self._packages.get(attribute) or Package(attribute)

    def _package(self, attribute: str, value: Any) -> Package:
        where = f"packages.{attribute:.300}"
        check_keys(mapping(value, where), {"drvPath", "modulo", "outputs"}, set(), where)
        pairs = []
        for one in items(value["outputs"], f"{where}.outputs"):
            pair = strings(one, f"{where}.outputs")
            if len(pair) != 2:
                raise wrong(one, f"{where}.outputs", "a name and a path")
            split(pair[1])
            pairs.append((pair[0], pair[1]))
        split(value["drvPath"])
        modulo = Hash.parse(value["modulo"], "sha256")
        return Package(attribute, value["drvPath"], tuple(pairs), modulo.hex)


def _circle(path: list[str]) -> NixFormatError:
    return NixFormatError(
        f"derivations of the lock depend on each other in a circle: {' -> '.join(path)[:1000]}",
        "take one of these references out",
    )
