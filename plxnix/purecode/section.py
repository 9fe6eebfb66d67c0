"""Sections of a program: the lines that one module has in it, by their place in the source."""

from __future__ import annotations

import ast
from bisect import bisect_right
from typing import Any

from plxnix.codehash.units import Unit

#: Where in a module a line stands that is no statement of it: before all others, or after them.
FIRST, SECOND, LAST = (0, 0), (0, 1), (1 << 62, 0)


class Section:
    """One module in the program: its lines by their place in the source."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.names: set[str] = set()
        self.lines: dict[tuple[tuple[int, int], str], None] = {}
        self.starts = [start_of(node) for node in unit.tree.body]

    def top(self, node: ast.AST) -> ast.stmt:
        """Give the statement at the top of the module that a node is in."""
        return self.unit.tree.body[bisect_right(self.starts, start_of(node)) - 1]

    def add(self, place: tuple[int, int], line: str) -> None:
        self.lines[place, line] = None

    def text(self) -> str:
        blocks = ("@", "def ", "class ", "async ")
        lines = [line for _, line in sorted(self.lines)]
        return "".join(f"\n{line}" if line.startswith(blocks) else line for line in lines)


def start_of(node: Any) -> tuple[int, int]:
    """Return where a statement begins, with its decorators."""
    lines = [node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))]
    return min(lines), 0 if len(lines) > 1 else node.col_offset
