"""Pieces: what a function uses, module by module.

Pieces are statements at the top of the user's own modules, found by reading as for the hash of
code. A statement under `if`, `try`, `with` or `for` goes along with the whole of it. Imports are
taken apart, so that only the names that are used are imported.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from typing import Any

import plxnix
from plxnix.codehash import STAGE_DECORATORS
from plxnix.codehash.definitions import absolute, is_dunder
from plxnix.codehash.library import Library
from plxnix.codehash.names import Import, Use, imports
from plxnix.codehash.pieces import collected
from plxnix.codehash.units import Unit
from plxnix.errors import InvalidValue
from plxnix.purecode.notebook import Notebook
from plxnix.purecode.section import FIRST, SECOND, Section, start_of
from plxnix.purecode.spelling import literal, spell


class Pieces:
    """Collects the pieces that a function uses; `home` is its module, and `node` its source."""

    def __init__(
        self,
        library: Library,
        label: str,
        home: Unit,
        node: ast.AST,
        namespace: Mapping[str, Any],
    ) -> None:
        self.library = library
        self.label = label
        self.home = home
        self.node = node
        self.namespace = namespace
        self.sections: dict[Unit, Section] = {}
        self._seen: set[object] = set()
        self._waiting: list[tuple[Unit, Use]] = []

    def follow(self) -> None:
        """Take along all that is used, by what is used as well."""
        while self._waiting:
            unit, use = self._waiting.pop()
            self.use(unit, use)

    def section(self, unit: Unit) -> Section:
        """Give the section of a unit."""
        if unit not in self.sections:
            section = self.sections[unit] = Section(unit)
            for node in unit.tree.body:
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    names = sorted(alias.name for alias in node.names)
                    section.add(FIRST, f"from __future__ import {', '.join(names)}\n")
        return self.sections[unit]

    def later(self, unit: Unit, uses: Sequence[Use]) -> None:
        """Note uses of names that are looked up in a module."""
        self._waiting += [(unit, use) for use in uses]

    def use(self, unit: Unit, use: Use) -> None:
        """Take along what a global name stands for."""
        if use.imported is not None:
            self._follow(unit, use.imported, use.attributes)
            return
        if use.name == "__file__":
            raise InvalidValue(
                f"{self.label} uses __file__, in {unit.label}: where a pure stage runs there is "
                "only its code",
                "make the files next to it a stage, as by fetchlocal, and take it as a parameter",
            )
        if self._lives(unit, use.name):
            return
        if self.named(unit, use.name, use.attributes) or is_dunder(use.name):
            return
        if unit is self.home and use.name in self.namespace and not hasattr(builtins, use.name):
            text = literal(self.namespace[use.name])
            if text is None:
                raise self.refused(use.name, self.namespace[use.name], "the global")
            self.section(unit).add(SECOND, f"{use.name} = {text}\n")

    def _lives(self, unit: Unit, name: str) -> bool:
        """Take along what a name of a notebook stands for now, if that is no matter of its text.

        The order in which cells ran, and what was run again, cannot be seen in their texts.
        """
        if not isinstance(unit, Notebook) or name not in self.namespace or is_dunder(name):
            return False
        value = self.namespace[name]
        statement, text = unit.statement(value), literal(value)
        if statement is not None and value.__name__ == name:
            self._statement(unit, self.section(unit).top(statement))
        elif text is not None:
            self.section(unit).add(SECOND, f"{name} = {text}\n")
        else:
            return False
        return True

    def named(self, unit: Unit, name: str, attributes: tuple[str, ...] | None) -> bool:
        """Take along what binds a global name; with no `attributes`, it has to be bound only."""
        key = (unit, name, attributes)
        if key in self._seen:
            return True
        section = self.section(unit)
        pieces = unit.pieces.named.get(name, ())
        if pieces:
            self._seen.add(key)
        for piece in pieces:
            top = section.top(piece.node)
            if top is not piece.node or piece.imported is None:
                self._statement(unit, top)
            else:
                self._import(unit, top, name)
            if piece.imported is not None:
                self._follow(unit, piece.imported, attributes)
        return bool(pieces) or (not is_dunder(name) and self._starred(unit, name, attributes))

    def _starred(self, unit: Unit, name: str, attributes: tuple[str, ...] | None) -> bool:
        others = False
        for node in reversed(unit.tree.body):
            if not isinstance(node, ast.ImportFrom) or node.names[0].name != "*":
                continue
            module = absolute(unit, Import(node.module or "", node.level, None))
            found = self.library.module(module)
            if found is not None and self.named(found, name, attributes):
                self.ensure(module)
                self.section(unit).add(start_of(node), f"from {module} import {name}\n")
                return True
            if module == "plxnix" and name not in vars(plxnix)["__all__"]:
                continue
            if found is None and not hasattr(builtins, name):
                self.check(module, unit, "*")
                self.section(unit).add(start_of(node), f"from {module} import *\n")
                others = True
        return others

    def _statement(self, unit: Unit, top: ast.stmt) -> None:
        if top in self._seen or top is self.node:
            return
        self._seen.add(top)
        if isinstance(top, ast.If) and not top.orelse and _is_for_types(top.test):
            return
        self.section(unit).add(start_of(top), spell(unit.tokens(top, STAGE_DECORATORS)))
        self.later(unit, unit.read(top, STAGE_DECORATORS)[1])
        self.imports_within(unit, top)

    def imports_within(self, unit: Unit, node: ast.AST) -> None:
        """See to it that the imports in a statement work."""
        for inner in ast.walk(node):
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                for name, imported in imports(inner):
                    module = absolute(unit, imported)
                    self.check(module, unit, name)
                    self._follow(unit, imported, None)
                if isinstance(inner, ast.Import):
                    for alias in inner.names:
                        self.ensure(alias.name)

    def _import(self, unit: Unit, node: Any, name: str) -> None:
        """Add the import of one name."""
        for alias in node.names:
            bound = alias.asname or alias.name
            suffix = f" as {alias.asname}" if alias.asname else ""
            if isinstance(node, ast.ImportFrom):
                module = absolute(unit, Import(node.module or "", node.level, None))
                line = f"from {module} import {alias.name}{suffix}\n"
            else:
                bound = alias.asname or alias.name.partition(".")[0]
                module, line = alias.name, f"import {alias.name}{suffix}\n"
            if bound == name:
                self.check(module, unit, name)
                self.ensure(module)
                self.section(unit).add(start_of(node), line)

    def _follow(self, unit: Unit, imported: Import, attributes: tuple[str, ...] | None) -> None:
        module = absolute(unit, imported)
        if imported.name is None:
            self.ensure(module)
            if attributes is not None:
                self.attribute(module, attributes)
        elif attributes is not None:
            self.attribute(module, (imported.name, *attributes))
        elif (found := self.library.module(module)) is not None:
            self.ensure(module)
            if not self.named(found, imported.name, None):
                self.ensure(f"{module}.{imported.name}")

    def attribute(self, module: str, names: tuple[str, ...]) -> None:
        """Take along what attributes of a module stand for: `pkg.module.function`."""
        unit = self.library.module(module)
        if unit is None:
            return
        self.ensure(module)
        if not names:
            self._whole(unit)
            return
        first, rest = names[0], names[1:]
        if not unit.filename.startswith("<namespace "):
            if collected(first) in unit.pieces.named:
                self.named(unit, collected(first), ())
            if self.named(unit, first, rest) or is_dunder(first):
                return
            if unit.search is None or self.library.module(f"{module}.{first}") is None:
                if not self.named(unit, "__getattr__", ()):
                    self._whole(unit)
                return
        self.attribute(f"{module}.{first}", rest)

    def _whole(self, unit: Unit) -> None:
        """Take along all of a module that is used as an object."""
        if unit in self._seen:
            return
        self._seen.add(unit)
        for top in unit.tree.body:
            if isinstance(top, (ast.Import, ast.ImportFrom)):
                for name, imported in imports(top):
                    module = absolute(unit, imported)
                    if module.partition(".")[0] not in ("plxnix", "__future__") and name != "*":
                        self.named(unit, name, None)
            elif not (isinstance(top, ast.If) and "__name__" in ast.dump(top.test)):
                self._statement(unit, top)

    def ensure(self, module: str) -> None:
        """See to it that a module of the user's can be imported, with the packages above it."""
        while module:
            unit = self.library.module(module)
            if unit is None:
                return
            self.section(unit).names.add(module)
            module = module.rpartition(".")[0]

    def check(self, module: str, unit: Unit, name: str) -> None:
        """Refuse what is plxnix's: it is not there where the stage runs."""
        if module.partition(".")[0] == "plxnix":
            raise InvalidValue(
                f"{self.label} uses {name}, which {unit.label} imports from {module}: where a pure "
                "stage runs there is no plxnix",
                "what stages need of it they get as parameters",
            )

    def refused(self, name: str, value: object, what: str) -> InvalidValue:
        """Make the error for a value that cannot go along."""
        kind = type(value)
        spelled = (
            kind.__name__
            if kind.__module__ == "builtins"
            else (f"{kind.__module__}.{kind.__name__}")
        )
        return InvalidValue(
            f"{self.label} uses {what} {name!r}, of type {spelled}, which is no literal: "
            "a pure stage is made of source only",
            f"pass {name} as a parameter of the stage, or make it in the function or by a "
            "statement at the top of a module",
        )


def _is_for_types(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))
