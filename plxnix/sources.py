"""Source files of the user's own modules, read for what they say and not for how they look.

A `Unit` is one file (or one cell of a notebook): its normalised tokens, the statements that bind
each of its global names, and the names that a statement uses. A `Library` holds the units of this
process. Nothing here imports or runs what it reads.

Tokens are the same on every Python from 3.10 on: comments, blank lines, line breaks in brackets,
the width of indentation, redundant trailing commas and strings that stand alone (docstrings) are
gone, plain string literals are spelled by their value, and an f-string is one token, as it was
before Python 3.12 (PEP 701).
"""

from __future__ import annotations

import ast
import functools
import io
import keyword
import linecache
import os
import sys
import sysconfig
import tokenize
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, NamedTuple

from plxnix.errors import CodeHashError

__all__ = [
    "Import",
    "Library",
    "Piece",
    "Unit",
    "Use",
    "decoded",
    "is_own",
    "loaded",
    "normalised",
    "use_order",
]

Position = tuple[int, int]
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = (*Function, ast.ClassDef)
IDLE = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.Constant)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

#: What can go wrong while source is read: its bytes, its syntax, its depth.
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)

# Structure, in spellings that no token has.
LINE, INDENT, DEDENT = "\n", "\n>", "\n<"
STRUCTURE = {tokenize.NEWLINE: LINE, tokenize.INDENT: INDENT, tokenize.DEDENT: DEDENT}
IGNORED = {tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER}
OPENING = {kind for kind, name in tokenize.tok_name.items() if name.endswith("STRING_START")}
CLOSING = {kind for kind, name in tokenize.tok_name.items() if name.endswith("STRING_END")}
SOFT_KEYWORDS = {"match", "case", "type", "_"}


# -- tokens ------------------------------------------------------------------------------------


def normalised(text: str) -> tuple[list[str], list[Position]]:
    """Split source text into normalised tokens, with the place (line, column) where each starts.

    Structure tokens start where the token after them does. Raises what is in `UNREADABLE`.
    """
    lines = text.split("\n")
    texts: list[str] = []
    starts: list[Position] = []
    waiting: list[str] = []
    brackets: list[_Bracket] = []
    nested, opened, ended, broken, applicable = 0, (0, 0), (0, 0), False, False
    for kind, string, start, end, _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind in IGNORED:
            continue
        if kind in OPENING:
            opened = opened if nested else start
            nested += 1
        elif kind in CLOSING:
            nested -= 1
            if not nested:
                string, start, kind = _between(lines, opened, end), opened, tokenize.STRING
        if nested:
            continue
        if kind in STRUCTURE:
            if kind == tokenize.NEWLINE:
                texts.append(LINE)
                starts.append(start)
            else:
                waiting.append(STRUCTURE[kind])
            continue
        if kind == tokenize.ERRORTOKEN or (broken and start == ended):
            # Before Python 3.12, tokenize splits identifiers at some letters.
            broken = not string.isspace()
            if broken and start == ended:
                texts[-1] += string
                ended = end
            elif broken:
                texts.append(string)
                starts.append(start)
                ended = end
            continue
        broken, ended = False, end
        if kind == tokenize.STRING:
            string = _literal(string)
        elif kind == tokenize.OP:
            if string in "([{":
                brackets.append(_Bracket(string, applicable))
            elif string == "," and brackets:
                brackets[-1].commas += 1
            elif string in ")]}" and brackets and brackets.pop().drops_comma(texts):
                del texts[-1], starts[-1]
            elif string == ";":
                string = LINE
        elif string == "lambda" and brackets:
            brackets[-1].has_lambda = True
        applicable = (
            kind == tokenize.STRING
            or string in (")", "]", "}")
            or (
                kind == tokenize.NAME
                and not keyword.iskeyword(string)
                and string not in SOFT_KEYWORDS
            )
        )
        texts += (*waiting, string)
        starts += [start] * (len(waiting) + 1)
        waiting.clear()
    return texts, starts


