"""The program of a function: its source with the pieces that it uses, module by module.

Pieces are statements at the top of the user's own modules, found by reading as for the hash of
code. A statement under `if`, `try`, `with` or `for` goes along with the whole of it. Imports are
taken apart, so that only the names that are used are imported. What is not in the source (what a
closure holds) is in `captured.py`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

from plxnix.codehash import STAGE_DECORATORS
from plxnix.codehash.definitions import absolute, is_dunder
from plxnix.codehash.library import Library
from plxnix.codehash.names import Function, Import, Use, called, imports
from plxnix.codehash.scopes import Reader
from plxnix.codehash.units import Unit
from plxnix.errors import CodeHashError, InvalidValue
from plxnix.purecode.captured import Captured
from plxnix.purecode.spelling import literal, spell

__all__ = ["plain", "program"]

#: Where in a module a line stands that is no statement of it: before all others, or after them.
FIRST, SECOND, LAST = (0, 0), (0, 1), (1 << 62, 0)

_library = Library()
_lock = threading.RLock()


def program(function: Callable[..., object]) -> str:
    """Return the program of a function: text that depends on nothing but its code.

    The first line names the module that has the function as `__stage__`; then come the modules,
    each after a line with its names. Comments, layout, docstrings, annotations and defaults of the
    function's own parameters do not count, nor do decorators of stages.

    Raises `CodeHashError` where there is no source in a file, and `InvalidValue` for what a program
    cannot hold: values of closures that are no literals, names of plxnix, methods, coroutines.
    """
    with _lock:
        while True:
            _library.refresh()
            changes = _library.changes
            text = _Program(_library, function).text()
            if _library.changes == changes:
                return text


class _Section:
    """One module in the program: its lines by their place in the source."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.names: set[str] = set()
        self.lines: dict[tuple[tuple[int, int], str], None] = {}
        self.starts = [_start(node) for node in unit.tree.body]

    def top(self, node: ast.AST) -> ast.stmt:
        """Give the statement at the top of the module that a node is in."""
        return self.unit.tree.body[bisect_right(self.starts, _start(node)) - 1]

    def add(self, place: tuple[int, int], line: str) -> None:
        self.lines[place, line] = None

    def text(self) -> str:
        blocks = ("@", "def ", "class ", "async ")
        lines = [line for _, line in sorted(self.lines)]
        return "".join(f"\n{line}" if line.startswith(blocks) else line for line in lines)


