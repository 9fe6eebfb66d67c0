"""Snapshots: source files as they were when stages were made in them.

The code of a stage is hashed when the stage is first used. An edit of its file before that is not
what the process runs, so the text is kept from the time that the module ran. Once a module costs a
read of its file, later stages in it a few look-ups. The snapshots are with the module's globals, as
those of `warnings` are, and go when the module goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from inspect import unwrap
from types import CodeType, FunctionType
from typing import Any, NamedTuple

NAME = "__plxnix_snapshots__"


class Snapshot(NamedTuple):
    """The bytes of a file, with what tells one run of a module from the next.

    A module that is reloaded gets another `spec`; a script that is run again in the same globals,
    as notebooks do, makes another code object of the same function.
    """

    path: str
    data: bytes
    spec: object
    codes: dict[str, CodeType]


def keep(function: Callable[..., object]) -> None:
    """Keep the source file of a function, unless this run of its module has been kept before."""
    if hasattr(function, "__wrapped__"):
        function = unwrap(function)
    if type(function) is not FunctionType:
        return
    code, namespace, name = function.__code__, function.__globals__, function.__qualname__
    snapshots = namespace.setdefault(NAME, {})
    last = snapshots.get(code.co_filename)
    spec = namespace.get("__spec__")
    if last is not None and last.spec is spec and last.codes.setdefault(name, code) is code:
        return
    try:
        path = os.path.realpath(code.co_filename)
        with open(path, "rb") as file:
            snapshots[code.co_filename] = Snapshot(path, file.read(), spec, {name: code})
    except (OSError, ValueError):
        snapshots.pop(code.co_filename, None)  # no file: a cell, a doctest


def kept(path: str, namespace: Mapping[str, Any]) -> Snapshot | None:
    """Give the snapshot of a file, by its real path, for the latest run in a namespace."""
    spec = namespace.get("__spec__")
    for snapshot in namespace.get(NAME, {}).values():
        if snapshot.path == path and snapshot.spec is spec:
            found: Snapshot = snapshot
            return found
    return None