class _Bracket:
    """An open bracket: whether what is before it makes it a call or a subscript, and its commas."""

    __slots__ = ("applied", "commas", "has_lambda", "opener")

    def __init__(self, opener: str, applied: bool) -> None:
        self.opener = opener
        self.applied = applied
        self.commas = 0
        self.has_lambda = False

    def drops_comma(self, texts: Sequence[str]) -> bool:
        """Whether the last token is a comma without effect: not that of `(x,)` or `y[x,]`."""
        if texts[-1] != ",":
            return False
        makes_tuple = self.opener != "{" and self.applied == (self.opener == "[")
        # The commas of a lambda's parameters are no sign of a tuple.
        return (self.commas > 1 and not self.has_lambda) or not makes_tuple


def _between(lines: Sequence[str], start: Position, end: Position) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "\n".join((lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]))


def _literal(token: str) -> str:
    """Spell a string literal by its value; an f-string with quotes or escapes stays as it is."""
    opening = min(i for i in (token.find("'"), token.find('"')) if i >= 0)
    prefix = "".join(sorted(token[:opening].lower()))
    width = 3 if len(token) - opening >= 6 and token[opening] * 3 == token[opening:][:3] else 1
    body = token[opening + width : -width]
    if "f" in prefix or "t" in prefix:
        plain = not any(mark in body for mark in "'\"\\\n")
        return prefix + (f'"{body}"' if plain else token[opening:])
    value = body if "\\" not in body or "r" in prefix else ast.literal_eval(token)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    mark = "b" if "b" in prefix else "s"
    return f'{mark}"' + value.encode("unicode_escape").decode("ascii")


def decoded(data: bytes) -> str:
    """Decode a Python file as Python does (PEP 263), with one kind of line end."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = data.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


# -- names -------------------------------------------------------------------------------------


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


class Piece(NamedTuple):
    """One of the statements that bind a global name, with the conditions that it is under."""

    node: ast.AST
    conditions: tuple[tuple[str, ast.AST | None], ...]
    imported: Import | None
    label: str


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            imported = Import(node.module or "", node.level, alias.name)
            yield alias.asname or alias.name, imported
        elif alias.asname:
            yield alias.asname, Import(alias.name, 0, None)
        else:
            top = alias.name.partition(".")[0]
            yield top, Import(top, 0, None)


def _stored(*roots: ast.AST) -> Iterator[tuple[str, Import | None]]:
    """Give the names that code binds in its own scope, not in the scopes within."""
    stack = list(roots)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                yield node.id, None
        elif isinstance(node, Definition):
            yield node.name, None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _imports(node)
        elif not isinstance(node, (ast.Lambda, *Comprehension)):
            for field in ("name", "rest"):  # of handlers and patterns
                name = getattr(node, field, None)
                if isinstance(name, str):
                    yield name, None
            stack.extend(_children(node))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Give the parts of a node that may hold names; faster than `ast.iter_child_nodes`."""
    for value in node.__dict__.values():
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST) and not isinstance(value, IDLE):
            yield value


