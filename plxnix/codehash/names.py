"""Names in a syntax tree: what code binds in its own scope, and how a name is written."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = (*Function, ast.ClassDef)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
IDLE = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.Constant)


class Import(NamedTuple):
    """What an import statement binds a name to: a module, or `name` in it; `level` counts dots."""

    module: str
    level: int
    name: str | None


class Use(NamedTuple):
    """A name that code reads, with the attributes read from it; `imported` if bound locally so."""

    name: str
    attributes: tuple[str, ...]
    imported: Import | None = None

    @property
    def text(self) -> str:
        """The use as it is written."""
        return ".".join((self.name, *self.attributes))

    def order(self) -> tuple[str, tuple[str, int, str]]:
        """Give the key by which uses are sorted."""
        module, level, name = self.imported or ("", -1, "")
        return self.text, (module, level, name or "")


def imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Give the names that an import statement binds, each with what it stands for."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            imported = Import(node.module or "", node.level, alias.name)
            yield alias.asname or alias.name, imported
        elif alias.asname:
            yield alias.asname, Import(alias.name, 0, None)
        else:
            top = alias.name.partition(".")[0]
            yield top, Import(top, 0, None)


def stored(*nodes: ast.AST) -> Iterator[tuple[str, Import | None]]:
    """Give the names that code binds in its own scope, not in the scopes within."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                yield node.id, None
        elif isinstance(node, Definition):
            yield node.name, None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imports(node)
        elif not isinstance(node, (ast.Lambda, *Comprehension)):
            for field in ("name", "rest"):  # of handlers and patterns
                name = getattr(node, field, None)
                if isinstance(name, str):
                    yield name, None
            stack.extend(children(node))


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Give the parts of a node that may hold names; faster than `ast.iter_child_nodes`."""
    for value in node.__dict__.values():
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST) and not isinstance(value, IDLE):
            yield value


def called(node: ast.expr) -> ast.expr:
    """Give what is called; a node that is no call stands for itself."""
    return node.func if isinstance(node, ast.Call) else node


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    """Give all parameters of a function."""
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]


def roots(nodes: Iterable[ast.AST | None]) -> set[str]:
    """Give the names at the root of attributes and subscripts: `a` for `a.b[c]`, none for `a`."""
    names: set[str] = set()
    for node in nodes:
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names
