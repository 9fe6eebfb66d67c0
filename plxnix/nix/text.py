"""Nix expressions as text.

What is printed reads the same in every version of Nix, and the same value is always the same text,
laid out as RFC 166 has it: two blanks a level, what fits on a line in one line. Only `"..."`
strings are used; Nix manual, "String literal", and NixOS RFC 166.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar, overload

from plxnix.errors import ExportError
from plxnix.nix.graph import Node, Package, Reference, Source, Text, attributes, text

#: Columns that a line has, if what is on it can be broken at all.
WIDTH: Final = 80

#: How many columns each level is indented by.
INDENT: Final = 2

KEYWORDS: Final = frozenset(
    ("assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with")
)

#: Names that are bound everywhere; a `let` that binds one would hide it.
GLOBALS: Final = frozenset(
    "abort baseNameOf break builtins derivation derivationStrict dirOf false fetchGit "  # noqa: SIM905  # a list would have a line for each
    "fetchMercurial fetchTarball fetchTree fromTOML import isNull map null placeholder "
    "removeAttrs scopedImport throw toString true".split()
)

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_'-]+")
_SPECIAL: Final = re.compile(r'[\\"\n\r\t]|\$(?=\{)')
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "$": "\\$"}
_REFUSED: Final = re.compile("[\0\ud800-\udfff]")

_LARGEST: Final = (1 << 63) - 1

_Key = TypeVar("_Key")


# -- strings and names -------------------------------------------------------------------------


def string(content: str) -> str:
    """Return a string literal with exactly this value.

    Raises `ExportError` for NUL, which Nix cuts strings at, and for bytes that are not UTF-8.
    """
    return f'"{_escape(content)}"'


def template(parts: Text, names: Callable[[Reference], str]) -> str:
    """Return a string literal in which each reference is `${name}`; for errors see `string`.

    `names` gives the expression of a reference, such as `hole` makes it. A text that is nothing
    but one reference is printed as a string too, since it stands for a path's text.
    """
    if len(parts) == 1 and isinstance(parts[0], str):
        return string(parts[0])
    printed: list[str] = []
    # A `$` and a `{` that meet only here must be seen together.
    for part in text(*parts):
        if isinstance(part, str):
            printed.append(_escape(part))
            continue
        if printed and printed[-1].endswith("$"):
            # `$${` would be text, not a hole.
            printed[-1] = printed[-1][:-1] + "\\$"
        printed.append(f"${{{names(part)}}}")
    return '"' + "".join(printed) + '"'


def attribute(name: str) -> str:
    """Return the name of an attribute: bare where Nix allows it, else in quotes."""
    return name if _IDENTIFIER.fullmatch(name) and name not in KEYWORDS else string(name)


def hole(reference: Reference, name: str) -> str:
    """Return the expression for what a reference stands for, where its node is bound to `name`.

    The first output of a derivation is the derivation itself.
    """
    node = reference.node
    if isinstance(node, Package):
        first = node.outputs[0][0] if node.outputs else "out"
        return name if reference.output == first else f"{name}.{attribute(reference.output)}"
    if isinstance(node, Source) or reference.output == node.outputs[0]:
        return name
    return f"{name}.{attribute(reference.output)}"


def identifier(name: str) -> str:
    """Return a variable for what is called `name`: legal, no keyword, and near to the name.

    It hides nothing that Nix binds itself. Different names may give one variable: see `unique`.
    """
    found = _FOREIGN.sub("-", name).strip("-") or "_"
    # Two underscores begin names that Nix's own operators call, such as `__sub`.
    if found.startswith("__"):
        found = "_" + found.lstrip("_")
    if not _IDENTIFIER.fullmatch(found):
        found = "_" + found
    return found + "_" if found in KEYWORDS or found in GLOBALS else found


@overload
def unique(names: Iterable[str], reserved: Collection[str] = ()) -> dict[str, str]: ...
@overload
def unique(names: Mapping[_Key, str], reserved: Collection[str] = ()) -> dict[_Key, str]: ...
def unique(
    names: Mapping[Any, str] | Iterable[str], reserved: Collection[str] = ()
) -> dict[Any, str]:
    """Return a variable for each name, no two alike and none in `reserved`.

    `names` maps anything, such as nodes, to names; or it is just names. Where names clash, the
    first keeps its `identifier` and the others get `-2`, `-3`, ... in order; so the same names in
    the same order give the same variables.
    """
    pairs = names if isinstance(names, Mapping) else {name: name for name in names}
    wanted = {key: identifier(name) for key, name in pairs.items()}
    # A number is not given where it makes what somebody else is called.
    taken = {*reserved, *wanted.values()}
    first = set(wanted.values()) - set(reserved)
    numbers: dict[str, int] = {}
    found = {}
    for key, name in wanted.items():
        if name in first:
            first.remove(name)
            found[key] = name
            continue
        number = numbers.get(name, 1) + 1
        while f"{name}-{number}" in taken:
            number += 1
        numbers[name] = number
        found[key] = f"{name}-{number}"
        taken.add(found[key])
    return found


def check(content: str) -> str:
    """Return `content` if a string of Nix can be that; raise `ExportError` as `string` does."""
    refused = _REFUSED.search(content)
    if refused is not None:
        what = "a NUL character" if refused.group() == "\0" else "bytes that are not UTF-8"
        raise ExportError(
            f"a string with {what} cannot be written in Nix: {content!r:.200}",
            "encode it, for instance as base 64",
        )
    return content


def _escape(content: str) -> str:
    return _SPECIAL.sub(lambda match: _ESCAPES[match.group()], check(content))


# -- values ------------------------------------------------------------------------------------


def value(item: Any, indent: int = 0) -> str:
    """Return the expression for a JSON value, which may stand anywhere, also as an argument.

    Attributes are sorted. `indent` is the column in which the line begins that the expression is
    put on; broken lines are indented relative to it. Raises `ExportError` for floats, whose text
    differs between versions of Nix, for whole numbers beyond 64 bits, and for what is not JSON.
    """
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int):
        return _integer(item)
    if isinstance(item, str):
        return string(item)
    if isinstance(item, (list, tuple)):
        return items([value(one, indent + INDENT) for one in item], indent)
    if isinstance(item, Mapping):
        for key in item:
            if not isinstance(key, str):
                raise ExportError(f"an attribute is called {key!r}", "names are strings")
        return bindings({key: value(item[key], indent + INDENT) for key in sorted(item)}, indent)
    if isinstance(item, float):
        raise ExportError(
            f"the number {item!r} cannot go to Nix, whose versions print it differently",
            "pass it as a string",
        )
    raise ExportError(
        f"{item!r:.200} of type {type(item).__name__} cannot be written in Nix",
        "use null, booleans, whole numbers, strings, lists and objects",
    )


def items(printed: list[str], indent: int = 0) -> str:
    """Return a list of printed expressions, each of which can stand in a list."""
    if not printed:
        return "[ ]"
    return _layout("[", printed, "]", indent)


def bindings(printed: Mapping[str, str], indent: int = 0) -> str:
    """Return a set that binds names to printed expressions, in the order given."""
    if not printed:
        return "{ }"
    return _layout(
        "{", [f"{attribute(name)} = {one};" for name, one in printed.items()], "}", indent
    )


def _layout(opening: str, printed: list[str], closing: str, indent: int) -> str:
    line = " ".join([opening, *printed, closing])
    if "\n" not in line and indent + len(line) <= WIDTH:
        return line
    inner = "\n" + " " * (indent + INDENT)
    return f"{opening}{inner}{inner.join(printed)}\n{' ' * indent}{closing}"


def _integer(number: int) -> str:
    if not -_LARGEST - 1 <= number <= _LARGEST:
        raise ExportError(
            f"the number {number} does not fit into the 64 bits that Nix has",
            "pass it as a string",
        )
    if number == -_LARGEST - 1:
        # The digits alone, before the sign is applied, would be too large.
        return f"(-{_LARGEST} - 1)"
    return str(number) if number >= 0 else f"({number})"


# -- derivations -------------------------------------------------------------------------------


def expression(node: Node | Source, names: Callable[[Reference], str], indent: int = 0) -> str:
    """Return the call that makes a node: `derivation { ... }`, or `builtins.toFile ...`.

    Evaluating it, with what `names` refers to in scope, gives the derivation that `Instantiation`
    computes. Every attribute has its own line. Raises what `attributes` and `string` raise.
    """
    if isinstance(node, Source):
        return f"builtins.toFile {string(node.name)} {string(node.contents)}"
    lines = {key: template(one, names) for key, one in attributes(node).items()}
    ordered = {key: lines.pop(key) for key in ("name", "system", "builder")}
    if node.args:
        ordered["args"] = items([template(one, names) for one in node.args], indent + INDENT)
    if node.outputs != ("out",):
        ordered["outputs"] = items([string(one) for one in node.outputs], indent + INDENT)
    ordered.update(lines)
    inner = " " * (indent + INDENT)
    body = "".join(f"{inner}{attribute(key)} = {one};\n" for key, one in ordered.items())
    return f"derivation {{\n{body}{' ' * indent}}}"