class _Scope:
    """The names that are local in a function, class or comprehension."""

    def __init__(self, parent: _Scope | None, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.bound: dict[str, list[Import]] = {}
        self.declared: set[str] = set()
        self.outer: set[str] = set()

    def bind(self, *roots: ast.AST) -> None:
        for name, imported in _stored(*roots):
            self.bound.setdefault(name, []).extend([imported] if imported else [])

    def declare(self, statements: Sequence[ast.AST]) -> None:
        """Note the names that are declared global or nonlocal."""
        stack = list(statements)
        while stack:
            node = stack.pop()
            if isinstance(node, ast.Global):
                self.declared.update(node.names)
            elif isinstance(node, ast.Nonlocal):
                self.outer.update(node.names)
            elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and not isinstance(
                node, Definition
            ):
                stack.extend(_children(node))
        for name in self.declared | self.outer:
            self.bound.pop(name, None)


class _Reader:
    """Collects the global names that code uses, and the decorators that do not count."""

    def __init__(self, unit: Unit, skip: frozenset[str]) -> None:
        self.unit = unit
        self.skip = skip
        self.uses: set[Use] = set()
        self.skipped: list[ast.expr] = []
        self.stack: list[tuple[ast.AST, _Scope | None]] = []

    def run(self, node: ast.AST) -> None:
        """Read a part of the tree, without recursion: generated code may be nested deeply."""
        self.stack.append((node, None))
        while self.stack:
            self.visit(*self.stack.pop())

    def read(self, node: ast.AST, scope: _Scope | None) -> None:
        self.stack.append((node, scope))

    def visit(self, node: ast.AST, scope: _Scope | None) -> None:
        if isinstance(node, ast.Name):
            self.name(node.id, (), scope)
        elif isinstance(node, ast.Attribute):
            self.attribute(node, scope)
        elif isinstance(node, (*Function, ast.Lambda)):
            self.function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.decorators(node, scope)
            self.all((*node.bases, *node.keywords), scope)
            inner = _Scope(self.parameters(node, scope), is_class=True)
            inner.bind(*node.body)
            inner.declare(node.body)
            self.all(node.body, inner)
        elif isinstance(node, Comprehension):
            self.read(node.generators[0].iter, scope)
            inner = _Scope(scope)
            inner.bind(*(generator.target for generator in node.generators))
            self.all(_children(node), inner)
        elif isinstance(node, ast.AnnAssign):
            self.annotation(node.annotation, scope)
            self.all((node.target, *([node.value] if node.value else [])), scope)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name, imported in _imports(node):
                if scope is not None and name in scope.declared:
                    self.uses.add(Use(name, (), imported))
        elif not isinstance(node, (ast.Constant, ast.cmpop)):
            self.all(_children(node), scope)

    def all(self, nodes: Iterable[ast.AST], scope: _Scope | None) -> None:
        self.stack.extend((node, scope) for node in nodes)

    def attribute(self, node: ast.Attribute, scope: _Scope | None) -> None:
        names = [node.attr]
        value = node.value
        while isinstance(value, ast.Attribute):
            names.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name):
            self.name(value.id, tuple(reversed(names)), scope)
        else:
            self.read(value, scope)

    def name(self, name: str, attributes: tuple[str, ...], scope: _Scope | None) -> None:
        own = scope
        while scope is not None:
            if name in scope.declared:
                break
            if name in scope.bound and (scope is own or not scope.is_class):
                for imported in scope.bound[name]:
                    self.uses.add(Use(name, attributes, imported))
                if not scope.is_class:
                    return
                # A class may read the global before it binds the name: `scale = scale`.
            scope = scope.parent
        self.uses.add(Use(name, attributes))

    def function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope | None
    ) -> None:
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [star for star in (arguments.vararg, arguments.kwarg) if star]
        self.all([*arguments.defaults, *(d for d in arguments.kw_defaults if d)], scope)
        inner = _Scope(scope)
        body: list[ast.AST] = []
        if isinstance(node, ast.Lambda):
            body = [node.body]
        else:
            self.decorators(node, scope)
            inner = _Scope(self.parameters(node, scope))
            for annotation in (*(argument.annotation for argument in given), node.returns):
                if annotation is not None:
                    self.annotation(annotation, inner.parent)
            body = [*node.body]
        inner.bind(*body)
        inner.bound.update((argument.arg, []) for argument in given)
        inner.declare(body)
        self.all(body, inner)

    def parameters(self, node: ast.AST, scope: _Scope | None) -> _Scope | None:
        """Open the scope of a definition's type parameters (PEP 695), if it has any."""
        parameters: Sequence[ast.AST] = getattr(node, "type_params", ())
        if not parameters:
            return scope
        inner = _Scope(scope)
        inner.bind(*parameters)
        self.all(parameters, inner)
        return inner

    def annotation(self, node: ast.expr, scope: _Scope | None) -> None:
        """Read an annotation; it may be a string that holds an expression."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                self.read(ast.parse(node.value.strip(), mode="eval"), scope)
            except UNREADABLE:
                return  # any text may stand there
        else:
            self.read(node, scope)

    def decorators(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: _Scope | None
    ) -> None:
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            last: str = getattr(called, "attr", "") or getattr(called, "id", "")
            names: set[str | None] = {last}
            if isinstance(called, ast.Name):  # it may have been imported under another name
                names |= {p.imported.name for p in self.unit.bindings.get(last, ()) if p.imported}
            if names & self.skip:
                self.skipped.append(decorator)
            else:
                self.read(decorator, scope)


# -- files -------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a function, lambda or class is defined."""

    node: ast.AST
    qualname: str
    owner: ast.ClassDef | None


