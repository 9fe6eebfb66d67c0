"""Derivations printed one by one: the value that a variable of an exported file is bound to.

Lines are printed without indentation of their own, and no string spans lines, so they can be
indented to wherever they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from plxnix.export.graph import DerivationGraph, Item
from plxnix.nix.evaluation import absolute, relative
from plxnix.nix.graph import (
    Existing,
    Node,
    Package,
    Reference,
    Source,
    Text,
    attributes,
    references,
)
from plxnix.nix.text import attribute, hole, string, template

#: How a reference is written inside a string.
Names = Callable[[Reference], str]

#: Variables of the derivation that `<nix/fetchurl.nix>` makes.
_FETCH = frozenset({"executable", "impureEnvVars", "preferLocalBuild", "unpack", "url", "urls"})

#: Functions of the file's own that printed derivations call.
HELPERS = {
    "lines": 'lines = builtins.concatStringsSep "\\n";',
    "fetchurl": "fetchurl = import <nix/fetchurl.nix>;",
}


def kind_of(node: Node) -> str:
    """Tell how a derivation is printed.

    As a `fetch`, a `pin`, a `command` or a `derivation`, or, if Nix has made it of an expression,
    as `existing`.
    """
    if node.existing is not None:
        return "existing"
    if node.builder == ("builtin:fetchurl",) and node.env.keys() == _FETCH:
        return "fetch"
    if node.fixed is not None and node.comment.startswith("pin of "):
        return "pin"
    return "derivation" if node.tools is None else "command"


def names_of(graph: DerivationGraph) -> Names:
    """Return how references are written inside strings: as variables, packages or `toFile`."""

    def name(reference: Reference) -> str:
        node = reference.node
        if isinstance(node, Source):
            return f"builtins.toFile {string(node.name)} {string(node.contents)}"
        if isinstance(node, Package):
            return hole(reference, package(node))
        return hole(reference, graph.item(node).variable)

    return name


def package(one: Package) -> str:
    """Return the expression for a package of the set that the file is called with."""
    return ".".join(["pkgs", *map(attribute, one.attribute.split("."))])


def printed(graph: DerivationGraph, item: Item, folder: str = "") -> list[str]:
    """Return the lines of a derivation's expression, for a file in `folder` (default: graph's)."""
    node, names = item.node, names_of(graph)
    kind = kind_of(node)
    if node.existing is not None:
        return _existing(node.name, node.existing, folder or graph.folder)
    if node.fixed is not None and kind == "fetch":
        return list(_fetch(node, graph.urls(item), names))
    if node.fixed is not None and kind == "pin":
        return [
            "pin {",
            f"  name = {string(node.name)};",
            f"  hash = {string(node.fixed.hash.sri)};",
            f"  message = {template(node.env['message'], names)};",
            "}",
        ]
    return list(_command(node, names) if kind == "command" else _derivation(node, names))


def needs(graph: DerivationGraph, item: Item) -> list[str]:
    """Return the variables that a derivation's expression uses: helpers, then dependencies."""
    node, kind = item.node, kind_of(item.node)
    found: dict[str, None] = {}
    direct = references(node)
    fetches = kind == "fetch"
    if kind == "command" or (fetches and graph.urls(item)) or _has_package(direct):
        found["pkgs"] = None
    if fetches and not graph.urls(item):
        found["fetchurl"] = None
    if kind == "pin":
        return ["pin"]
    if node.existing is not None:
        return ["lines"] if _is_laid_out(absolute(node.existing.expression)) else []
    if any(len(split_lines(value)) > 1 for value in (node.builder, *node.args, *node.env.values())):
        found["lines"] = None
    for reference in direct:
        if isinstance(reference.node, Node):
            found[graph.item(reference.node).variable] = None
    return list(found)


def _has_package(direct: list[Reference]) -> bool:
    return any(isinstance(reference.node, Package) for reference in direct)


def _existing(name: str, existing: Existing, folder: str) -> list[str]:
    """Return the lines of somebody else's expression, which may have strings over several lines."""
    said = relative(existing.expression, folder)
    if not _is_laid_out(said):
        return said.split("\n")
    # Indented, it could be another.
    inner = (f"  {string(line)}" for line in said.split("\n"))
    return [f"import (builtins.toFile {string(f'{name}.nix')} (lines [", *inner, "]))"]


def _is_laid_out(expression: str) -> bool:
    return "\n" in expression and ('"' in expression or "''" in expression)


def _fetch(node: Node, urls: list[str], names: Names) -> Iterator[str]:
    yield "pkgs.fetchurl {" if urls else "fetchurl {"
    yield f"  name = {string(node.name)};"
    if urls:
        yield "  urls = ["
        yield from (f"    {string(url)}" for url in urls)
        yield "  ];"
    else:
        yield f"  url = {template(node.env['url'], names)};"
    if node.fixed is not None:
        yield f"  hash = {string(node.fixed.hash.sri)};"
    yield "}"


def _command(node: Node, names: Names) -> Iterator[str]:
    yield f"pkgs.runCommand {string(node.name)} {{"
    if node.tools:
        yield "  nativeBuildInputs = ["
        yield from (f"    {package(tool)}" for tool in node.tools)
        yield "  ];"
    yield from _outputs(node)
    known = attributes(node)
    fixed = {key: known[key] for key in known if key.startswith("outputHash")}
    yield from _variables({**fixed, **node.env}, names)
    yield "} ("
    yield from (f"  {line}" for line in _value(node.args[-1], names))
    yield ")"


def _derivation(node: Node, names: Names) -> Iterator[str]:
    found = attributes(node)
    first = ("name", "system", "builder")
    yield "derivation {"
    yield from _variables({key: found[key] for key in first}, names)
    if node.args:
        yield "  args = ["
        for one in node.args:
            lines = _value(one, names)
            if len(lines) > 1:  # In a list a call needs parentheses.
                lines = [f"({lines[0]}", *lines[1:-1], f"{lines[-1]})"]
            yield from (f"    {line}" for line in lines)
        yield "  ];"
    yield from _outputs(node)
    yield from _variables({key: found[key] for key in found if key not in first}, names)
    yield "}"


def _outputs(node: Node) -> Iterator[str]:
    if node.outputs != ("out",):
        yield "  outputs = ["
        yield from (f"    {string(output)}" for output in node.outputs)
        yield "  ];"


def _variables(variables: Mapping[str, Text], names: Names) -> Iterator[str]:
    for key, value in variables.items():
        first, *rest = _value(value, names)
        written = [f"  {attribute(key)} = {first}", *(f"  {line}" for line in rest)]
        written[-1] += ";"
        yield from written


def _value(value: Text, names: Names) -> list[str]:
    """Write a text: in one line, or as a list of its lines if it has several."""
    pieces = split_lines(value)
    if len(pieces) < 2:
        return [template(value, names)]
    return ["lines [", *(f"  {template(piece, names)}" for piece in pieces), "]"]


def split_lines(value: Text) -> list[Text]:
    """Split a text at its line feeds."""
    if not any(isinstance(part, str) and "\n" in part for part in value):
        return [value]
    lines: list[list[str | Reference]] = [[]]
    for part in value:
        if isinstance(part, str):
            first, *rest = part.split("\n")
            lines[-1].append(first)
            lines.extend([one] for one in rest)
        else:
            lines[-1].append(part)
    return [tuple(part for part in line if part != "") for line in lines]
