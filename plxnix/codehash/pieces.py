"""Pieces of a module: the statements that bind or change each of its global names."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

from plxnix.codehash.names import (
    Definition,
    Function,
    Import,
    called,
    children,
    imports,
    parameters,
    roots,
    stored,
)

#: What a statement is under, from the outside in: a keyword and the expression after it, if any.
Conditions = tuple[tuple[str, "ast.expr | None"], ...]

#: Methods by which lists, sets and dicts, and tables that people write, take something in.
_TAKING = frozenset({"add", "append", "appendleft", "insert", "register", "setdefault", "update"})

_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)


class Piece(NamedTuple):
    """One of the statements that bind a global name, with the conditions that it is under."""

    node: ast.AST
    conditions: Conditions
    imported: Import | None
    label: str


class Pieces:
    """The pieces of a module, by name (`named`), and its imports of `*` (`stars`), in order.

    What calls of the module's own functions put into a table (`@register`) is under a name of its
    own, see `collected`; `collectors` are these functions, who do not depend on what they collect.
    `declares` tells whether `global` occurs at all: looking for it costs a walk of each function.
    """

    def __init__(self, tree: ast.Module, declares: bool) -> None:
        self.named: dict[str, list[Piece]] = {}
        self.stars: list[Import] = []
        self.collectors: set[ast.AST] = set()
        self._functions: dict[str, Any] = {}
        self._collected: dict[str, list[Piece]] = {}
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
        for name, pieces in self._collected.items():
            if name in self.named and not any(piece.imported for piece in self.named[name]):
                self.named[collected(name)] = pieces

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
        for decorator in node.decorator_list:
            self._call(decorator, isinstance(decorator, ast.Call), node, under, node.name)
        if isinstance(node, Function):
            self._functions[node.name] = node

    def _call(
        self, function: ast.expr, made: bool, node: ast.AST, under: Conditions, label: str
    ) -> None:
        """Note what a call of a function of the module changes; if `made`, of what it returns."""
        definition = self._functions.get(getattr(called(function), "id", ""))
        if definition is None:
            return
        inner = [one for one in definition.body if isinstance(one, Function)] if made else []
        for name in _changed([definition, *inner]):
            self.collectors.add(definition)
            self._collected.setdefault(name, []).append(Piece(node, under, None, label or name))

    def _targets(self, node: ast.stmt, targets: Sequence[ast.AST], under: Conditions) -> None:
        for name, _ in stored(*targets):
            self._add(name, node, under)

    def _expression(self, node: ast.AST, under: Conditions) -> None:
        names = {name for name, _ in stored(node)}
        # `table[key] = value`, `table.append(value)`: what the name stands for is changed.
        targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
        if isinstance(node, ast.Expr):
            targets = [called(node.value)]
            if isinstance(node.value, ast.Call):
                self._call(node.value.func, False, node, under, "")
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


def collected(name: str) -> str:
    """Give the name under which that is which calls have put into a table of this name."""
    return f"{name} collected"


def _changed(functions: Sequence[Any]) -> set[str]:
    """Give the names that are not local into whose objects functions put something of their own."""
    found: set[str] = set()
    local: set[str] = set()
    for function in functions:
        local.update(argument.arg for argument in parameters(function.args))
        local.update(name for name, _ in stored(*function.body))
        stack: list[ast.AST] = [*function.body]
        while stack:
            node: Any = stack.pop()
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
                found |= roots(targets) if _names(node.value) & local else set()
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                call = node.value
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                if getattr(call.func, "attr", "") in _TAKING and _names(*given) & local:
                    found |= roots([call.func])
            elif not isinstance(node, Definition):
                stack += [one for one in ast.iter_child_nodes(node) if isinstance(one, _BLOCKS)]
    return found - local


def _names(*nodes: ast.AST | None) -> set[str]:
    """Give the names in expressions of which not only an attribute is read."""
    found: set[str] = set()
    stack = [node for node in nodes if node is not None]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif not isinstance(node, ast.Attribute):
            stack += children(node)
    return found