class Unit:
    """One source text, parsed: what its global names are bound to and what each statement uses.

    `fixed` is false for text that is no file (a cell, a doctest): its names may be bound elsewhere.
    Parsing costs time linear in the text, once.
    """

    def __init__(self, filename: str, text: str, package: str, fixed: bool) -> None:
        self.filename = filename
        self.text = text
        self.package = package
        self.fixed = fixed
        self.search: list[str] | None = None
        self.instances: list[tuple[Any, Any]] = []
        self.stamp: tuple[int, ...] = ()
        self.bindings: dict[str, list[Piece]] = {}
        self.stars: list[Import] = []
        self.places: dict[tuple[int, str], Place] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._lines = text.split("\n")
        self._read: dict[tuple[ast.AST, frozenset[str]], tuple[str, tuple[Use, ...]]] = {}
        self._lambdas: dict[int, list[tuple[ast.Lambda, ast.stmt]]] | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler has said it already
                flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
                tree = compile(text, filename, "exec", flags, dont_inherit=True)
                self._texts, self._starts = normalised(text)
            assert isinstance(tree, ast.Module)
            self.tree = tree
            self._hidden = bytearray(len(self._texts))
            self._globals = "global" in self._texts
            self._index(tree, "", None)
            self._bind(tree.body, ())
            for name, pieces in self.bindings.items():
                if any(piece.imported for piece in pieces):  # `sys.path.append(...)` binds nothing
                    self.bindings[name] = [
                        piece
                        for piece in pieces
                        if not isinstance(piece.node, ast.Expr)
                        and getattr(piece.node, "name", name) == name
                    ]
        except UNREADABLE as error:
            raise CodeHashError(
                f"the source {filename} cannot be parsed: {error}",
                'correct it, or pass `version="..."` to autostage',
            ) from error

    @property
    def label(self) -> str:
        """The module's last name."""
        folder, file = os.path.split(self.filename)
        stem = os.path.splitext(file)[0]
        return os.path.basename(folder) if stem == "__init__" else stem

    def _index(self, parent: ast.AST, prefix: str, owner: ast.ClassDef | None) -> None:
        """Note definitions by their first line and name; hide strings that stand alone."""
        for node in _statements(parent):
            if isinstance(node, Definition):
                qualname = prefix + node.name
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(qualname, []).append(node)
                    self._index(node, f"{qualname}.", node)
                else:
                    self.places[first, node.name] = Place(node, qualname, owner)
                    self._index(node, f"{qualname}.<locals>.", None)
            elif isinstance(node, ast.Expr):
                if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                    first, last = self._range(node)
                    if last < len(self._texts) and self._texts[last] == LINE:
                        line, column = self._starts[last]
                        last += self._lines[line - 1][column : column + 1] == ";"
                    self._hidden[first:last] = b"\1" * (last - first)
            else:
                self._index(node, prefix, owner)

    def _bind(
        self, nodes: Sequence[ast.stmt], under: tuple[tuple[str, ast.AST | None], ...]
    ) -> None:
        node: Any
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for name, imported in _imports(node):
                    if name == "*":
                        self.stars.append(imported)
                    else:
                        self._add(name, node, under, imported)
            elif isinstance(node, (ast.If, ast.While)):
                self._add_stored(node.test, under)
                self._bind(node.body, (*under, ("if", node.test)))
                self._bind(node.orelse, (*under, ("else", node.test)))
            elif isinstance(node, (ast.For, ast.AsyncFor)):
                self._add_stored(node.iter, under)
                for name, _ in _stored(node.target):
                    self._add(name, node, under)
                self._bind([*node.body, *node.orelse], (*under, ("for", node.iter)))
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                for name, _ in _stored(*node.items):
                    self._add(name, node, under)
                context = [("with", item.context_expr) for item in node.items]
                self._bind(node.body, (*under, *context))
            elif hasattr(node, "handlers"):  # `try`, with `except` or `except*`
                self._bind(node.body, under)
                for handler in node.handlers:
                    self._bind(handler.body, (*under, ("except", handler.type)))
                self._bind([*node.orelse, *node.finalbody], under)
            elif isinstance(node, Definition):
                self._add(node.name, node, under)
                if self._globals:
                    declared = (n.names for n in ast.walk(node) if isinstance(n, ast.Global))
                    for name in {name for names in declared for name in names}:
                        self._add(name, node, under, label=node.name)
                for name in _roots(_called(decorator) for decorator in node.decorator_list):
                    if name != node.name:  # `@table.register`: it changes the table
                        self._add(name, node, under, label=node.name)
            else:
                self._add_stored(node, under)

    def _add(
        self,
        name: str,
        node: ast.AST,
        under: tuple[tuple[str, ast.AST | None], ...],
        imported: Import | None = None,
        label: str = "",
    ) -> None:
        piece = Piece(node, under, imported, label or name)
        self.bindings.setdefault(name, []).append(piece)

    def _add_stored(self, node: ast.AST, under: tuple[tuple[str, ast.AST | None], ...]) -> None:
        names = {name for name, _ in _stored(node)}
        # `table[key] = value`, `table.append(value)`: what the name stands for is changed.
        targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
        if isinstance(node, ast.Expr):
            targets = [_called(node.value)]
        names |= _roots(targets)
        for name in names:
            self._add(name, node, under, label=", ".join(sorted(names)))

    def read(self, node: ast.AST, skip: frozenset[str]) -> tuple[str, tuple[Use, ...]]:
        """Give the normalised text of a part of the tree and the global names it uses, sorted.

        Decorators named in `skip` are left out of both.
        """
        key = (node, skip)
        if key not in self._read:
            reader = _Reader(self, skip)
            reader.run(node)
            uses = sorted(reader.uses, key=use_order)
            self._read[key] = (self._slice(node, reader.skipped), tuple(uses))
        return self._read[key]

    def lambdas(self, line: int) -> list[tuple[ast.Lambda, ast.stmt]]:
        """List the lambdas that start on a line, each with the statement that it is in."""
        if self._lambdas is None:
            self._lambdas = {}
            stack: list[tuple[ast.AST, ast.stmt | None]] = [(self.tree, None)]
            while stack:
                node, statement = stack.pop()
                if isinstance(node, ast.stmt):
                    statement = node
                if isinstance(node, ast.Lambda) and statement is not None:
                    self._lambdas.setdefault(node.lineno, []).append((node, statement))
                stack.extend((child, statement) for child in _children(node))
        return self._lambdas.get(line, [])

    def _slice(self, node: ast.AST, skipped: Sequence[ast.expr]) -> str:
        first, last = self._range(node)
        hidden = self._hidden
        if skipped:
            hidden = bytearray(hidden)
            for decorator in skipped:
                start = self._decorator(decorator)
                end = self._texts.index(LINE, self._range(decorator)[1])
                hidden[start : end + 1] = b"\1" * (end + 1 - start)
        parts: list[str] = []
        depth = 0
        for index in range(first, last):
            text = self._texts[index]
            if hidden[index] or (text == LINE and (not parts or parts[-1][0] == LINE)):
                continue
            depth += (text == INDENT) - (text == DEDENT)
            parts.append(text)
        while parts and parts[-1] == LINE:
            parts.pop()
        return "\0".join((*parts, *[DEDENT] * depth))

    def _range(self, node: ast.AST) -> tuple[int, int]:
        """Give the indices of a node's first token and of the one after its last."""
        if isinstance(node, ast.Module):
            return 0, len(self._texts)
        assert isinstance(node, (ast.stmt, ast.expr))
        if isinstance(node, Definition) and node.decorator_list:
            first = self._decorator(node.decorator_list[0])
        else:
            first = bisect_left(self._starts, self._position(node.lineno, node.col_offset))
        while first < len(self._texts) and self._texts[first] in (LINE, INDENT, DEDENT):
            first += 1
        end = self._position(node.end_lineno or node.lineno, node.end_col_offset or 0)
        return first, bisect_left(self._starts, end)

    def _decorator(self, node: ast.expr) -> int:
        index = bisect_left(self._starts, self._position(node.lineno, node.col_offset))
        while self._texts[index] != "@":
            index -= 1
        return index

    def _position(self, line: int, offset: int) -> Position:
        """Turn the tree's place, in bytes, into that of the tokens, in characters."""
        text = self._lines[line - 1]
        return line, offset if text.isascii() else len(text.encode()[:offset].decode())


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Give the statements directly within a node, in order."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        inside = getattr(node, field, None)
        if isinstance(inside, list):
            yield from inside


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _roots(nodes: Iterable[ast.AST | None]) -> set[str]:
    """Give the names at the root of attributes and subscripts: `a` for `a.b[c]`, none for `a`."""
    names: set[str] = set()
    for node in nodes:
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names