class _Program:
    """Collects the pieces that a function uses."""

    def __init__(self, library: Library, function: Callable[..., object]) -> None:
        self.library = library
        self.sections: dict[Unit, _Section] = {}
        self.label = getattr(function, "__qualname__", repr(function))
        self._seen: set[object] = set()
        self._waiting: list[tuple[Unit, Use]] = []
        bare = plain(function, self.label)
        self.namespace: Mapping[str, Any] = bare.__globals__
        self.home = self._unit(bare)
        self.node: ast.AST = self._find(bare.__code__)
        self._stage(bare, bare is not function)
        while self._waiting:
            unit, use = self._waiting.pop()
            self.use(unit, use)

    def text(self) -> str:
        """Return the program."""
        home = self.section(self.home)
        if not home.names:
            home.names.add(_home_name(self.home))
        mark = "# ===="
        sections = sorted(self.sections.values(), key=lambda one: (one is home, min(one.names)))
        bodies = {one: one.text() for one in sections}
        while any(line.startswith(mark) for b in bodies.values() for line in b.split("\n")):
            mark += "="
        parts = [f"{mark} program {min(home.names)}\n"]
        for one, body in bodies.items():
            unit = one.unit
            package = unit.search is not None or unit.filename.endswith("/__init__.py")
            kind = "package" if package else "module"
            parts.append(f"{mark} {kind} {' '.join(sorted(one.names))}\n{body}")
        return "".join(parts)

    def section(self, unit: Unit) -> _Section:
        """Give the section of a unit."""
        if unit not in self.sections:
            section = self.sections[unit] = _Section(unit)
            for node in unit.tree.body:
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    names = sorted(alias.name for alias in node.names)
                    section.add(FIRST, f"from __future__ import {', '.join(names)}\n")
        return self.sections[unit]

    # the function itself

    def _unit(self, function: FunctionType) -> Unit:
        filename = function.__code__.co_filename
        hint = "put the function into a file: the program of a pure stage is made of source"
        try:
            unit = self.library.unit(filename, function.__globals__)
        except CodeHashError as error:
            raise CodeHashError(f"{self.label}: {error.message}", hint) from error
        if not unit.fixed:
            raise CodeHashError(f"the source of {self.label}, {filename}, is no file", hint)
        return unit

    def _find(self, code: CodeType) -> ast.AST:
        if code.co_name == "<lambda>":
            found = self.home.lambdas(code.co_firstlineno)
            if len(found) == 1 and isinstance(found[0], ast.Lambda):
                return found[0]
            raise InvalidValue(
                f"there is not one lambda on line {code.co_firstlineno} of {self.home.label}",
                "write the stage as a function: def ...",
            )
        place = self.home.places.get((code.co_firstlineno, code.co_name))
        if place is None:
            raise CodeHashError(
                f"the function {self.label} is not on line {code.co_firstlineno} of "
                f"{self.home.filename}: the source has changed since it was loaded",
                "start again",
            )
        if place.owner is not None:
            raise InvalidValue(
                f"{self.label} is a method, which cannot be a pure stage",
                "write a function at the top of a module",
            )
        return place.node

    def _stage(self, function: FunctionType, is_wrapped: bool) -> None:
        node: Any = self.node
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [star for star in (arguments.vararg, arguments.kwarg) if star]
        is_lambda = isinstance(node, ast.Lambda)
        ends = (",", ":") if is_lambda else (",", ")")
        left_out = [self.home.until(self.home.first(one) + 1, ends) for one in given]
        bare = _bare(node)
        if not is_lambda:
            if node.returns is not None:
                left_out.append(self.home.until(self.home.first(node.returns, "->"), (":",)))
            dropped = self._dropped(node, is_wrapped)
            for one in node.decorator_list[:dropped]:
                start = self.home.first(one, "@")
                left_out.append((start, self.home.until(start, ("\n",))[1] + 1))
            bare.decorator_list = node.decorator_list[dropped:]
        text = spell(self.home.tokens(node, STAGE_DECORATORS, left_out))
        reader = Reader(self.home.pieces, STAGE_DECORATORS)
        reader.read(bare)
        uses = sorted(reader.uses, key=Use.order)
        self.imports_within(self.home, node)
        captured = Captured(self, function, uses)
        section = self.section(self.home)
        name = "" if is_lambda else node.name
        nested = "<locals>" in function.__qualname__
        if captured.lines or (nested and not is_lambda):
            last = f"return {text}" if is_lambda else f"{text}return {name}\n"
            body = _indented("".join(f"{line}\n" for line in captured.lines) + last)
            section.add(LAST, f"def __closure__():\n{body}__stage__ = __closure__()\n")
        elif is_lambda:
            section.add(LAST, f"__stage__ = {text}")
        else:
            section.add(_start(node), text)
            section.add(LAST, f"__stage__ = {name}\n")

    def _dropped(self, node: Any, is_wrapped: bool) -> int:
        """Count the decorators that do not go along: that of the stage, and those above."""
        decorators = node.decorator_list
        for index, decorator in enumerate(decorators):
            reader = Reader(self.home.pieces, STAGE_DECORATORS)
            bare = _bare(node)
            bare.decorator_list = [decorator]
            reader.read(bare)
            if reader.skipped:
                return index + 1
        if not is_wrapped:  # all of them gave the function itself back
            return len(decorators)
        if not decorators or len(decorators) == 1:
            raise InvalidValue(
                f"the function {self.label} is wrapped by another, and the source does not say how",
                "write the wrapper as a decorator below @autostage(pure=True)",
            )
        outer = called(decorators[0])
        raise InvalidValue(
            f"{ast.unparse(outer)} above {self.label} is not known as a stage's decorator",
            "write @autostage(pure=True, ...) itself",
        )

    # what it uses

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
        if self.named(unit, use.name, use.attributes) or is_dunder(use.name):
            return
        if unit is self.home and use.name in self.namespace and not hasattr(builtins, use.name):
            text = literal(self.namespace[use.name])
            if text is None:
                raise self.refused(use.name, self.namespace[use.name], "the global")
            self.section(unit).add(SECOND, f"{use.name} = {text}\n")

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
                self.section(unit).add(_start(node), f"from {module} import {name}\n")
                return True
            if found is None and not hasattr(builtins, name):
                self.check(module, unit, "*")
                self.section(unit).add(_start(node), f"from {module} import *\n")
                others = True
        return others

    def _statement(self, unit: Unit, top: ast.stmt) -> None:
        if top in self._seen or top is self.node:
            return
        self._seen.add(top)
        if isinstance(top, ast.If) and not top.orelse and _is_for_types(top.test):
            return
        self.section(unit).add(_start(top), spell(unit.tokens(top, STAGE_DECORATORS)))
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
                self.section(unit).add(_start(node), line)

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


