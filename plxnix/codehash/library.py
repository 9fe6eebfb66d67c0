"""The library: source files of the user's own modules, found and read without importing them."""

from __future__ import annotations

import functools
import linecache
import os
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import plxnix
from plxnix.codehash.tokens import UNREADABLE, decoded
from plxnix.codehash.units import Unit
from plxnix.errors import CodeHashError
from plxnix.snapshots import kept

HINT = 'put the function into a file, or pass `version="..."` to autostage'


class Library:
    """The units of this process, one a file.

    A file is read when it is first needed (one with stages is as it was when the first of them was
    made), and read again only when its module has been loaded
    again (`importlib.reload`, a second `runpy`): as the code in memory does not follow an edit of
    the file, its hash does not either. A module that is not loaded is read again when it changes.
    `changes` counts how often something was forgotten.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._units: dict[str, Unit] = {}
        self._modules: dict[str, Unit | None] = {}
        self._namespaces: dict[str, dict[str, Any] | None] = {}
        self._path: list[str] = []

    def refresh(self) -> None:
        """Forget what has changed since it was read; costs a look at each module."""
        moved = any(loaded(name) is not was for name, was in self._namespaces.items())
        if moved or sys.path != self._path:  # a name may now be another module's
            self._forget()
        namespaces = self._namespaces.copy()  # the loop may drop what it has found
        for name, unit in self._modules.copy().items():
            if unit is None or unit.filename.startswith("<namespace "):
                continue
            namespace = namespaces[name]
            if namespace is not None and not unit.knows(namespace):
                self.unit(unit.filename, namespace)
            elif not unit.is_loaded and _stamp(unit.filename) != unit.stamp:
                self._forget(unit)

    def unit(self, filename: str, namespace: Mapping[str, Any] | None, package: str = "") -> Unit:
        """Give the unit of a file, as the module with that namespace (if it is loaded) has it.

        Raises `CodeHashError` if there is no such source.
        """
        key = os.path.realpath(filename) if os.path.isfile(filename) else filename
        unit = self._units.get(key)
        if unit and (namespace is None or (unit.fixed and unit.knows(namespace))):
            return unit
        fixed = os.path.isfile(key) or (namespace or {}).get("__file__") == filename
        stamp = _stamp(key)
        text = _text(key, namespace)
        if unit is None or unit.text != text:
            if unit is not None:
                self._forget(unit)
            unit = self._units[key] = Unit(key, text, package, fixed)
            unit.stamp = stamp
        if namespace is not None:
            unit.package = unit.package or _package(namespace)
            unit.learn(namespace)
        return unit

    def module(self, name: str) -> Unit | None:
        """Find the user's own module of that name; `None` if it is another's, or not there."""
        if name not in self._modules:
            self._modules[name] = None  # also what a package that is looked for in itself finds
            self._modules[name] = self._find(name)
            # Reading an edited file forgets all names, with this one.
            self._namespaces.setdefault(name, loaded(name))
        return self._modules[name]

    def is_external(self, name: str) -> bool:
        """Whether a module is loaded, and not the user's own."""
        return name != "__main__" and name in sys.modules and self.module(name) is None

    def _find(self, name: str) -> Unit | None:
        namespace = self._namespaces[name] = loaded(name)
        parent = name.rpartition(".")[0]
        if namespace is not None:
            filename, search = namespace.get("__file__"), namespace.get("__path__")
        else:
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
        elif isinstance(filename, str) and is_own(filename):
            unit = self.unit(filename, namespace, parent if search is None else name)
        else:
            return None
        unit.search = None if search is None else list(search)
        return unit

    def _forget(self, unit: Unit | None = None) -> None:
        """Drop a unit, and what was found by way of it: what names of modules stand for."""
        if unit is not None:
            self._units.pop(unit.filename, None)
        self._modules.clear()
        self._namespaces.clear()
        self._path = [*sys.path]
        self.changes += 1


def loaded(name: str) -> dict[str, Any] | None:
    """Give the namespace of a module that this process has loaded."""
    module = sys.modules.get(name)
    if not issubclass(type(module), ModuleType):  # `isinstance` would ask the object
        return None
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace


@functools.lru_cache(maxsize=4096)
def is_own(filename: str) -> bool:
    """Whether a source file is the user's own: not of Python, an installed package or plxnix."""
    if filename.startswith("<frozen ") or filename.endswith((".so", ".pyd", ".pyc")):
        return False
    path = os.path.realpath(filename)
    installed = {"site-packages", "dist-packages"} & set(path.split(os.sep))
    return not installed and not path.startswith(_installed())


@functools.lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [os.path.realpath(path) for path in (*paths, *plxnix.__path__) if path]
    return tuple(f"{folder}{os.sep}" for folder in folders)


def _package(namespace: Mapping[str, Any]) -> str:
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
    snapshot = kept(filename, namespace) if namespace else None
    try:
        if snapshot is not None:
            return decoded(snapshot.data)
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
        raise CodeHashError(f"there is no source {filename}", HINT)
    return "".join(lines)
