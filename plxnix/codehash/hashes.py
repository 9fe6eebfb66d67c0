"""Hashes of code: what is found from some objects, as one hash or as a list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from plxnix.codehash.definitions import Definitions
from plxnix.codehash.nodes import Node, combined, listed
from plxnix.codehash.objects import Objects
from plxnix.codehash.units import Unit
from plxnix.codehash.values import path_node
from plxnix.errors import CodeHashError
from plxnix.forking import process_lock

__all__ = ["STAGE_DECORATORS", "codehash", "explain", "texthashes"]

#: Decorators that make a stage: their arguments are in its config, so they are not code.
STAGE_DECORATORS = frozenset({"autostage", "autostage_", "autodrv", "autodrv_"})

T = TypeVar("T")

_lock = process_lock()
_definitions: dict[frozenset[str], Definitions] = {}


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
    return _found(objects, skip_decorators, combined)


def explain(
    objects: Sequence[object], *, skip_decorators: frozenset[str] = STAGE_DECORATORS
) -> list[tuple[str, str]]:
    """List all that `codehash` covers: name and 12 hex digits for its own text, without the rest.

    The objects come first, what they use follows in an order that depends on nothing but the code.
    Names in other modules than the first object's have that module's last name before them.
    """
    return _found(objects, skip_decorators, listed)


def texthashes(texts: Sequence[str], folder: str) -> list[str]:
    """Hash programs that are to run in a folder, each with what it imports of one's own modules.

    Nothing is imported for that. A text that is not Python has no hash: it is empty.
    """
    with _lock:
        definitions = Definitions(STAGE_DECORATORS)
        hashes = []
        sys.path.insert(0, folder)
        try:
            for text in texts:
                try:
                    unit = Unit("<text>", text, "", True)
                    hashes.append(combined([definitions.whole(unit)]))
                except (CodeHashError, RecursionError):
                    hashes.append("")
        finally:
            sys.path.remove(folder)
        return hashes


def _found(
    objects: Sequence[object], skip: frozenset[str], finish: Callable[[Sequence[Node]], T]
) -> T:
    with _lock:
        definitions = _definitions.setdefault(skip, Definitions(skip))
        library = definitions.library
        try:
            while True:
                definitions.refresh()
                changes = library.changes
                nodes = Objects(definitions)
                result = finish([_root(nodes, item) for item in objects])
                if library.changes == changes:
                    return result
                # A module turned out to have been loaded again, so some nodes are of its past.
        except RecursionError as error:
            raise CodeHashError(
                "the code or the values in it are nested too deeply to be hashed",
                'a list that contains itself is such a value; pass `version="..."` to autostage',
            ) from error


def _root(nodes: Objects, item: object) -> Node:
    if issubclass(type(item), PurePath):
        return path_node(Path(str(item)))
    return nodes.describe(item)