def plain(function: Callable[..., object], label: str) -> FunctionType:
    """Return the function as it was written, below its wrappers; raise `InvalidValue` if none."""
    found = inspect.unwrap(function) if callable(function) else function
    if type(found) is not FunctionType or not isinstance(function, FunctionType):
        raise InvalidValue(
            f"{label} is of type {type(function).__name__}, which cannot be a pure stage",
            "write a function: def stage(...): ...",
        )
    if inspect.isgeneratorfunction(found) or found.__code__.co_flags & (
        inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    ):
        raise InvalidValue(
            f"{label} is a coroutine or a generator, which cannot be a pure stage",
            "write a function that runs to its end when it is called",
        )
    return found


def _bare(node: Any) -> Any:
    """Copy a function's node without annotations and defaults."""
    arguments = node.args

    def strip(one: ast.arg) -> ast.arg:
        return ast.arg(arg=one.arg, annotation=None)

    bare = type(node)(**dict(ast.iter_fields(node)))
    bare.args = ast.arguments(
        posonlyargs=[strip(one) for one in arguments.posonlyargs],
        args=[strip(one) for one in arguments.args],
        kwonlyargs=[strip(one) for one in arguments.kwonlyargs],
        vararg=arguments.vararg and strip(arguments.vararg),
        kwarg=arguments.kwarg and strip(arguments.kwarg),
        defaults=[],
        kw_defaults=[None] * len(arguments.kwonlyargs),
    )
    if isinstance(node, Function):
        bare.returns = None
    return bare


def _start(node: Any) -> tuple[int, int]:
    lines = [node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))]
    return min(lines), 0 if len(lines) > 1 else node.col_offset


def _indented(text: str) -> str:
    """Indent lines of source, but not those within a literal of several lines."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(f"def f():\n{_shifted(text, set())}")):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and node.end_lineno is not None:
            inside.update(range(node.lineno, node.end_lineno))
    return _shifted(text, inside)


def _shifted(text: str, inside: set[int]) -> str:
    lines = text.rstrip("\n").split("\n")
    return "".join(
        f"{'' if number in inside else '    '}{line}\n" for number, line in enumerate(lines, 1)
    )


def _is_for_types(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _home_name(unit: Unit) -> str:
    """Name the stage's own module, which may have been run as a script, if nothing imports it."""
    if unit.package:
        return unit.package if unit.label == unit.package else f"{unit.package}.{unit.label}"
    return f"stage_{unit.label.replace(' ', '_')}"
