"""Derivations with holes: what recipes lower to, what builders build, what exporters print.

A text is a tuple of strings and references. Each reference is a hole that the store path of another
node's output fills. `attributes` says which attributes `derivation` is called with, so that the
computed paths and the printed expression cannot differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from plxnix.errors import NixFormatError
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import check_name

#: Attributes that mean something to `derivation` itself, so that no variable may be called so; nor
#: may one have the name of an output.
RESERVED: Final = frozenset(
    (
        *("__contentAddressed", "__ignoreNulls", "__impure", "__json", "__structuredAttrs"),
        *("__toString", "args", "builder", "name", "outputHash", "outputHashAlgo"),
        *("outputHashMode", "outputs", "system"),
    )
)

#: The rule for names of outputs; Nix 2.8 accepts no `drv`, other versions accept more, and what
#: `derivation` returns has attributes of its own.
_OUTPUT: Final = re.compile(r"(?!(?:drv|drvPath|outPath|type|all)$)[A-Za-z_][A-Za-z0-9_]*")

#: The rule for systems. Nix takes an empty one for missing, and writes it into the .drv file
#: without escapes, so that it cannot read back a file whose system needs one.
_SYSTEM: Final = re.compile(r"[0-9A-Za-z+._-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A text file in the Nix store, as `builtins.toFile` puts it there; equal by value."""

    name: str
    contents: str


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a package set such as nixpkgs; equal by value.

    `attribute` is its path there, such as `gcc` or `python3.pkgs.numpy`. A locked package also
    knows its derivation: `drv_path`, `outputs` (pairs of name and store path), and `modulo`, the
    derivation's hash modulo in hex.
    """

    attribute: str
    drv_path: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    modulo: str = ""

    @property
    def name(self) -> str:
        """The attribute."""
        return self.attribute


@dataclass(frozen=True, slots=True)
class Existing:
    """One output of a derivation that Nix has made itself, and the expression that it made it of.

    Of the parts of `expression`, each is text, or a file or folder whose path stands there.
    """

    package: Package
    output: str
    expression: tuple[str | Path, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A hole for the store path of one output of a node or package, or of a source.

    Equal if node and output are; a node is only equal to itself.
    """

    node: Node | Source | Package
    output: str = "out"

    def __repr__(self) -> str:
        return f"<{self.output} of {self.node.name}>"


#: A string with holes.
Text: TypeAlias = tuple["str | Reference", ...]


def text(*parts: str | Reference | Text) -> Text:
    """Join strings, references and texts to one text, in which no two strings are neighbours."""
    if len(parts) == 1 and isinstance(parts[0], str):
        return (parts[0],) if parts[0] else ()
    joined: list[str | Reference] = []
    strings: list[str] = []
    for part in parts:
        for piece in part if isinstance(part, tuple) else (part,):
            if isinstance(piece, str):
                strings.append(piece)
                continue
            if whole := "".join(strings):
                joined.append(whole)
            strings.clear()
            joined.append(piece)
    if whole := "".join(strings):
        joined.append(whole)
    return tuple(joined)


@dataclass(frozen=True, slots=True)
class FixedOutput:
    """What makes a derivation a fixed-output one: the hash of its file, or NAR if `recursive`."""

    hash: Hash
    recursive: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One derivation to be; equal to itself only.

    `env` holds the variables beside those that `attributes` adds. `comment` says what it is made
    from and is not part of the derivation. Nothing may be changed after it was used.

    `tools` are packages that a `runCommand` of nixpkgs puts on PATH; a node that has them (even
    none, but not None) is a command, whose derivation depends on that `runCommand`, so that its
    path cannot be computed here. Its script is the last of its `args`.

    A node that is `existing` stands for a derivation that Nix has made: only its name and system
    count beside, and its one output `out` is the output that was chosen.
    """

    name: str
    system: str
    builder: Text
    args: tuple[Text, ...] = ()
    env: dict[str, Text] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("out",)
    fixed: FixedOutput | None = None
    comment: str = ""
    tools: tuple[Package, ...] | None = None
    existing: Existing | None = None

    def __repr__(self) -> str:
        return f"<node {self.name}>"


def attributes(node: Node) -> dict[str, Text]:
    """Return the attributes of the `derivation` call, without `args` and `outputs`.

    They are `name`, `system` and `builder`; for a fixed output `outputHash` (as SRI),
    `outputHashAlgo` (empty, as in Nix's own `<nix/fetchurl.nix>` for SRI hashes) and
    `outputHashMode` (`flat` or `recursive`); and the variables, in this order. `args` is printed
    if there are any, and `outputs` if they are other than `out` alone.

    Raises `InvalidName` and `NixFormatError` for a node that is no derivation.
    """
    _check(node)
    found: dict[str, Text] = {
        "name": text(node.name),
        "system": text(node.system),
        "builder": node.builder,
    }
    if node.fixed is not None:
        found["outputHash"] = text(node.fixed.hash.sri)
        found["outputHashAlgo"] = text("")
        found["outputHashMode"] = text("recursive" if node.fixed.recursive else "flat")
    found.update(node.env)
    return found


def _check(node: Node) -> None:
    check_name(node.name)
    for output in node.outputs:
        if not _OUTPUT.fullmatch(output):
            raise NixFormatError(
                f"{node.name} cannot have an output called {output!r}",
                "use letters, digits and _, not starting with a digit, and not 'drv'",
            )
    if not node.outputs or len(set(node.outputs)) != len(node.outputs):
        raise NixFormatError(
            f"{node.name} has the outputs {node.outputs!r}", "give one or more, none twice"
        )
    if node.fixed is not None and node.outputs != ("out",):
        raise NixFormatError(
            f"{node.name} has a fixed output and the outputs {node.outputs!r}",
            "a fixed-output derivation has the one output 'out'",
        )
    for key in node.env:
        if key in RESERVED or key in node.outputs or not key or "=" in key or "\0" in key:
            raise NixFormatError(
                f"{node.name} cannot have a variable called {key!r}",
                "Nix gives that name a meaning of its own, or no environment can hold it",
            )
    if not _SYSTEM.fullmatch(node.system):
        raise NixFormatError(
            f"{node.name} has the system {node.system!r:.200}",
            "it looks like x86_64-linux, or is 'builtin'",
        )
    if not any(node.builder):
        raise NixFormatError(
            f"{node.name} has an empty builder", "give it a program, such as /bin/sh"
        )
    for one in (node.builder, *node.args, *node.env.values(), (node.system,)):
        if any(isinstance(part, str) and "\0" in part for part in one):
            raise NixFormatError(
                f"{node.name} has a NUL character in {one!r:.200}", "no environment can hold it"
            )


def references(node: Node) -> list[Reference]:
    """Return the references of a node, each once, in order: builder, arguments, variables."""
    found: dict[Reference, None] = {}
    for one in (node.builder, *node.args, *node.env.values()):
        for part in one:
            if not isinstance(part, str):
                found[part] = None
    return list(found)
