"""Definitions: what global names stand for, as the source of the modules tells it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from plxnix.codehash.library import Library
from plxnix.codehash.names import Import, Use
from plxnix.codehash.nodes import Node, external
from plxnix.codehash.pieces import collected
from plxnix.codehash.units import Unit

__all__ = ["Definitions", "absolute", "is_dunder"]


class Definitions:
    """The nodes that source alone decides, for one set of decorators that do not count.

    They are kept until a module is loaded again.
    """

    def __init__(self, skip: frozenset[str]) -> None:
        self.skip = skip
        self.library = Library()
        self._changes = 0
        self._nodes: dict[object, Node] = {}

    def refresh(self) -> None:
        """Forget the nodes of sources that have changed."""
        self.library.refresh()
        if self.library.changes != self._changes:
            self._changes = self.library.changes
            self._nodes.clear()

    def statement(
        self, unit: Unit, node: ast.AST, label: str, owner: ast.ClassDef | None = None
    ) -> Node:
        """Give the node of a statement; a method counts with its class, the `owner`."""
        return self._part(unit, node, "code", label, owner)

    def resolve(self, unit: Unit, use: Use) -> list[Node]:
        """Find what a global name stands for, with the attributes that are read from it."""
        if use.imported is not None:
            return self._imported(unit, use.imported, use.attributes, frozenset())
        return self.named(unit, use.name, use.attributes)

    def named(
        self,
        unit: Unit,
        name: str,
        attributes: tuple[str, ...] = (),
        seen: frozenset[object] = frozenset(),
    ) -> list[Node]:
        """Find the statements that bind a global name; `seen` ends imports in a circle."""
        if (unit, name) in seen:
            return []
        seen |= {(unit, name)}
        found: list[Node] = []
        for piece in unit.pieces.named.get(name, ()):
            for kind, test in piece.conditions:
                found.append(self._part(unit, test, kind) if test else Node(kind))
            if piece.imported is not None:
                found += self._imported(unit, piece.imported, attributes, seen)
            else:
                found.append(self.statement(unit, piece.node, piece.label))
        if not found and not is_dunder(name):
            for star in reversed(unit.pieces.stars):
                module = absolute(unit, star)
                source = self.library.module(module)
                if source is None:  # it may have the name
                    found.append(external(".".join((module, name, *attributes))))
                elif inside := self.named(source, name, attributes, seen):
                    return found + inside
        return found

    def attribute(
        self, module: str, names: tuple[str, ...], seen: frozenset[object] = frozenset()
    ) -> list[Node]:
        """Follow attributes from a module: `pkg.module.function`."""
        unit = self.library.module(module)
        if unit is None:
            return [external(".".join((module, *names)))]
        if not names:
            return [self.whole(unit)]
        first, rest = names[0], names[1:]
        if not unit.filename.startswith("<namespace "):
            found = self.named(unit, first, rest, seen)
            if collected(first) in unit.pieces.named:
                found = [*found, *self.named(unit, collected(first), (), seen)]
            if found or is_dunder(first):
                return found
            if unit.search is None or self.library.module(f"{module}.{first}") is None:
                return self.named(unit, "__getattr__", (), seen) or [self.whole(unit)]
        return self.attribute(f"{module}.{first}", rest, seen)

    def _imported(
        self, unit: Unit, imported: Import, attributes: tuple[str, ...], seen: frozenset[object]
    ) -> list[Node]:
        names = attributes if imported.name is None else (imported.name, *attributes)
        return self.attribute(absolute(unit, imported), names, seen)

    def _part(
        self,
        unit: Unit,
        node: ast.AST,
        kind: str,
        label: str = "",
        owner: ast.ClassDef | None = None,
    ) -> Node:
        key = (unit, node, kind)
        if key not in self._nodes:
            body, uses = unit.read(node, self.skip)

            def find() -> Iterator[tuple[str, Node]]:
                for use in uses:
                    yield from ((use.text, to) for to in self.resolve(unit, use))
                if owner is not None:
                    yield "class", self.statement(unit, owner, label.rpartition(".")[0])

            label = label or f"{kind} {body}".replace("\0", " ")[:40]
            self._nodes[key] = Node(f"{kind}\0{body}", find, label, unit)
        return self._nodes[key]

    def whole(self, unit: Unit) -> Node:
        """Give the node of a module that is used as an object: all of it, with what it imports."""
        if unit not in self._nodes:
            body, uses = unit.read(unit.tree, self.skip)

            def find() -> Iterator[tuple[str, Node]]:
                for use in uses:
                    yield from ((use.text, to) for to in self.resolve(unit, use))
                for name in sorted(filter(str.isidentifier, unit.pieces.named)):
                    yield from ((name, to) for to in self.named(unit, name))
                for star in unit.pieces.stars:
                    yield from (("*", to) for to in self.attribute(absolute(unit, star), ()))

            self._nodes[unit] = Node(f"module\0{body}", find, unit.label)
        return self._nodes[unit]


def is_dunder(name: str) -> bool:
    """Whether Python gives the name its meaning: it is no definition of the user's."""
    return name.startswith("__") and name.endswith("__")


def absolute(unit: Unit, imported: Import) -> str:
    """Give the full name of the module that an import names."""
    package = unit.package.split(".") if unit.package else []
    if not imported.level or imported.level > len(package):
        return "." * imported.level + imported.module
    package = package[: len(package) - imported.level + 1]
    return ".".join((*package, imported.module) if imported.module else package)
