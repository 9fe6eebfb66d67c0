"""Objects: functions, classes and the rest of what a process holds, as nodes.

What source tells is left to `definitions`; here is what it does not: what a closure or an instance
holds, and what the names of a notebook's cell stand for now. No code of the objects is run.
"""

from __future__ import annotations

import ast
import enum
import linecache
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import getattr_static
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from plxnix.codehash.definitions import Definitions, is_dunder
from plxnix.codehash.library import HINT, is_own, loaded
from plxnix.codehash.names import Use
from plxnix.codehash.nodes import Node, external
from plxnix.codehash.units import Unit
from plxnix.codehash.values import GETTERS, composition, spelled
from plxnix.errors import CodeHashError

Links = Iterator[tuple[str, Node]]


class Objects:
    """The nodes of objects, by identity: good for one hash, as objects change."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._library = definitions.library
        self._nodes: dict[int, tuple[Node, object]] = {}  # the object is kept alive

    def describe(self, item: Any, label: str = "") -> Node:
        """Give the node of any object; `label` is for values, which have no name of their own."""
        value = spelled(item)
        if value is not None:
            return Node(f"value\0{value}", label=label)
        key = id(item)
        if key not in self._nodes:
            self._nodes[key] = (self._object(item, label), item)
        return self._nodes[key][0]

    def _object(self, item: Any, label: str) -> Node:
        kind = type(item)
        if kind is FunctionType:
            return self._function(item)
        if issubclass(kind, ModuleType):
            return self._module(item)
        if issubclass(kind, type):
            return self._class(item)
        if kind is BuiltinFunctionType:
            owner = item.__self__
            if owner is None or issubclass(type(owner), ModuleType):
                return external(f"{_top(item.__module__)}.{item.__qualname__}")
        composed = composition(item)
        return self._group(*composed, label) if composed else self._instance(item, label)

    def _group(self, body: str, parts: Sequence[object], label: str = "") -> Node:
        def find() -> Links:
            for index, part in enumerate(parts):
                yield str(index), self.describe(part, f"{label}[{index}]" if label else "")

        return Node(f"group\0{body}", find)

    def _instance(self, item: object, label: str) -> Node:
        """Describe an object by its class, and by its name if it is a member of something."""
        kind = type(item)
        wrapped = getattr_static(item, "__wrapped__", None)

        def find() -> Links:
            yield "class", self.describe(kind)
            if wrapped is not None:
                yield "wrapped", self.describe(wrapped)

        name = getattr_static(item, "_name_", "") if issubclass(kind, enum.Enum) else ""
        given = getattr_static(kind, "__name__", None)
        if type(given) in GETTERS:
            try:  # functions of extension modules, as `numpy.add`; a getter in C is no user code
                name = given.__get__(item)
            except (AttributeError, TypeError):
                name = ""
        return Node(f"instance\0{name if type(name) is str else ''}", find, label)

    def _module(self, module: ModuleType, attributes: tuple[str, ...] = ()) -> Node:
        name = str(object.__getattribute__(module, "__dict__").get("__name__", ""))
        if name == "__main__" and self._library.module(name) is None:
            raise CodeHashError("the module __main__ has no source file", HINT)
        parts = self._definitions.attribute(name, attributes)
        return parts[0] if len(parts) == 1 else Node("parts", lambda: (("", p) for p in parts))

    # functions

    def _function(self, function: FunctionType) -> Node:
        code, namespace = function.__code__, function.__globals__
        wrapped = function.__dict__.get("__wrapped__")
        if not self._is_own(code.co_filename, namespace):
            if wrapped is None:
                return external(f"{_top(namespace.get('__name__', ''))}.{function.__qualname__}")
            name = f"{_top(namespace.get('__name__', ''))}.{code.co_name}"
            return external(name, self.describe(wrapped))
        try:
            unit = self._library.unit(code.co_filename, namespace)
        except CodeHashError as error:
            raise CodeHashError(f"{function.__qualname__}: {error.message}", HINT) from error
        place = unit.places.get((code.co_firstlineno, code.co_name))
        if code.co_name == "<lambda>":
            nodes, qualname, owner = unit.lambdas(code.co_firstlineno), "<lambda>", None
        elif place is not None:
            nodes, qualname, owner = [place.node], place.qualname, place.owner
        else:
            nodes = []
        if not nodes:
            raise CodeHashError(
                f"the function {function.__qualname__} is not on line {code.co_firstlineno} of "
                f"{unit.filename}: the source has changed since it was loaded",
                'start again, or pass `version="..."` to autostage',
            )
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        inner = qualname == "<lambda>" or "<locals>" in qualname
        if unit.fixed and not inner and not cells.keys() - {"__class__"} and wrapped is None:
            return self._definitions.statement(unit, nodes[0], qualname, owner)

        def find() -> Links:
            if inner:  # the defaults may come from names that no longer exist
                yield "default 0", self.describe(function.__defaults__)
                yield "default 1", self.describe(function.__kwdefaults__)
            if owner is not None:
                name = qualname.rpartition(".")[0]
                yield "class", self._definitions.statement(unit, owner, name)
            if wrapped is not None:
                yield "wrapped", self.describe(wrapped)

        return self._code(unit, nodes, qualname, namespace, cells, find)

    def _code(
        self,
        unit: Unit,
        nodes: Sequence[ast.AST],
        qualname: str,
        namespace: Mapping[str, Any],
        cells: Mapping[str, Any],
        more: Callable[[], Links] = lambda: iter(()),
    ) -> Node:
        """Give the node of source that uses values of this moment."""
        read = [unit.read(node, self._definitions.skip) for node in nodes]
        uses = sorted({use for _, uses in read for use in uses}, key=Use.order)

        def find() -> Links:
            for use in uses:
                if use.imported is None and use.name in cells:
                    targets = self._cell(cells[use.name], use, f"{qualname}.{use.name}")
                else:
                    targets = self._resolve(unit, namespace, use)
                yield from ((use.text, target) for target in targets)
            yield from more()

        body = "\0\0".join(text for text, _ in read)
        return Node(f"code\0{body}", find, qualname, unit)

    def _cell(self, cell: Any, use: Use, label: str) -> list[Node]:
        try:
            return [self._value(cell.cell_contents, use, label)]
        except ValueError:
            return [Node("empty")]

    def _value(self, value: Any, use: Use, label: str) -> Node:
        if issubclass(type(value), ModuleType):
            return self._module(value, use.attributes)
        return self.describe(value, label)

    def _resolve(self, unit: Unit, namespace: Mapping[str, Any], use: Use) -> list[Node]:
        """Find what a global name stands for: in the source, or for a cell in its namespace."""
        live = use.imported is None and not unit.fixed and use.name in namespace
        if not live or is_dunder(use.name):
            return self._definitions.resolve(unit, use)
        node = self._value(namespace[use.name], use, use.name)
        # Of an object only the class is known; how it was made may be told in the same cell.
        told = node.body.startswith(b"instance")
        return [node, *(self._definitions.named(unit, use.name) if told else [])]

    def _is_own(self, filename: str, namespace: Mapping[str, Any]) -> bool:
        if filename.startswith("<"):  # made by `exec`: as the module that did it
            name = str(namespace.get("__name__", ""))
            return not self._library.is_external(name) and is_own(filename)
        return is_own(filename)

    # classes

    def _class(self, kind: type) -> Node:
        members = _members(kind)
        qualname: str = type.__dict__["__qualname__"].__get__(kind)
        module = str(members.get("__module__", ""))
        if self._library.is_external(module):
            return external(f"{_top(module)}.{qualname}")
        methods = [
            item
            for item in members.values()
            if type(item) is FunctionType and item.__qualname__.startswith(f"{qualname}.")
        ]
        found = self._class_unit(module, qualname, methods)
        if found is None:
            return self._unwritten(kind, qualname, self._library.module(module))
        unit, namespace = found
        nodes = unit.classes[qualname]
        if unit.fixed and len(nodes) == 1 and "<locals>" not in qualname:
            return self._definitions.statement(unit, nodes[0], qualname)
        cells: dict[str, Any] = {}
        for method in methods:
            if os.path.realpath(method.__code__.co_filename).endswith(unit.filename):
                cells |= zip(method.__code__.co_freevars, method.__closure__ or (), strict=True)
        return self._code(unit, nodes, qualname, namespace, cells)

    def _class_unit(
        self, module: str, qualname: str, methods: Sequence[FunctionType]
    ) -> tuple[Unit, Mapping[str, Any]] | None:
        """Find the source with the class statement: where its methods are, or its module's.

        A class without methods is looked for in the cells of a notebook too, the last one first.
        """
        namespace: Mapping[str, Any] = loaded(module) or {}
        places = [(method.__code__.co_filename, method.__globals__) for method in methods]
        home = self._library.module(module)
        names = [home.filename] if home is not None else []
        if module == "__main__":
            names += [name for name in reversed([*linecache.cache]) if not os.path.isfile(name)]
        for filename, scope in (*places, *((name, namespace) for name in names)):
            try:
                unit = self._library.unit(filename, scope)
            except CodeHashError:
                continue  # generated, as by `dataclass`; or not Python
            if qualname in unit.classes:
                return unit, scope
        return None

    def _unwritten(self, kind: type, qualname: str, unit: Unit | None) -> Node:
        """Describe a class that no class statement made: by its assignment, or by its parts."""
        found = self._definitions.named(unit, qualname) if unit is not None else []
        if found:
            return Node(f"class\0{qualname}", lambda: ((qualname, node) for node in found))
        parts = {
            name: item
            for name, item in _members(kind).items()
            if type(item) is FunctionType or not is_dunder(name)
        }
        bases = type.__dict__["__bases__"].__get__(kind)
        return self._group(f"class\0{qualname}", [*bases, parts])


def _members(kind: type) -> Mapping[str, Any]:
    members: Mapping[str, Any] = type.__dict__["__dict__"].__get__(kind)
    return members


def _top(module: object) -> str:
    return str(module).partition(".")[0]
