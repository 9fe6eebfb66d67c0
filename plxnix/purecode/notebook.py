"""Notebooks: code that was run piece by piece, in cells, as one source text.

The cells are no files; what ran them left their text in `linecache`, as IPython does, and `mdrun`.
"""

from __future__ import annotations

import ast
import linecache
import re
from types import CodeType, FunctionType

from plxnix.codehash.units import Unit

__all__ = ["Notebook"]


class Notebook(Unit):
    """The cells that ran beside one of them, in their order, as one unit."""

    def __init__(self, filename: str) -> None:
        """Join the cells, of which `filename` is one. Raises `CodeHashError`, as `Unit`."""
        family = _family(filename)
        self._offsets: dict[str, int] = {}
        text = ""
        for name in [*linecache.cache]:
            cell = "".join(linecache.getlines(name)) if _family(name) == family else ""
            if _is_code(cell):
                self._offsets[name] = text.count("\n")
                text += cell if cell.endswith("\n") else f"{cell}\n"
        super().__init__("notebook", text, "", True)

    def line(self, code: CodeType) -> int:
        """Return the line on which a function begins that was defined in a cell, else 0."""
        offset = self._offsets.get(code.co_filename)
        return 0 if offset is None else code.co_firstlineno + offset

    def statement(self, value: object) -> ast.AST | None:
        """Return the statement that made a function, if that is at the top of a cell."""
        if not isinstance(value, FunctionType) or hasattr(value, "__wrapped__"):
            return None
        place = self.places.get((self.line(value.__code__), value.__code__.co_name))
        return place.node if place is not None and place.node in self.tree.body else None


def _family(filename: str) -> str:
    """Return what the names of cells have in common: all before their number."""
    return re.split(r"\d", filename, maxsplit=1)[0]


def _is_code(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return bool(text)
