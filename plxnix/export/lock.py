"""The `lock` form: derivations as data, for `nix/lib` and for programs.

`plxnix.lock.json` is made so that a small change is a small diff: keys are sorted, and a text of
several lines is a list of them. A text is a string, or a list of parts that are joined as they are:

    "a string"
    {"ref": VARIABLE, "output": NAME}       the path of another derivation's output
    {"file": NAME, "contents": TEXT}        the path of a text file (`builtins.toFile`)
    {"package": ATTRIBUTE, "output": NAME}  the path of a package of the set that is given to Nix

Paths that follow from a derivation are not in it, since one changed line would change those of all
that depend on it; `lock_reader.read_lock`, the inverse, computes them. If the lock is deep, `order`
has all variables, dependencies first.
"""

from __future__ import annotations

import json
import json.encoder
import re
from collections.abc import Mapping
from typing import Any, Final

from plxnix.errors import ExportError
from plxnix.export.forms import Request
from plxnix.export.graph import DerivationGraph, ExportGraph, Item
from plxnix.export.printing import kind_of
from plxnix.locking.document import FORMAT, LOCK
from plxnix.nix.graph import Package, Reference, Source, Text, attributes, references, text
from plxnix.nix.text import check
from plxnix.version import VERSION

__all__ = ["DEEP", "LOCK", "lock", "write_lock"]

#: How many derivations may depend on each other in a row before Nix needs to be told their order,
#: as it evaluates by recursion: between 5,000 and 10,000 are too many for its stack.
DEEP: Final = 1000

_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")

_FOREIGN: Final = re.compile("[\ud800-\udfff]")

_quote = json.encoder.encode_basestring


def write_lock(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write the `lock` form: `plxnix.lock.json`."""
    return {LOCK: lock(graph, request.command)}


def lock(graph: DerivationGraph, command: str) -> str:
    """Write the graph as a lock; equal graphs and commands give equal text.

    The text is that of `json.dumps` with `indent=2`, sorted keys and no escapes that JSON does not
    ask for. Raises `ExportError` for a string that Nix cannot have.
    """
    value: dict[str, Any] = {
        "version": FORMAT,
        "generated": {"by": f"plxnix {VERSION}", "with": command},
        "toolchain": {"name": graph.toolchain.name, "system": graph.toolchain.system},
        "derivations": {item.variable: _entry(graph, item) for item in graph.items},
        "targets": {
            dref: {"name": dref.name, "variables": [item.variable for item in items]}
            for dref, items in graph.targets.items()
        },
    }
    if _depth(graph) > DEEP:
        value["order"] = [item.variable for item in graph.items]
    packages = {one.attribute: _package(one) for one in _packages(graph) if one.drv_path}
    if packages:
        value["packages"] = packages
    said = _print(value) + "\n"
    # The whole is searched at once, and what was found is only then looked for in the parts.
    if "\\u0000" in said or _FOREIGN.search(said):
        _check(value)
    return said


def _depth(graph: DerivationGraph) -> int:
    depths: dict[object, int] = {}
    for item in graph.items:
        above = (depths.get(reference.node, 0) for reference in references(item.node))
        depths[item.node] = 1 + max(above, default=0)
    return max(depths.values(), default=0)


def _entry(graph: DerivationGraph, item: Item) -> dict[str, Any]:
    node, lowered = item.node, item.lowered
    if node.existing is not None:
        raise ExportError(
            f"{node.name} is an expression of Nix, which a lock cannot hold",
            "export it as nix, flake or shell, or register it: --format drv",
        )
    attributes(node)  # Raises for what is no derivation.
    entry: dict[str, Any] = {"name": node.name, "system": node.system, "kind": item.kind}
    if lowered is not None:
        entry["dref"] = str(lowered.dref)
        if lowered.rref is not None:
            entry["rref"] = str(lowered.rref)
    entry["builder"] = _text(graph, node.builder)
    if node.args:
        entry["args"] = [_text(graph, one) for one in node.args]
    if node.env:
        entry["env"] = {key: _text(graph, one) for key, one in node.env.items()}
    if node.outputs != ("out",):
        entry["outputs"] = list(node.outputs)
    if node.fixed is not None:
        mode = "recursive" if node.fixed.recursive else "flat"
        entry["fixed"] = {"hash": node.fixed.hash.sri, "mode": mode}
    if node.tools is not None:
        entry["tools"] = [tool.attribute for tool in node.tools]
    urls = graph.urls(item) if kind_of(node) == "fetch" else []
    if urls:
        entry["urls"] = urls
    return entry


def _packages(graph: DerivationGraph) -> list[Package]:
    found: dict[Package, None] = {}
    for item in graph.items:
        for reference in references(item.node):
            if isinstance(reference.node, Package):
                found[reference.node] = None
    return list(found)


def _package(package: Package) -> dict[str, Any]:
    return {
        "drvPath": package.drv_path,
        "modulo": package.modulo,
        "outputs": [list(pair) for pair in package.outputs],
    }


# -- texts -------------------------------------------------------------------------------------


def _text(graph: DerivationGraph, value: Text) -> str | list[Any]:
    if len(value) == 1 and isinstance(value[0], str):
        return _lines(value[0])
    parts: list[Any] = []
    for part in text(*value):
        if isinstance(part, str):
            parts.extend(_LINES.findall(part))
        else:
            parts.append(_hole(graph, part))
    return parts or ""


def _lines(content: str) -> str | list[str]:
    """Return a string, as the list of its lines if it has several."""
    if "\n" not in content:
        return content
    lines = _LINES.findall(content)
    return lines if len(lines) > 1 else content


def _hole(graph: DerivationGraph, reference: Reference) -> dict[str, Any]:
    node = reference.node
    if isinstance(node, Source):
        return {"file": node.name, "contents": _lines(node.contents)}
    if isinstance(node, Package):
        return {"package": node.attribute, "output": reference.output}
    return {"ref": graph.item(node).variable, "output": reference.output}


# -- JSON --------------------------------------------------------------------------------------


def _print(value: Any, indent: str = "\n") -> str:
    """Print as the `json` module does, which with an indentation is three times slower."""
    kind = type(value)
    if kind is str:
        return _quote(value)
    inner = indent + "  "
    if kind is list and value:
        return f"[{inner}{f',{inner}'.join([_print(one, inner) for one in value])}{indent}]"
    if kind is dict and value:
        printed = [f"{_quote(key)}: {_print(value[key], inner)}" for key in sorted(value)]
        return f"{{{inner}{f',{inner}'.join(printed)}{indent}}}"
    # Empty ones, numbers, and references, which are strings of a class of their own.
    return json.dumps(value, ensure_ascii=False)


def _check(value: Any) -> None:
    """Raise `ExportError` for a string that Nix cannot have."""
    if isinstance(value, str):
        check(value)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            check(key)
            _check(one)
    elif isinstance(value, list):
        for one in value:
            _check(one)
