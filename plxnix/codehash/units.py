"""Units: source files (or cells of a notebook), parsed and read for what they say."""

from __future__ import annotations

import ast
import os
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, NamedTuple

from plxnix.codehash.names import Definition, Use, children
from plxnix.codehash.pieces import Pieces
from plxnix.codehash.scopes import Reader
from plxnix.codehash.tokens import DEDENT, INDENT, LINE, UNREADABLE, Position, normalised
from plxnix.errors import CodeHashError
from plxnix.snapshots import kept

#: Words that open a block, which may stand on the same line.
BLOCKS = frozenset(
    (
        *("async", "case", "class", "def", "elif", "else", "except", "finally", "for", "if"),
        *("match", "try", "while", "with"),
    )
)


class Place(NamedTuple):
    """Where a function is defined: its node, its name, and the class that it is a method of."""

    node: ast.AST
    qualname: str
    owner: ast.ClassDef | None


class Unit:
    """One source text, parsed: what its global names are bound to and what each statement uses.

    `fixed` is false for text that is no file (a cell, a doctest): its names may be bound elsewhere.
    `places` has functions by their first line and name, `classes` has classes by qualified name.
    Parsing costs time linear in the text, once. Raises `CodeHashError` for what is not Python.
    """

    def __init__(self, filename: str, text: str, package: str, fixed: bool) -> None:
        self.filename = filename
        self.text = text
        self.package = package
        self.fixed = fixed
        self.search: list[str] | None = None
        self.stamp: tuple[int, ...] = ()
        self.places: dict[tuple[int, str], Place] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._instances: list[tuple[object, object]] = []
        self._lines = text.split("\n")
        self._read: dict[tuple[ast.AST, frozenset[str]], tuple[str, tuple[Use, ...]]] = {}
        self._lambdas: dict[int, list[tuple[ast.Lambda, ast.stmt]]] | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler has said it already
                flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
                self.tree: ast.Module = compile(text, filename, "exec", flags, dont_inherit=True)
                self._texts, self._starts = normalised(text)
            self._hidden = bytearray(len(self._texts))
            self._index(self.tree, "", None)
            self.pieces = Pieces(self.tree, declares="global" in self._texts)
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

    @property
    def is_loaded(self) -> bool:
        """Whether this process has run the text."""
        return bool(self._instances)

    def knows(self, namespace: Mapping[str, Any]) -> bool:
        """Whether the text is what ran in a namespace, the last time that it was loaded."""
        run = self._run(namespace)
        return any(known is namespace and was is run for known, was in self._instances)

    def learn(self, namespace: Mapping[str, Any]) -> None:
        """Note that the text ran in a namespace; the last eight are known."""
        self._instances = [*self._instances[-7:], (namespace, self._run(namespace))]

    def _run(self, namespace: Mapping[str, Any]) -> object:
        """Give what is another object when a module has been run again."""
        return kept(self.filename, namespace) or namespace.get("__spec__")

    def line(self, code: CodeType) -> int:
        """Return the line on which a function of the text begins."""
        return code.co_firstlineno

    def read(self, node: ast.AST, skip: frozenset[str]) -> tuple[str, tuple[Use, ...]]:
        """Give the normalised text of a part of the tree and the global names it uses, sorted.

        Decorators named in `skip` are left out of both.
        """
        key = (node, skip)
        if key not in self._read:
            reader = Reader(self.pieces, skip)
            reader.read(node)
            uses = sorted(reader.uses, key=Use.order)
            self._read[key] = (self._slice(node, reader.skipped), tuple(uses))
        return self._read[key]

    def lambdas(self, line: int) -> Sequence[ast.AST]:
        """Give the lambda that starts on a line; if there are several, the statements around."""
        if self._lambdas is None:
            self._lambdas = {}
            stack: list[tuple[ast.AST, ast.stmt | None]] = [(self.tree, None)]
            while stack:
                node, statement = stack.pop()
                if isinstance(node, ast.stmt):
                    statement = node
                if isinstance(node, ast.Lambda) and statement is not None:
                    self._lambdas.setdefault(node.lineno, []).append((node, statement))
                stack.extend((child, statement) for child in children(node))
        found = self._lambdas.get(line, [])
        if len(found) == 1:
            return [found[0][0]]
        return sorted({statement for _, statement in found}, key=lambda node: node.lineno)

    def _index(self, parent: ast.AST, prefix: str, owner: ast.ClassDef | None) -> None:
        """Note the definitions; hide strings that stand alone, as docstrings do."""
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
                    start, end = self._range(node)
                    if end < len(self._texts) and self._texts[end] == LINE:
                        line, column = self._starts[end]
                        end += self._lines[line - 1][column : column + 1] == ";"
                    self._hidden[start:end] = b"\1" * (end - start)
            else:
                self._index(node, prefix, owner)

    def tokens(
        self, node: ast.AST, skip: frozenset[str], left_out: Sequence[tuple[int, int]] = ()
    ) -> list[str]:
        """Give the tokens of a part of the tree without docstrings, for it to be spelled again.

        `left_out` are ranges of tokens (see `until`). A semicolon stays one where a line end
        would mean something else: in a block that stands on one line.
        """
        reader = Reader(self.pieces, skip)
        reader.read(node)
        return self._tokens(node, reader.skipped, left_out, semicolons=True)

    def until(self, start: int, ends: Sequence[str]) -> tuple[int, int]:
        """Give the range of tokens from `start` to the first of `ends` that is in no bracket."""
        end, depth = start, 0
        while depth or self._texts[end] not in ends:
            depth += (self._texts[end] in ("(", "[", "{")) - (self._texts[end] in (")", "]", "}"))
            end += 1
        return start, end

    def first(self, node: ast.AST, after: str = "") -> int:
        """Give the index of a node's first token, or of the last one before it that is `after`."""
        index = self._range(node)[0]
        while after and self._texts[index] != after:
            index -= 1
        return index

    def _slice(self, node: ast.AST, skipped: Sequence[ast.expr]) -> str:
        return "\0".join(self._tokens(node, skipped))

    def _tokens(
        self,
        node: ast.AST,
        skipped: Sequence[ast.expr],
        left_out: Sequence[tuple[int, int]] = (),
        semicolons: bool = False,
    ) -> list[str]:
        hidden = bytearray(self._hidden) if skipped or left_out else self._hidden
        for decorator in skipped:
            start = self._decorator(decorator)
            end = self._texts.index(LINE, self._range(decorator)[1]) + 1
            hidden[start:end] = b"\1" * (end - start)
        for start, end in left_out:
            hidden[start:end] = b"\1" * (end - start)
        parts: list[str] = []
        depth = 0
        opening = ""
        for index in range(*self._range(node)):
            text = self._texts[index]
            if hidden[index] or (text == LINE and (not parts or parts[-1][0] == LINE)):
                continue
            depth += (text == INDENT) - (text == DEDENT)
            if semicolons:
                if not parts or parts[-1][0] == LINE:
                    opening = text
                elif text == LINE and opening in BLOCKS:
                    line, column = self._starts[index]
                    if self._lines[line - 1][column : column + 1] == ";":
                        text = ";"
            parts.append(text)
        while parts and parts[-1] == LINE:
            parts.pop()
        return [*parts, *[DEDENT] * depth]

    def _range(self, node: ast.AST) -> tuple[int, int]:
        """Give the indices of a node's first token and of the one after its last."""
        if not isinstance(node, (ast.stmt, ast.expr, ast.arg)):  # the module
            return 0, len(self._texts)
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
