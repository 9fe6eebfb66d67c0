"""Captured values: what the free variables of a nested function hold, as statements."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from plxnix.codehash import STAGE_DECORATORS
from plxnix.codehash.library import is_own
from plxnix.codehash.names import Use
from plxnix.errors import InvalidValue
from plxnix.purecode.pieces import Pieces
from plxnix.purecode.spelling import literal, spell


class Captured:
    """The statements (`lines`) that bind the free variables of a function, and what these use.

    Literals are assigned, modules and what is at the top of them imported, nested functions
    written down with their own variables. The names of all are in one scope.
    """

    def __init__(self, program: Pieces, function: FunctionType, uses: Sequence[Use]) -> None:
        self.program = program
        self.lines: list[str] = []
        self._values: dict[str, Any] = {}
        self._globals: set[str] = set()
        self._function = function
        self._take(function, uses)
        if clash := sorted(self._globals & self._values.keys()):
            raise self._ambiguous(clash[0])

    def _ambiguous(self, name: str) -> InvalidValue:
        return InvalidValue(
            f"{self.program.label} uses two variables called {name!r}, in different scopes",
            "give one of them another name",
        )

    def _take(self, function: FunctionType, uses: Sequence[Use]) -> None:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        free = [use for use in uses if use.imported is not None or use.name not in cells]
        self._globals.update(use.name for use in free if use.imported is None)
        self.program.later(self.program.home, free)
        for name, cell in cells.items():
            try:
                value = cell.cell_contents
            except ValueError:
                raise InvalidValue(
                    f"{self.program.label} uses the variable {name!r}, which has no value yet",
                    "use the stage after all that it uses is there",
                ) from None
            if name not in self._values:
                self._values[name] = value
                self._bind(name, value, [use for use in uses if use.name == name])
            elif self._values[name] is not value:
                raise self._ambiguous(name)

    def _bind(self, name: str, value: Any, uses: Sequence[Use]) -> None:
        text = literal(value)
        inner = getattr(value, "function", None)
        if value is self._function or inner is self._function:
            return  # It calls itself.
        if text is not None:
            self.lines.append(f"{name} = {text}")
        elif issubclass(type(value), ModuleType):
            self.program.check(value.__name__, self.program.home, name)
            self.program.ensure(value.__name__)
            for use in uses:
                self.program.attribute(value.__name__, use.attributes)
            self.lines.append(f"import {value.__name__} as {name}")
        else:
            self._definition(name, value)

    def _definition(self, name: str, value: Any) -> None:
        module, qualname = (str(getattr(value, one, "")) for one in ("__module__", "__qualname__"))
        if self._is_at_top(name, value, module, qualname):
            return
        home = self.program.home
        is_here = module == self._function.__module__ and is_own(home.filename)
        node: ast.AST | None = None
        if is_here and isinstance(value, FunctionType) and not hasattr(value, "__wrapped__"):
            place = home.places.get((home.line(value.__code__), value.__code__.co_name))
            node = None if place is None or place.owner else place.node
        elif is_here and isinstance(value, type):
            found = home.classes.get(qualname, ())
            node = found[0] if len(found) == 1 else None
        if node is None:
            raise self.program.refused(name, value, "the variable")
        uses = home.read(node, STAGE_DECORATORS)[1]
        self.program.imports_within(home, node)
        if isinstance(value, FunctionType):
            self._take(value, uses)
        else:
            methods = [one for one in vars(value).values() if type(one) is FunctionType]
            names = {one for method in methods for one in method.__code__.co_freevars}
            for method in methods:
                if "__class__" not in method.__code__.co_freevars:
                    self._take(method, [use for use in uses if use.name in names])
            free = [use for use in uses if use.name not in names]
            self._globals.update(use.name for use in free if use.imported is None)
            self.program.later(home, free)
        text = spell(home.tokens(node, STAGE_DECORATORS)).rstrip("\n")
        self.lines += text.split("\n")
        defined = getattr(node, "name", name)
        if defined != name:
            self.lines.append(f"{name} = {defined}")

    def _is_at_top(self, name: str, value: Any, module: str, qualname: str) -> bool:
        """Bind a name to what is at the top of a module, if `value` is that; tell whether it is.

        Not by its own name alone: what `functools.wraps` made has the name of another.
        """
        if module != self._function.__module__:
            module = module if module in sys.modules else "builtins"
            if qualname and getattr(sys.modules[module], qualname, None) is value:
                self.program.check(module, self.program.home, name)
                self.program.attribute(module, (qualname,))
                self.lines.append(f"from {module} import {qualname} as {name}")
                return True
        scope = self._function.__globals__
        found = next((one for one in (qualname, *scope) if scope.get(one) is value), None)
        if found is None:
            return False
        self.program.later(self.program.home, [Use(found, ())])
        if name != found:
            self._globals.add(found)
            self.lines.append(f"{name} = {found}")
        return True