def use_order(use: Use) -> tuple[str, tuple[str, int, str]]:
    """Give the key by which uses are sorted."""
    imported = use.imported or Import("", -1, "")
    return use.text, (imported.module, imported.level, imported.name or "")


# -- modules -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [os.path.realpath(path) for path in paths if path]
    return tuple(f"{folder}{os.sep}" for folder in (*folders, os.path.dirname(__file__)))


@functools.lru_cache(maxsize=4096)
def is_own(filename: str) -> bool:
    """Whether a source file is the user's own: not of Python, an installed package or plxnix."""
    if filename.startswith("<frozen ") or filename.endswith((".so", ".pyd", ".pyc")):
        return False
    path = os.path.realpath(filename)
    installed = {"site-packages", "dist-packages"} & set(path.split(os.sep))
    return not installed and not path.startswith(_installed())


class Library:
    """The units of this process, one a file.

    A file is read when it is first needed, and read again only when its module has been loaded
    again (`importlib.reload`, a second `runpy`): as the code in memory does not follow an edit of
    the file, its hash does not either. A module that is not loaded is read again when it changes.
    """

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.names: dict[str, Unit | None] = {}
        self._namespaces: dict[str, dict[str, Any] | None] = {}
        self._path: list[str] = []
        self.changes = 0

    def refresh(self) -> None:
        """Forget what has changed since it was read; costs a look at each module."""
        moved = any(loaded(name) is not was for name, was in self._namespaces.items())
        if moved or sys.path != self._path:  # a name may now be another module's
            self._renew()
        namespaces = dict(self._namespaces)  # the loop may drop what it has found
        for name, unit in [*self.names.items()]:
            if unit is None or unit.filename.startswith("<namespace "):
                continue
            namespace = namespaces[name]
            if namespace is not None and not _is_known(unit, namespace):
                self.unit(unit.filename, namespace)
            elif not unit.instances and _stamp(unit.filename) != unit.stamp:
                self.forget(unit)

    def forget(self, unit: Unit) -> None:
        """Drop a unit, and what was found by way of it."""
        self.units.pop(unit.filename, None)
        self._renew()

    def _renew(self) -> None:
        self.names.clear()
        self._namespaces.clear()
        self._path = [*sys.path]
        self.changes += 1

    def unit(self, filename: str, namespace: Mapping[str, Any] | None, name: str = "") -> Unit:
        """Give the unit of a file, as the module with that namespace (if it is loaded) has it.

        Raises `CodeHashError` if there is no such source.
        """
        key = os.path.realpath(filename) if os.path.isfile(filename) else filename
        unit = self.units.get(key)
        if unit is not None and namespace is not None and unit.fixed and _is_known(unit, namespace):
            return unit
        if unit is not None and namespace is None:
            return unit
        fixed = os.path.isfile(key) or (namespace or {}).get("__file__") == filename
        stamp = _stamp(key)
        text = _text(key, namespace)
        if unit is None or unit.text != text:
            if unit is not None:
                self.forget(unit)
            unit = Unit(key, text, _package(namespace, name), fixed)
            unit.stamp = stamp
            self.units[key] = unit
        if namespace is not None:
            unit.package = unit.package or _package(namespace, name)
            unit.instances = [*unit.instances[-7:], (namespace, namespace.get("__spec__"))]
        return unit

    def module(self, name: str) -> Unit | None:
        """Find the user's own module of that name; `None` if it is another's, or not there."""
        if name not in self.names:
            self.names[name] = None  # also what a package that is looked for in itself finds
            self.names[name] = self._find(name)
        return self.names[name]

    def _find(self, name: str) -> Unit | None:
        namespace = self._namespaces[name] = loaded(name)
        if namespace is not None:
            filename, search = namespace.get("__file__"), namespace.get("__path__")
        else:
            parent = name.rpartition(".")[0]
            package = self.module(parent) if parent else None
            if parent and (package is None or package.search is None):
                return None
            spec = PathFinder.find_spec(name, package.search if package else None)
            if spec is None:
                return None
            filename = spec.origin if spec.has_location else None
            search = spec.submodule_search_locations
        if filename is None and search is not None:
            unit = Unit(f"<namespace {name}>", "", name, True)
            unit.instances = [(namespace, None)]
        elif not isinstance(filename, str) or not is_own(filename):
            return None
        else:
            whole = name if search is not None else name.rpartition(".")[0]
            unit = self.unit(filename, namespace, whole)
        unit.search = None if search is None else list(search)
        return unit


