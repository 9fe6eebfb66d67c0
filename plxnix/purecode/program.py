"""The program of a function: its source with the pieces that it uses, module by module.

What it uses of modules is found in `pieces.py`; what a closure holds, which is not in the source,
in `captured.py`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from plxnix.codehash import STAGE_DECORATORS
from plxnix.codehash.library import Library
from plxnix.codehash.names import Function, Use, called, parameters
from plxnix.codehash.scopes import Reader
from plxnix.codehash.units import Unit
from plxnix.errors import CodeHashError, InvalidValue
from plxnix.forking import process_lock
from plxnix.purecode.captured import Captured
from plxnix.purecode.notebook import Notebook
from plxnix.purecode.pieces import Pieces
from plxnix.purecode.section import LAST, start_of
from plxnix.purecode.spelling import spell

_library = Library()
_lock = process_lock()


def program(function: Callable[..., object]) -> str:
    """Return the program of a function: text that depends on nothing but its code.

    The first line names the module that has the function as `__stage__`; then come the modules,
    each after a line with its names. Comments, layout, docstrings, annotations and defaults of the
    function's own parameters do not count, nor do decorators of stages.

    Of what was defined in cells of a notebook, the names stand for what they do now.

    Raises `CodeHashError` where there is no source, and `InvalidValue` for what a program
    cannot hold: values of closures that are no literals, names of plxnix, methods, coroutines.
    """
    with _lock:
        while True:
            _library.refresh()
            changes = _library.changes
            text = _Program(_library, function).text()
            if _library.changes == changes:
                return text


class _Program(Pieces):
    """The pieces that a function uses, with the function itself."""

    def __init__(self, library: Library, function: Callable[..., object]) -> None:
        label = getattr(function, "__qualname__", repr(function))
        bare = plain(function, label)
        home = _unit(library, bare, label)
        super().__init__(library, label, home, _find(home, bare.__code__, label), bare.__globals__)
        self._stage(bare, bare is not function)
        self.follow()

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

    def _stage(self, function: FunctionType, is_wrapped: bool) -> None:
        node: Any = self.node
        is_lambda = isinstance(node, ast.Lambda)
        ends = (",", ":") if is_lambda else (",", ")")
        left_out = [
            self.home.until(self.home.first(one) + 1, ends) for one in parameters(node.args)
        ]
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
            section.add(start_of(node), text)
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
        if len(decorators) < 2:
            raise InvalidValue(
                f"the function {self.label} is wrapped by another, and the source does not say how",
                "write the wrapper as a decorator below @autostage(pure=True)",
            )
        outer = called(decorators[0])
        raise InvalidValue(
            f"{ast.unparse(outer)} above {self.label} is not known as a stage's decorator",
            "write @autostage(pure=True, ...) itself",
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


def _unit(library: Library, function: FunctionType, label: str) -> Unit:
    filename = function.__code__.co_filename
    hint = "put the function into a file: the program of a pure stage is made of source"
    try:
        unit = library.unit(filename, function.__globals__)
    except CodeHashError as error:
        raise CodeHashError(f"{label}: {error.message}", hint) from error
    return unit if unit.fixed else Notebook(filename)


def _find(home: Unit, code: CodeType, label: str) -> ast.AST:
    if code.co_name == "<lambda>":
        found = home.lambdas(home.line(code))
        if len(found) == 1 and isinstance(found[0], ast.Lambda):
            return found[0]
        raise InvalidValue(
            f"there is not one lambda on line {code.co_firstlineno} of {home.label}",
            "write the stage as a function: def ...",
        )
    place = home.places.get((home.line(code), code.co_name))
    if place is None:
        raise CodeHashError(
            f"the function {label} is not on line {code.co_firstlineno} of "
            f"{home.filename}: the source has changed since it was loaded",
            "start again",
        )
    if place.owner is not None:
        raise InvalidValue(
            f"{label} is a method, which cannot be a pure stage",
            "write a function at the top of a module",
        )
    return place.node


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


def _home_name(unit: Unit) -> str:
    """Name the stage's own module, which may have been run as a script, if nothing imports it."""
    if unit.package:
        return unit.package if unit.label == unit.package else f"{unit.package}.{unit.label}"
    return f"stage_{unit.label.replace(' ', '_')}"
