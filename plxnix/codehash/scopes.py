"""Scopes: which of the names that code reads are global, found as Python would find them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from plxnix.codehash.names import (
    Comprehension,
    Definition,
    Function,
    Import,
    Use,
    called,
    children,
    imports,
    parameters,
    stored,
)
from plxnix.codehash.pieces import Pieces, collected
from plxnix.codehash.tokens import UNREADABLE


class Scope:
    """The names that are local in a function, class or comprehension.

    A name is bound to nothing known, or to what import statements in the scope bind it to.
    """

    def __init__(self, parent: Scope | None, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.bound: dict[str, list[Import]] = {}
        self.declared: set[str] = set()

    def bind(self, nodes: Iterable[ast.AST]) -> None:
        """Note the names that code binds."""
        for name, imported in stored(*nodes):
            self.bound.setdefault(name, []).extend([imported] if imported else [])

    def declare(self, statements: Sequence[ast.AST]) -> None:
        """Note the names that are declared global, and forget those that are not local."""
        stack = list(statements)
        while stack:
            node = stack.pop()
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                if isinstance(node, ast.Global):
                    self.declared.update(node.names)
                for name in node.names:
                    self.bound.pop(name, None)
            elif isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)) and not isinstance(
                node, Definition
            ):
                stack.extend(children(node))


class Reader:
    """Collects the global names that code uses, and the decorators that do not count."""

    def __init__(self, pieces: Pieces, skip: frozenset[str]) -> None:
        self.pieces = pieces
        self.skip = skip
        self.uses: set[Use] = set()
        self.skipped: list[ast.expr] = []
        self._stack: list[tuple[ast.AST, Scope | None]] = []
        self._node: ast.AST | None = None

    def read(self, node: ast.AST) -> None:
        """Read a part of the tree, without recursion: generated code may be nested deeply."""
        self._stack.append((node, None))
        self._node = node
        while self._stack:
            self._visit(*self._stack.pop())

    def _later(self, nodes: Iterable[ast.AST], scope: Scope | None) -> None:
        self._stack.extend((node, scope) for node in nodes)

    def _visit(self, node: ast.AST, scope: Scope | None) -> None:
        if isinstance(node, ast.Name):
            self._name(node.id, (), scope)
        elif isinstance(node, ast.Attribute):
            self._attribute(node, scope)
        elif isinstance(node, (*Function, ast.Lambda)):
            self._function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self._decorators(node, scope)
            self._later((*node.bases, *node.keywords), scope)
            inner = Scope(self._parameters(node, scope), is_class=True)
            inner.bind(node.body)
            inner.declare(node.body)
            self._later(node.body, inner)
        elif isinstance(node, Comprehension):
            self._later([node.generators[0].iter], scope)
            inner = Scope(scope)
            inner.bind(generator.target for generator in node.generators)
            self._later(children(node), inner)
        elif isinstance(node, ast.AnnAssign):
            self._annotation(node.annotation, scope)
            self._later([node.target, *([node.value] if node.value else [])], scope)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name, imported in imports(node):
                if scope is not None and name in scope.declared:
                    self.uses.add(Use(name, (), imported))
        elif not isinstance(node, (ast.Constant, ast.cmpop)):
            self._later(children(node), scope)

    def _attribute(self, node: ast.Attribute, scope: Scope | None) -> None:
        names: list[str] = []
        value: ast.expr = node
        while isinstance(value, ast.Attribute):
            names.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name):
            self._name(value.id, tuple(reversed(names)), scope)
        else:
            self._later([value], scope)

    def _name(self, name: str, attributes: tuple[str, ...], own: Scope | None) -> None:
        scope = own
        while scope is not None and name not in scope.declared:
            if name in scope.bound and (scope is own or not scope.is_class):
                self.uses.update(Use(name, attributes, known) for known in scope.bound[name])
                if not scope.is_class:
                    return
                # A class may read the global before it binds the name: `scale = scale`.
            scope = scope.parent
        self.uses.add(Use(name, attributes))
        if collected(name) in self.pieces.named and not self._makes(name):
            self.uses.add(Use(collected(name), ()))

    def _makes(self, name: str) -> bool:
        """Tell whether what is read binds or changes a name, or collects: that needs no more."""
        if self._node in self.pieces.collectors:
            return True
        return any(piece.node is self._node for piece in self.pieces.named.get(name, ()))

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope | None
    ) -> None:
        arguments = node.args
        given = parameters(arguments)
        self._later([*arguments.defaults, *filter(None, arguments.kw_defaults)], scope)
        body: Sequence[ast.AST]
        if isinstance(node, ast.Lambda):
            body = [node.body]
        else:
            body = node.body
            self._decorators(node, scope)
            scope = self._parameters(node, scope)
            for annotation in (*(argument.annotation for argument in given), node.returns):
                if annotation is not None:
                    self._annotation(annotation, scope)
        inner = Scope(scope)
        inner.bind(body)
        inner.bound.update((argument.arg, []) for argument in given)
        inner.declare(body)
        self._later(body, inner)

    def _parameters(self, node: ast.AST, scope: Scope | None) -> Scope | None:
        """Open the scope of a definition's type parameters (PEP 695), if it has any."""
        parameters: Sequence[ast.AST] = getattr(node, "type_params", ())
        if not parameters:
            return scope
        inner = Scope(scope)
        inner.bind(parameters)
        self._later(parameters, inner)
        return inner

    def _annotation(self, node: ast.expr, scope: Scope | None) -> None:
        """Read an annotation; it may be a string that holds an expression."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                self._later([ast.parse(node.value.strip(), mode="eval")], scope)
            except UNREADABLE:
                return  # any text may stand there
        else:
            self._later([node], scope)

    def _decorators(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: Scope | None
    ) -> None:
        for decorator in node.decorator_list:
            function = called(decorator)
            last: str = getattr(function, "attr", "") or getattr(function, "id", "")
            names = {last}
            if isinstance(function, ast.Name):  # it may have been imported under another name
                names |= self.pieces.imported_as(last)
            if names & self.skip:
                self.skipped.append(decorator)
            else:
                self._later([decorator], scope)
