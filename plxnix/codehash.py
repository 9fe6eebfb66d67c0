"""The hash of code: a function's source with all that it uses of the user's own modules.

What is found is a graph of definitions. It is found by reading, never by running: names are looked
up in the source of the modules, and only what source does not tell (what a closure holds, what a
cell of a notebook sees) is looked up in the objects. Of Python, of installed packages and of plxnix
itself only the names count.

Not seen are names made at run time (`getattr(module, name)`, `globals()[name]`, `eval`), the type
of an object that a parameter receives unless it is annotated, and data files. `sourcedeps` of
`autostage` adds what is missing.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, TypeVar

from plxnix.errors import CodeHashError

if TYPE_CHECKING:
    import ast

    from plxnix.sources import Import, Library, Unit, Use

__all__ = ["codehash", "explain"]

#: Decorators that make a stage: their arguments are in its config, so they are not code.
STAGE_DECORATORS = frozenset({"autostage", "autostage_", "autodrv", "autodrv_"})

DESCRIPTORS = (
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)

HINT = 'put the function into a file, or pass `version="..."` to autostage'

T = TypeVar("T")

_lock = threading.RLock()
_graphs: dict[frozenset[str], _Graph] = {}


def codehash(
    objects: Sequence[object], *, skip_decorators: frozenset[str] = STAGE_DECORATORS
) -> str:
    """Hash the code of `objects`, in their order: 64 hex digits of SHA-256.

    An object is a function, class, method, `functools.partial`, callable or module; a `Path`
    (contents of a file or folder; of a `.py` file only what matters); or a plain value, which
    stands for itself (a `str` is a version tag). Comments, layout, docstrings, quotes and the
    decorators in `skip_decorators` do not count. The hash is the same in every process, on every
    machine and on Python 3.10 to 3.13, whether a file was run or imported.

    A module is parsed once, in time linear in its text, and read again only after it was
    reloaded: an edit of the file that the process has not loaded changes nothing.
    Raises `CodeHashError` where there is no source.
    """
    return _run(objects, skip_decorators, _combined)


def explain(
    objects: Sequence[object], *, skip_decorators: frozenset[str] = STAGE_DECORATORS
) -> list[tuple[str, str]]:
    """List all that `codehash` covers: name and 12 hex digits for its own text, without the rest.

    The objects come first, what they use follows in an order that depends on nothing but the code.
    Names in other modules than the first object's have that module's last name before them.
    """
    return _run(objects, skip_decorators, _listed)


def _run(
    objects: Sequence[object],
    skip: frozenset[str],
    finish: Callable[[list[Node]], T],
) -> T:
    with _lock:
        graph = _graphs.get(skip)
        if graph is None:
            graph = _graphs.setdefault(skip, _Graph(skip))
        try:
            while True:
                changes = graph.library.changes
                result = finish(graph.roots(objects))
                if graph.library.changes == changes:
                    return result
                # A module turned out to have been loaded again, so some nodes are of its past.
        except RecursionError as error:
            raise CodeHashError(
                "the code or the values in it are nested too deeply to be hashed",
                'a list that contains itself is such a value; pass `version="..."` to autostage',
            ) from error


# -- nodes -------------------------------------------------------------------------------------


class Node:
    """One definition or value: its own text, and links to what it uses, each under a name."""

    __slots__ = ("_find", "_links", "body", "digest", "label", "unit")

    def __init__(
        self,
        body: str | bytes,
        find: Callable[[], Iterator[tuple[str, Node]]] | None = None,
        label: str = "",
        unit: Unit | None = None,
    ) -> None:
        self.body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        self.label = label
        self.unit = unit
        self.digest: bytes | None = None
        self._find = find
        self._links: list[tuple[str, Node]] | None = None

    @property
    def links(self) -> list[tuple[str, Node]]:
        """What the node uses; found when first asked for."""
        if self._links is None:
            self._links = list(self._find()) if self._find else []
        return self._links


def _digest(*parts: bytes) -> bytes:
    state = hashlib.sha256()
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def _combined(roots: Sequence[Node]) -> str:
    for root in roots:
        if root.digest is None:
            _settle(root)
    return _digest(b"plxnix code 1", *(root.digest or b"" for root in roots)).hex()


def _settle(root: Node) -> None:
    """Give a digest to every node below, by Tarjan's algorithm; linear in nodes and links.

    A node that is in no cycle is hashed with the digests of what it links to. Those of a cycle are
    hashed together, in an order that does not depend on where the cycle was entered.
    """
    order: dict[Node, int] = {root: 0}
    low: dict[Node, int] = {root: 0}
    path = [root]
    waiting = [(root, iter(root.links))]
    while waiting:
        node, links = waiting[-1]
        for _, target in links:
            if target.digest is not None:
                continue
            if target not in order:
                order[target] = low[target] = len(order)
                path.append(target)
                waiting.append((target, iter(target.links)))
                break
            low[node] = min(low[node], order[target])
        else:
            waiting.pop()
            if waiting:
                above = waiting[-1][0]
                low[above] = min(low[above], low[node])
            if low[node] == order[node]:
                cycle = [path.pop()]
                while cycle[-1] is not node:
                    cycle.append(path.pop())
                _close(cycle)


def _close(cycle: list[Node]) -> None:
    """Hash nodes that reach one another: each by itself, then with its neighbours, then all."""
    alone = {
        node: _digest(
            node.body,
            *(part for name, to in node.links for part in (name.encode(), to.digest or b"")),
        )
        for node in cycle
    }
    if len(cycle) == 1:
        cycle[0].digest = alone[cycle[0]]
        return
    near = {
        node: _digest(alone[node], *(alone.get(to, b"") for _, to in node.links)) for node in cycle
    }
    whole = _digest(*sorted(near.values()))
    for node in cycle:
        node.digest = _digest(whole, near[node])


def _listed(roots: Sequence[Node]) -> list[tuple[str, str]]:
    home = next((root.unit for root in roots if root.unit), None)
    found: list[tuple[str, str]] = []
    seen: set[Node] = set()
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if home is None:
            home = node.unit
        if node.label:
            outside = node.unit is not None and node.unit is not home
            name = f"{node.unit.label}.{node.label}" if outside and node.unit else node.label
            found.append((name, _digest(node.body).hex()[:12]))
        stack.extend(node for _, node in reversed(node.links))
    return found


# -- what objects and names stand for ----------------------------------------------------------


class _Graph:
    """The nodes of this process, for one set of decorators that do not count.

    Those that source alone decides are kept (`_fixed`); those that hold values of this moment
    are made anew for each call (`_live`, by identity, with the object kept alive beside).
    """

    def __init__(self, skip: frozenset[str]) -> None:
        from plxnix.sources import Library

        self.skip = skip
        self.library: Library = Library()
        self._changes = 0
        self._fixed: dict[object, Node] = {}
        self._live: dict[object, tuple[Node, object]] = {}

    def roots(self, objects: Sequence[object]) -> list[Node]:
        self._live = {}
        self.library.refresh()
        if self.library.changes != self._changes:
            self._changes = self.library.changes
            self._fixed.clear()
        return [self._root(item) for item in objects]

    def _root(self, item: object) -> Node:
        if issubclass(type(item), PurePath):
            return _path_node(Path(str(item)))
        return self.describe(item, "")

    # objects

    def describe(self, item: Any, label: str) -> Node:
        """Give the node of any object; `label` is for values, which have no name of their own."""
        value = _literal(item)
        if value is not None:
            return Node(f"value\0{value}", label=label)
        key = id(item)
        if key not in self._live:
            self._live[key] = (self._object(item, label), item)
        return self._live[key][0]

    def _object(self, item: Any, label: str) -> Node:
        kind = type(item)
        if issubclass(kind, ModuleType):
            return self._module_object(item, ())
        if kind is FunctionType:
            return self._function(item)
        if kind is MethodType:
            owner = item.__self__ if issubclass(type(item.__self__), type) else type(item.__self__)
            return self._group("method", [item.__func__, owner], label)
        if issubclass(kind, partial):
            values = [partial.func.__get__(item), partial.args.__get__(item)]
            values.append(partial.keywords.__get__(item))
            return self._group("partial", values, label)
        if kind in (staticmethod, classmethod):
            return self._group(kind.__name__, [item.__func__], label)
        if kind is property:
            return self._group("property", [item.fget, item.fset, item.fdel], label)
        if issubclass(kind, type):
            return self._class(item)
        if kind is BuiltinFunctionType:
            owner = item.__self__
            if owner is None or issubclass(type(owner), ModuleType):
                return _external(f"{str(item.__module__).partition('.')[0]}.{item.__qualname__}")
            owner = owner if issubclass(type(owner), type) else type(owner)
            return self._group(f"builtin {item.__name__}", [owner], label)
        if kind in DESCRIPTORS:
            return self._group(f"builtin {item.__name__}", [item.__objclass__], label)
        if kind in (list, tuple):
            return self._group(kind.__name__, item, label)
        if kind is dict and all(_literal(name) is not None for name in item):
            names = sorted(item, key=lambda name: _literal(name) or "")
            body = "dict\0" + "\0".join(_literal(name) or "" for name in names)
            return self._group(body, [item[name] for name in names], label)
        return self._instance(item, label)

    def _group(self, body: str, parts: Sequence[object], label: str) -> Node:
        def find() -> Iterator[tuple[str, Node]]:
            for index, part in enumerate(parts):
                yield str(index), self.describe(part, f"{label}[{index}]" if label else "")

        return Node(f"group\0{body}", find)

    def _instance(self, item: object, label: str) -> Node:
        import enum
        from inspect import getattr_static

        wrapped = getattr_static(item, "__wrapped__", None)
        kind = type(item)

        def find() -> Iterator[tuple[str, Node]]:
            yield "class", self.describe(kind, "")
            if wrapped is not None:
                yield "wrapped", self.describe(wrapped, "")

        name = getattr_static(item, "_name_", "") if issubclass(kind, enum.Enum) else ""
        given = getattr_static(kind, "__name__", None)
        if type(given) in (GetSetDescriptorType, MemberDescriptorType):
            try:  # functions of extension modules, as `numpy.add`; a getter in C is no user code
                name = given.__get__(item)
            except (AttributeError, TypeError):
                name = ""
        return Node(f"instance\0{name if type(name) is str else ''}", find, label)

    def _function(self, function: FunctionType) -> Node:
        code, namespace = function.__code__, function.__globals__
        wrapped = function.__dict__.get("__wrapped__")
        if not self._is_own(code.co_filename, namespace):
            name = code.co_name if wrapped is not None else function.__qualname__
            label = f"{str(namespace.get('__name__', '')).partition('.')[0]}.{name}"
            return _external(label, () if wrapped is None else [self.describe(wrapped, "")])
        try:
            unit = self.library.unit(code.co_filename, namespace)
        except CodeHashError as error:
            raise CodeHashError(f"{function.__qualname__}: {error.message}", HINT) from error
        if code.co_name == "<lambda>":
            qualname, owner = "<lambda>", None
            nodes: Sequence[ast.AST] = _lambda(unit, code.co_firstlineno)
        else:
            place = unit.places.get((code.co_firstlineno, code.co_name))
            nodes = [place.node] if place else []
            qualname, owner = (place.qualname, place.owner) if place else ("", None)
        if not nodes:
            raise CodeHashError(
                f"the function {function.__qualname__} is not on line {code.co_firstlineno} of "
                f"{unit.filename}: the source has changed since it was loaded",
                'start again, or pass `version="..."` to autostage',
            )
        free = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        simple = len(nodes) == 1 and qualname != "<lambda>" and "<locals>" not in qualname
        if unit.fixed and simple and not free.keys() - {"__class__"} and wrapped is None:
            return self._statement(unit, nodes[0], qualname, owner)
        uses = self._uses(unit, nodes)
        values: list[object] = []
        if not simple:  # the defaults may come from names that no longer exist
            values = [function.__defaults__, function.__kwdefaults__]

        def find() -> Iterator[tuple[str, Node]]:
            for use in uses:
                cell = free.get(use.name) if use.imported is None else None
                if cell is None:
                    targets = self._resolve(unit, namespace, use)
                else:
                    targets = self._cell(cell, use, qualname)
                yield from ((use.text, target) for target in targets)
            for index, value in enumerate(values):
                yield f"default {index}", self.describe(value, "")
            if owner is not None:
                yield "class", self._statement(unit, owner, _qualname(unit, owner), None)
            if wrapped is not None:
                yield "wrapped", self.describe(wrapped, "")

        body = "\0\0".join(unit.read(node, self.skip)[0] for node in nodes)
        return Node(f"code\0{body}", find, qualname, unit)

    def _uses(self, unit: Unit, nodes: Sequence[ast.AST]) -> list[Use]:
        from plxnix.sources import use_order

        return sorted({use for n in nodes for use in unit.read(n, self.skip)[1]}, key=use_order)

    def _cell(self, cell: Any, use: Use, qualname: str) -> list[Node]:
        try:
            value = cell.cell_contents
        except ValueError:
            return [Node("empty")]
        if issubclass(type(value), ModuleType):
            return [self._module_object(value, use.attributes)]
        return [self.describe(value, f"{qualname}.{use.name}")]

    def _is_own(self, filename: str, namespace: Mapping[str, Any]) -> bool:
        from plxnix.sources import is_own

        if not filename.startswith("<"):
            return is_own(filename)
        # Made by `exec`: as the module that did it.
        name = str(namespace.get("__name__", ""))
        outside = name != "__main__" and name in sys.modules and self.library.module(name) is None
        return not outside and is_own(filename)

    def _class(self, kind: type) -> Node:
        members: Mapping[str, Any] = type.__dict__["__dict__"].__get__(kind)
        qualname: str = type.__dict__["__qualname__"].__get__(kind)
        module = str(members.get("__module__", ""))
        methods = [
            item
            for item in members.values()
            if type(item) is FunctionType and item.__qualname__.startswith(f"{qualname}.")
        ]
        if module != "__main__" and module in sys.modules and self.library.module(module) is None:
            return _external(f"{module.partition('.')[0]}.{qualname}")
        unit, namespace = self._class_unit(module, qualname, methods)
        if unit is None:
            return self._unwritten(kind, qualname, self.library.module(module))
        nodes = unit.classes[qualname]
        if unit.fixed and len(nodes) == 1 and "<locals>" not in qualname:
            return self._statement(unit, nodes[0], qualname, None)
        free: dict[str, Any] = {}
        for method in methods:
            if os.path.realpath(method.__code__.co_filename).endswith(unit.filename):
                free.update(zip(method.__code__.co_freevars, method.__closure__ or (), strict=True))

        def find() -> Iterator[tuple[str, Node]]:
            for use in self._uses(unit, nodes):
                if use.name in free and use.imported is None:
                    targets = self._cell(free[use.name], use, qualname)
                else:
                    targets = self._resolve(unit, namespace, use)
                yield from ((use.text, target) for target in targets)

        body = "\0\0".join(unit.read(node, self.skip)[0] for node in nodes)
        return Node(f"code\0{body}", find, qualname, unit)

    def _class_unit(
        self, module: str, qualname: str, methods: Sequence[FunctionType]
    ) -> tuple[Unit | None, Mapping[str, Any]]:
        """Find the source with the class statement: where its methods are, or its module's.

        A class without methods is looked for in the cells of a notebook too, the last one first.
        """
        import linecache

        from plxnix.sources import loaded

        namespace: Mapping[str, Any] = loaded(module) or {}
        places: list[tuple[str, Mapping[str, Any]]] = [
            (method.__code__.co_filename, method.__globals__) for method in methods
        ]
        home = self.library.module(module)
        if home is not None:
            places.append((home.filename, namespace))
        if module == "__main__":
            cells = [n for n in reversed(list(linecache.cache)) if not os.path.isfile(n)]
            places += [(name, namespace) for name in cells]
        for filename, scope in places:
            try:
                unit = self.library.unit(filename, scope)
            except CodeHashError:
                continue  # generated, as by `dataclass`; or not Python
            if qualname in unit.classes:
                return unit, scope
        return None, namespace

    def _unwritten(self, kind: type, qualname: str, unit: Unit | None) -> Node:
        """Describe a class that no class statement made: by its assignment, or by its parts."""
        found = self._named(unit, qualname, (), frozenset()) if unit is not None else []
        if found:
            return Node(f"class\0{qualname}", lambda: iter([(qualname, node) for node in found]))
        members = type.__dict__["__dict__"].__get__(kind)
        parts = {
            name: item
            for name, item in members.items()
            if type(item) is FunctionType or not _is_dunder(name)
        }
        bases = type.__dict__["__bases__"].__get__(kind)
        return self._group(f"class\0{qualname}", [*bases, dict(parts)], "")

    def _module_object(self, module: ModuleType, attributes: tuple[str, ...]) -> Node:
        name = str(object.__getattribute__(module, "__dict__").get("__name__", ""))
        if name == "__main__" and self.library.module(name) is None:
            raise CodeHashError("the module __main__ has no source file", HINT)
        parts = self._chain(name, attributes, frozenset())
        return (
            parts[0] if len(parts) == 1 else Node("parts", lambda: iter([("", p) for p in parts]))
        )

    # source

    def _statement(
        self, unit: Unit, node: ast.AST, label: str, owner: ast.AST | None, kind: str = "code"
    ) -> Node:
        """Give the node of a part of a file, which its source alone decides."""
        key = (unit, node, kind)
        if key not in self._fixed:
            body, uses = unit.read(node, self.skip)

            def find() -> Iterator[tuple[str, Node]]:
                for use in uses:
                    yield from ((use.text, to) for to in self._resolve(unit, None, use))
                if owner is not None:
                    yield "class", self._statement(unit, owner, _qualname(unit, owner), None)

            if kind != "code":  # a condition
                label = f"{kind} {body.replace(chr(0), ' ')}"[:40]
            self._fixed[key] = Node(f"{kind}\0{body}", find, label, unit)
        return self._fixed[key]

    def _resolve(self, unit: Unit, namespace: Mapping[str, Any] | None, use: Use) -> list[Node]:
        """Find what a global name stands for: in the source, or for a cell in its namespace."""
        if use.imported is not None:
            return self._imported(unit, use.imported, use.attributes, frozenset())
        if not unit.fixed and namespace and use.name in namespace and not _is_dunder(use.name):
            value = namespace[use.name]
            if issubclass(type(value), ModuleType):
                return [self._module_object(value, use.attributes)]
            node = self.describe(value, use.name)
            # Of an object only the class is known; how it was made may be told in the same cell.
            told = node.body.startswith(b"instance") and use.name in unit.bindings
            return [node, *self._named(unit, use.name, (), frozenset())] if told else [node]
        return self._named(unit, use.name, use.attributes, frozenset())

    def _named(
        self, unit: Unit, name: str, attributes: tuple[str, ...], seen: frozenset[object]
    ) -> list[Node]:
        if (unit, name) in seen:
            return []
        seen |= {(unit, name)}
        found: list[Node] = []
        for piece in unit.bindings.get(name, ()):
            for kind, test in piece.conditions:
                if test is None:
                    found.append(Node(kind))
                else:
                    found.append(self._statement(unit, test, "", None, kind))
            if piece.imported is not None:
                found += self._imported(unit, piece.imported, attributes, seen)
            else:
                found.append(self._statement(unit, piece.node, piece.label, None))
        if not found and not _is_dunder(name):
            for star in reversed(unit.stars):
                module = self._absolute(unit, star)
                source = self.library.module(module)
                if source is None:  # it may have the name
                    found.append(_external(".".join((module, name, *attributes))))
                elif inside := self._named(source, name, attributes, seen):
                    found += inside
                    break
        return found

    def _imported(
        self, unit: Unit, imported: Import, attributes: tuple[str, ...], seen: frozenset[object]
    ) -> list[Node]:
        names = attributes if imported.name is None else (imported.name, *attributes)
        return self._chain(self._absolute(unit, imported), names, seen)

    def _absolute(self, unit: Unit, imported: Import) -> str:
        """Give the full name of the module that an import names."""
        package = unit.package.split(".") if unit.package else []
        if not imported.level or imported.level > len(package):
            return "." * imported.level + imported.module
        package = package[: len(package) - imported.level + 1]
        return ".".join((*package, imported.module) if imported.module else package)

    def _chain(self, module: str, names: tuple[str, ...], seen: frozenset[object]) -> list[Node]:
        """Follow attributes from a module: `pkg.module.function`."""
        unit = self.library.module(module)
        if unit is None:
            return [_external(".".join((module, *names)))]
        if not names:
            return [self._whole(unit)]
        if unit.filename.startswith("<namespace "):
            return self._chain(f"{module}.{names[0]}", names[1:], seen)
        found = self._named(unit, names[0], names[1:], seen)
        if found or _is_dunder(names[0]):
            return found
        if unit.search is not None and self.library.module(f"{module}.{names[0]}") is not None:
            return self._chain(f"{module}.{names[0]}", names[1:], seen)
        return self._named(unit, "__getattr__", (), seen) or [self._whole(unit)]

    def _whole(self, unit: Unit) -> Node:
        """Give the node of a module that is used as an object: all of it, with what it imports."""
        key = (unit, "whole")
        if key not in self._fixed:
            body, uses = unit.read(unit.tree, self.skip)

            def find() -> Iterator[tuple[str, Node]]:
                for use in uses:
                    yield from ((use.text, to) for to in self._resolve(unit, None, use))
                for name in sorted(unit.bindings):
                    yield from ((name, to) for to in self._named(unit, name, (), frozenset()))
                for star in unit.stars:
                    for to in self._chain(self._absolute(unit, star), (), frozenset()):
                        yield "*", to

            self._fixed[key] = Node(f"module\0{body}", find, unit.label)
        return self._fixed[key]


def _external(name: str, wrapped: Sequence[Node] = ()) -> Node:
    return Node(f"name\0{name}", lambda: iter([("wrapped", node) for node in wrapped]))


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _qualname(unit: Unit, owner: ast.AST) -> str:
    return next(name for name, nodes in unit.classes.items() if owner in nodes)


def _lambda(unit: Unit, line: int) -> Sequence[ast.Lambda | ast.stmt]:
    """Find the lambda on a line; if it has several, the statements that they are in."""
    found = unit.lambdas(line)
    if len(found) == 1:
        return [found[0][0]]
    return sorted({statement for _, statement in found}, key=lambda node: node.lineno)


def _literal(value: object) -> str | None:
    """Spell a plain value, sorted where it has no order; `None` if it is not plain."""
    kind = type(value)
    if kind is int:
        return f"int {value:x}"
    if value is None or value is Ellipsis or kind in (bool, float, complex, str, bytes):
        return f"{kind.__name__} {value!a}"
    if kind in (list, tuple, set, frozenset):
        items = [_literal(item) for item in value]  # type: ignore[attr-defined]
        if None in items:
            return None
        spelled = [item for item in items if item is not None]
        spelled = sorted(spelled) if kind in (set, frozenset) else spelled
        return f"{kind.__name__} [{', '.join(spelled)}]"
    if kind is dict:
        pairs = [(_literal(k), _literal(v)) for k, v in value.items()]  # type: ignore[attr-defined]
        if any(None in pair for pair in pairs):
            return None
        return f"dict {{{', '.join(sorted(f'{k}: {v}' for k, v in pairs))}}}"
    return None


# -- files -------------------------------------------------------------------------------------


def _path_node(path: Path) -> Node:
    """Hash what is at a path: a file's contents, or those of all files below it by name."""
    try:
        if not path.is_dir():
            return Node(_file_body(path), label=path.name)
        parts: list[bytes] = []
        for folder, folders, files in os.walk(path, onerror=_raise):
            folders[:] = [name for name in folders if name != "__pycache__"]
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in links:
                relative = os.path.relpath(os.path.join(folder, name), path)
                target = os.readlink(os.path.join(folder, name))
                parts.append(_digest(os.fsencode(relative), b"link", os.fsencode(target)))
            for name in files:
                file = Path(folder, name)
                relative = os.path.relpath(file, path)
                parts.append(_digest(os.fsencode(relative), _file_body(file)))
        return Node(b"folder\0" + _digest(*sorted(parts)), label=path.name)
    except (OSError, ValueError) as error:
        raise CodeHashError(
            f"the path {path} cannot be read: {error}", "give a file or a folder that is there"
        ) from error


def _file_body(path: Path) -> bytes:
    from plxnix.sources import UNREADABLE, Unit, decoded

    if not path.is_file():
        raise OSError("it is no file or folder")
    if path.suffix == ".py":
        data = path.read_bytes()
        try:
            unit = Unit(str(path), decoded(data), "", True)
        except (CodeHashError, *UNREADABLE):
            return b"file\0" + hashlib.sha256(data).digest()  # not Python after all
        return b"python\0" + unit.read(unit.tree, frozenset())[0].encode("utf-8", "surrogatepass")
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return b"file\0" + state.digest()


def _raise(error: OSError) -> None:
    raise error
