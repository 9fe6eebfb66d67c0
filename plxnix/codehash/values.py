"""Values: what is hashed by what is in it: plain values, Python's own objects, files, folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    WrapperDescriptorType,
)
from typing import Any

from plxnix.codehash.nodes import Node, digest
from plxnix.codehash.tokens import UNREADABLE, decoded
from plxnix.codehash.units import Unit
from plxnix.errors import CodeHashError

GETTERS = (GetSetDescriptorType, MemberDescriptorType)
DESCRIPTORS = (
    *GETTERS,
    ClassMethodDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)


def spelled(value: Any) -> str | None:
    """Spell a plain value, sorted where it has no order; `None` if it is not plain.

    Plain are `None`, `...`, numbers, texts and bytes, and the containers of Python with nothing
    but plain values in them; not subclasses of those, which are code.
    """
    kind = type(value)
    if kind is int:
        return f"int {value:x}"
    if value is None or value is Ellipsis or kind in (bool, float, complex, str, bytes):
        return f"{kind.__name__} {value!a}"
    if kind in (list, tuple, set, frozenset):
        items = [spelled(item) for item in value]
        texts = [item for item in items if item is not None]
        if len(texts) < len(items):
            return None
        texts = sorted(texts) if kind in (set, frozenset) else texts
        return f"{kind.__name__} [{', '.join(texts)}]"
    if kind is dict:
        pairs = [(spelled(k), spelled(v)) for k, v in value.items()]
        if any(None in pair for pair in pairs):
            return None
        return f"dict {{{', '.join(sorted(f'{k}: {v}' for k, v in pairs))}}}"
    return None


def composition(item: Any) -> tuple[str, Sequence[object]] | None:
    """Give what an object of Python's own is made of: a text for its kind, and its parts."""
    kind = type(item)
    if kind is MethodType:
        return "method", [item.__func__, _class_of(item.__self__)]
    if issubclass(kind, partial):
        fields: Sequence[Any] = (partial.func, partial.args, partial.keywords)
        return "partial", [field.__get__(item) for field in fields]
    if kind in (staticmethod, classmethod):
        return kind.__name__, [item.__func__]
    if kind is property:
        return "property", [item.fget, item.fset, item.fdel]
    if kind is BuiltinFunctionType:
        return f"builtin {item.__name__}", [_class_of(item.__self__)]
    if kind in DESCRIPTORS:
        return f"builtin {item.__name__}", [item.__objclass__]
    if kind in (list, tuple):
        return kind.__name__, item
    if kind is dict:
        spellings = {spelled(name) or "": name for name in item}
        if "" not in spellings:
            names = sorted(spellings)
            return "\0".join(("dict", *names)), [item[spellings[name]] for name in names]
    return None


def path_node(path: Path) -> Node:
    """Hash what is at a path: a file's contents, or those of all files below it by name.

    Links to folders are hashed as links, and `__pycache__` is left out. Raises `CodeHashError`.
    """
    try:
        body = _folder_body(path) if path.is_dir() else _file_body(path)
    except (OSError, ValueError) as error:
        raise CodeHashError(
            f"the path {path} cannot be read: {error}", "give a file or a folder that is there"
        ) from error
    return Node(body, label=path.name)


def _class_of(item: Any) -> type:
    kind: type = item if issubclass(type(item), type) else type(item)
    return kind


def _folder_body(path: Path) -> bytes:
    parts: list[bytes] = []
    for folder, folders, files in os.walk(path, onerror=_raise):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in folders:
            place = Path(folder, name)
            if place.is_symlink():
                target = os.fsencode(os.readlink(place))
                parts.append(digest(os.fsencode(place.relative_to(path)), b"link", target))
        for name in files:
            place = Path(folder, name)
            parts.append(digest(os.fsencode(place.relative_to(path)), _file_body(place)))
    return b"folder\0" + digest(*sorted(parts))


def _file_body(path: Path) -> bytes:
    if not path.is_file():
        raise OSError("it is no file or folder")
    if path.suffix == ".py":
        data = path.read_bytes()
        try:
            unit = Unit(str(path), decoded(data), "", True)
        except (CodeHashError, *UNREADABLE):
            return b"file\0" + sha256(data).digest()  # not Python after all
        return b"python\0" + unit.read(unit.tree, frozenset())[0].encode("utf-8", "surrogatepass")
    state = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return b"file\0" + state.digest()


def _raise(error: OSError) -> None:
    raise error
