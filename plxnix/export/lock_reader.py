"""Reading a lock: JSON that may come from anywhere, to derivations that are checked.

Nothing in it is believed: types, names, references and hashes are checked, and the paths that a
lock gives have to be those that follow from its derivations.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from plxnix.errors import InvalidValue, NixFormatError
from plxnix.export.graph import OURS
from plxnix.export.lock import FORMAT
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
    text,
)
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import check_name, fixed_path, split
from plxnix.nix.text import check, identifier

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


@dataclass(frozen=True)
class Locked:
    """One derivation of a lock.

    `dref` is None for a derivation that is only a part of a stage. `drv_path` is empty, and `paths`
    lacks outputs, where a package set has a say in them.
    """

    variable: str
    node: Node
    kind: str
    dref: DRef | None
    rref: RRef | None
    drv_path: str
    paths: dict[str, str]
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lock:
    """What a lock says: derivations by variable, dependencies first, and the targets' variables.

    `command` is what made it, and `toolchain` and `system` are what for. `sources` are the named
    fetches, which people maintain by `plxnix lock`.
    """

    command: str
    toolchain: str
    system: str
    derivations: dict[str, Locked]
    targets: dict[DRef, tuple[str, ...]]
    sources: dict[str, LockedSource] = field(default_factory=dict)


def read_lock(path: str | os.PathLike[str]) -> Lock:
    """Read a lock file and check all of it.

    Raises `InvalidValue` (also `InvalidHash`, `InvalidName`, `InvalidReference` and
    `NixFormatError`, which derive from it) and `ExportError`, which say what is wrong and where.
    Cost: linear in the file, with no bound on the depth of the graph.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InvalidValue(f"cannot read the lock {path}: {error}", "name another file") from error
    return parse_lock(data)


