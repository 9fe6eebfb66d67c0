"""Pieces of a module: the statements that bind or change each of its global names."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

from plxnix.codehash.names import Definition, Import, called, imports, roots, stored

#: What a statement is under, from the outside in: a keyword and the expression after it, if any.
Conditions = tuple[tuple[str, "ast.expr | None"], ...]


class Piece(NamedTuple):
    """One of the statements that bind a global name, with the conditions that it is under."""

    node: ast.AST
    conditions: Conditions
    imported: Import | None
    label: str


class Pieces:
    """The pieces of a module, by name (`named`), and its imports of `*` (`stars`), in order.

    `declares` tells whether `global` occurs at all: looking for it costs a walk of each function.
    """

    def __init__(self, tree: ast.Module, declares: bool) -> None:
        self.named: dict[str, list[Piece]] = {}
        self.stars: list[Import] = []
        self._declares = declares
        self._collect(tree.body, ())
        for name, pieces in self.named.items():
            if any(piece.imported for piece in pieces):  # `sys.path.append(...)` binds nothing
                self.named[name] = [
                    piece
                    for piece in pieces
                    if not isinstance(piece.node, ast.Expr)
                    and getattr(piece.node, "name", name) == name
                ]

    def imported_as(self, name: str) -> set[str]:
        """Give the names in other modules that a global name is imported from."""
        found = (piece.imported for piece in self.named.get(name, ()))
        return {imported.name for imported in found if imported and imported.name}

    def _collect(self, nodes: Sequence[ast.stmt], under: Conditions) -> None:
        node: Any
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for name, imported in imports(node):
                    if name == "*":
                        self.stars.append(imported)
                    else:
                        self._add(name, node, under, imported)
            elif isinstance(node, (ast.If, ast.While)):
                self._expression(node.test, under)
                self._collect(node.body, (*under, ("if", node.test)))
                self._collect(node.orelse, (*under, ("else", node.test)))
            elif isinstance(node, (ast.For, ast.AsyncFor)):
                self._expression(node.iter, under)
                self._targets(node, [node.target], under)
                self._collect([*node.body, *node.orelse], (*under, ("for", node.iter)))
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                self._targets(node, node.items, under)
                context = [("with", item.context_expr) for item in node.items]
                self._collect(node.body, (*under, *context))
            elif hasattr(node, "handlers"):  # `try`, with `except` or `except*`
                self._collect(node.body, under)
                for handler in node.handlers:
                    self._collect(handler.body, (*under, ("except", handler.type)))
                self._collect([*node.orelse, *node.finalbody], under)
            elif isinstance(node, Definition):
                self._definition(node, under)
            else:
                self._expression(node, under)

    def _definition(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, under: Conditions
    ) -> None:
        self._add(node.name, node, under)
        if self._declares:
            declared = (inner.names for inner in ast.walk(node) if isinstance(inner, ast.Global))
            for name in {name for names in declared for name in names}:
                self._add(name, node, under, label=node.name)
        # `@table.register` changes the table.
        changed = roots(called(decorator) for decorator in node.decorator_list)
        for name in changed - {node.name}:
            self._add(name, node, under, label=node.name)

    def _targets(self, node: ast.stmt, targets: Sequence[ast.AST], under: Conditions) -> None:
        for name, _ in stored(*targets):
            self._add(name, node, under)

    def _expression(self, node: ast.AST, under: Conditions) -> None:
        names = {name for name, _ in stored(node)}
        # `table[key] = value`, `table.append(value)`: what the name stands for is changed.
        targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
        if isinstance(node, ast.Expr):
            targets = [called(node.value)]
        names |= roots(targets)
        for name in names:
            self._add(name, node, under, label=", ".join(sorted(names)))

    def _add(
        self,
        name: str,
        node: ast.AST,
        under: Conditions,
        imported: Import | None = None,
        label: str = "",
    ) -> None:
        self.named.setdefault(name, []).append(Piece(node, under, imported, label or name))