def loaded(name: str) -> dict[str, Any] | None:
    """Give the namespace of a module that this process has loaded."""
    module = sys.modules.get(name)
    if not issubclass(type(module), ModuleType):  # `isinstance` would ask the object
        return None
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace


def _is_known(unit: Unit, namespace: Mapping[str, Any]) -> bool:
    spec = namespace.get("__spec__")
    return any(n is namespace and s is spec for n, s in unit.instances)


def _package(namespace: Mapping[str, Any] | None, package: str) -> str:
    if namespace is None:
        return package
    given = namespace.get("__package__")
    if isinstance(given, str):
        return given
    name = str(namespace.get("__name__", ""))
    return name if "__path__" in namespace else name.rpartition(".")[0]


def _stamp(filename: str) -> tuple[int, ...]:
    try:
        status = os.stat(filename)
    except (OSError, ValueError):
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _text(filename: str, namespace: Mapping[str, Any] | None) -> str:
    try:
        if os.path.isfile(filename):
            with open(filename, "rb") as file:
                return decoded(file.read())
    except (OSError, *UNREADABLE) as error:
        raise CodeHashError(
            f"the source {filename} cannot be read: {error}",
            'correct it, or pass `version="..."` to autostage',
        ) from error
    lines = linecache.getlines(filename, dict(namespace) if namespace else None)
    if not lines:
        raise CodeHashError(
            f"there is no source {filename}",
            'put the function into a file, or pass `version="..."` to autostage',
        )
    return "".join(lines)