def parse_lock(data: bytes) -> Lock:
    """Return what the text of a lock says; for errors see `read_lock`."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_number)
    except RecursionError as error:
        raise InvalidValue("the lock is nested too deeply", "write it anew") from error
    except InvalidValue:
        raise
    except ValueError as error:
        raise InvalidValue(
            f"the lock is no JSON in UTF-8: {error}", "write it anew by `plxnix export -f lock`"
        ) from error
    return _Reader(_mapping(value, "the lock")).read()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidValue(f"the lock has {twice!r:.100} twice in one object", "take one out")
    return found


def _number(constant: str) -> NoReturn:
    raise InvalidValue(f"the lock holds the number {constant}", "it has text only")


class _Reader:
    """Builds the nodes of one lock, dependencies first."""

    def __init__(self, value: dict[str, Any]) -> None:
        version = value.get("version")
        if version != FORMAT or type(version) is not int:
            raise InvalidValue(
                f"the lock has the version {version!r:.100}, and this plxnix reads {FORMAT}",
                "use the plxnix that wrote it, or write it anew",
            )
        if value.keys() == {"sources", "version"}:  # `plxnix lock add` has made it.
            value = {**_EMPTY, **value}
        self._value = value
        _keys(
            value,
            {"derivations", "generated", "targets", "toolchain", "version"},
            {"order", "packages", "sources"},
            "the lock",
        )
        self._entries = _mapping(value["derivations"], "derivations")
        self._packages = {
            name: self._package(name, one)
            for name, one in _mapping(value.get("packages", {}), "packages").items()
        }
        self._done: dict[str, Locked] = {}
        self._instantiation = Instantiation()
        self._known: set[Node] = set()

    def read(self) -> Lock:
        toolchain = _mapping(self._value["toolchain"], "toolchain")
        _keys(toolchain, {"name", "system"}, set(), "toolchain")
        generated = _mapping(self._value["generated"], "generated")
        for variable in self._order():
            self._done[variable] = self._derivation(variable)
        order = _strings(self._value.get("order", [*self._done]), "order")
        if len(order) != len(self._done) or set(order) != self._done.keys():
            raise _wrong(order, "order", "each derivation once")
        return Lock(
            command=_string(generated.get("with", ""), "generated.with"),
            toolchain=_string(toolchain["name"], "toolchain.name"),
            system=_string(toolchain["system"], "toolchain.system"),
            derivations=self._done,
            targets=dict(self._targets()),
            sources={
                name: LockedSource.parse(name, one)
                for name, one in _mapping(self._value.get("sources", {}), "sources").items()
            },
        )

    def _targets(self) -> Iterator[tuple[DRef, tuple[str, ...]]]:
        for name, one in _mapping(self._value["targets"], "targets").items():
            where = f"targets.{name:.300}"
            dref = DRef.parse(name)
            _keys(_mapping(one, where), {"name", "variables"}, set(), where)
            if one["name"] != dref.name:
                raise _wrong(one["name"], f"{where}.name", f"the name {dref.name}")
            variables = _strings(one["variables"], f"{where}.variables")
            for variable in variables:
                if variable not in self._done:
                    raise _missing(variable, where)
            yield dref, tuple(variables)

    # -- order ---------------------------------------------------------------------------------

    def _order(self) -> Iterator[str]:
        """Return the variables, dependencies first; iterative."""
        done: set[str] = set()
        for root, entry in self._entries.items():
            if root in done:
                continue
            path = {root: self._above(root, entry)}
            while path:
                variable, rest = next(reversed(path.items()))
                above = next(rest, None)
                if above is None:
                    del path[variable]
                    done.add(variable)
                    yield variable
                elif above in path:
                    circle = [*path][[*path].index(above) :]
                    raise NixFormatError(
                        f"derivations of the lock depend on each other in a circle: "
                        f"{' -> '.join([*circle, above])[:1000]}",
                        "take one of these references out",
                    )
                elif above not in done:
                    if above not in self._entries:
                        raise _missing(above, f"derivations.{variable:.300}")
                    path[above] = self._above(above, self._entries[above])

    def _above(self, variable: str, entry: Any) -> Iterator[str]:
        where = f"derivations.{variable:.300}"
        if variable != identifier(variable) or variable in OURS:
            raise _wrong(variable, "derivations", "the name of a variable of Nix")
        entry = _mapping(entry, where)
        _keys(entry, _REQUIRED, _OPTIONAL, where)
        texts = [
            entry["builder"],
            *_list(entry.get("args", []), f"{where}.args"),
            *_mapping(entry.get("env", {}), f"{where}.env").values(),
        ]
        for one in texts:
            for part in one if isinstance(one, list) else ():
                if isinstance(part, dict) and "ref" in part:
                    yield _string(part["ref"], where)

    # -- one derivation ------------------------------------------------------------------------

    def _derivation(self, variable: str) -> Locked:
        entry, where = self._entries[variable], f"derivations.{variable:.300}"
        node = self._node(entry, where)
        attributes(node)
        kind = entry["kind"]
        if kind not in KINDS or (kind == "derivation") != (node.fixed is None):
            expected = "derivation" if node.fixed is None else "fixed-output or pin"
            raise _wrong(kind, f"{where}.kind", expected)
        urls = tuple(_strings(entry.get("urls", []), f"{where}.urls"))
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
            value = _mapping(entry["fixed"], f"{where}.fixed")
            _keys(value, {"hash", "mode"}, set(), f"{where}.fixed")
            digest = Hash.parse(value["hash"])
            if value["hash"] != digest.sri:
                raise _wrong(value["hash"], f"{where}.fixed.hash", f"the SRI form, {digest}")
            if value["mode"] not in ("flat", "recursive"):
                raise _wrong(value["mode"], f"{where}.fixed.mode", "flat or recursive")
            fixed = FixedOutput(digest, value["mode"] == "recursive")
        if "tools" in entry:
            tools = tuple(map(self._of_set, _strings(entry["tools"], f"{where}.tools")))
            if not entry.get("args"):
                raise InvalidValue(f"the lock has no script in {where}.args", "write it anew")
        return Node(
            name=_string(entry["name"], f"{where}.name"),
            system=_string(entry["system"], f"{where}.system"),
            builder=self._text(entry["builder"], f"{where}.builder"),
            args=tuple(
                self._text(one, f"{where}.args")
                for one in _list(entry.get("args", []), f"{where}.args")
            ),
            env={
                check(key): self._text(one, f"{where}.env.{key:.100}")
                for key, one in _mapping(entry.get("env", {}), f"{where}.env").items()
            },
            outputs=tuple(_strings(entry.get("outputs", ["out"]), f"{where}.outputs")),
            fixed=fixed,
            comment=f"pin of {entry.get('rref', '')}" if entry["kind"] == "pin" else "",
            tools=tools,
        )

    def _paths(self, node: Node, by_package_set: bool) -> tuple[str, dict[str, str]]:
        above = [
            part.node
            for one in (node.builder, *node.args, *node.env.values())
            for part in one
            if not isinstance(part, str)
        ]
        if by_package_set or node.tools is not None or not all(map(self._is_known, above)):
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
        return text(*(self._part(one, where) for one in _list(value, where)))

    def _part(self, part: Any, where: str) -> str | Reference:
        if isinstance(part, str):
            return check(part)
        part = _mapping(part, where)
        if "file" in part:
            _keys(part, {"contents", "file"}, set(), where)
            name = check_name(_string(part["file"], where), allow_drv=True)
            contents = part["contents"]
            lines = [contents] if isinstance(contents, str) else _strings(contents, where)
            return Reference(Source(name, check("".join(lines))))
        if "package" in part:
            _keys(part, {"output", "package"}, set(), where)
            return Reference(
                self._of_set(_string(part["package"], where)), _string(part["output"], where)
            )
        _keys(part, {"output", "ref"}, set(), where)
        node, output = self._done[part["ref"]].node, _string(part["output"], where)
        if output not in node.outputs:
            raise _wrong(output, where, f"an output of {part['ref']}: {', '.join(node.outputs)}")
        return Reference(node, output)

    def _of_set(self, attribute: str) -> Package:
        return self._packages.get(attribute) or Package(attribute)

    def _package(self, attribute: str, value: Any) -> Package:
        where = f"packages.{attribute:.300}"
        _keys(_mapping(value, where), {"drvPath", "modulo", "outputs"}, set(), where)
        pairs = []
        for one in _list(value["outputs"], f"{where}.outputs"):
            pair = _strings(one, f"{where}.outputs")
            if len(pair) != 2:
                raise _wrong(one, f"{where}.outputs", "a name and a path")
            split(pair[1])
            pairs.append((pair[0], pair[1]))
        split(value["drvPath"])
        modulo = Hash.parse(value["modulo"], "sha256")
        return Package(attribute, value["drvPath"], tuple(pairs), modulo.hex)


# -- checks ------------------------------------------------------------------------------------


def _wrong(value: object, where: str, expected: str) -> InvalidValue:
    return InvalidValue(f"the lock has {value!r:.300} as {where}", f"expected is {expected}")


def _missing(variable: str, where: str) -> InvalidValue:
    return InvalidValue(
        f"{where} of the lock refers to {variable!r:.300}, which is not in it", "write it anew"
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, where, "a list")
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, where, "text")
    return check(value)


def _strings(value: Any, where: str) -> list[str]:
    return [_string(one, where) for one in _list(value, where)]


def _keys(value: dict[str, Any], required: set[str], optional: set[str], where: str) -> None:
    for key in sorted(required - value.keys()):
        raise InvalidValue(f"the lock lacks {where}.{key}", "write it anew")
    for key in sorted(value.keys() - required - optional):
        raise _wrong(key, where, f"no more than {', '.join(sorted(required | optional))}")
