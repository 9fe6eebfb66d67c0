"""Places: `REF/PATH` as it is written on the command line, and what is there on the disk."""

from __future__ import annotations

import os
import stat
from io import FileIO
from typing import Any

from plxnix.errors import NotInStore
from plxnix.model import DRef, RefPath, RRef
from plxnix.references import resolve_one, resolve_realization
from plxnix.store import Store
from plxnix.store.tree import open_file


def split(store: Store, text: str) -> tuple[DRef | RRef | None, str, str]:
    """Split `REF/PATH`: the reference if it is known by that, its text, and the path.

    A path on the disk (absolute, or starting with a dot) is split where the realization ends.
    """
    if text.startswith(("/", ".")):
        found = resolve_one(store, text)
        if isinstance(found, DRef):
            return found, text, ""
        top = os.path.realpath(store.path(found))
        folder, name = os.path.split(os.path.abspath(text))
        real = os.path.join(os.path.realpath(folder), name)
        rest = os.path.relpath(real, top)
        if rest.startswith(".."):  # a link to the realization
            rest = os.path.relpath(os.path.realpath(text), top)
        return found, text, "" if rest == "." else rest
    head, _, rest = text.partition("/")
    return None, head, rest.strip("/")


def find_place(store: Store, text: str, latest: bool) -> tuple[RRef, str]:
    """Return the realization that `REF/PATH` is in, and the path on the disk."""
    head, name, rest = split(store, text)
    rref = resolve_realization(store, name if head is None else head, latest)
    return rref, inside(store, rref, rest)


def inside(store: Store, rref: RRef, rest: str) -> str:
    place = store.path(rref)
    if not rest:
        return place
    RefPath.make(rref.dref, [rest])
    place = os.path.join(place, rest)
    if not os.path.lexists(place):
        raise NotInStore(
            f"{rref} has no file {rest!r}", f"`plxnix ls {rref}` lists what it has", rref
        )
    return place


def open_inside(store: Store, place: str) -> FileIO:
    """Open a file for reading; raise `NotInStore` for a link that leads elsewhere, `OSError`."""
    real = os.path.realpath(place)
    if not real.startswith(os.path.realpath(store.root) + os.sep):
        raise NotInStore(
            f"{place!r} is a link that leads out of the store, to {real!r}",
            "read it there if that is what you want",
        )
    return open_file(real)


def entries(place: str) -> list[dict[str, Any]]:
    """Return what is below a folder, each folder before what is in it, or the file itself."""
    if not os.path.isdir(place) or os.path.islink(place):
        return [_entry(place, os.path.basename(place))]
    found = []
    for folder, folders, files in os.walk(place):
        below = os.path.relpath(folder, place)
        for name in (*folders, *files):
            relative = os.path.normpath(os.path.join(below, name))
            found.append(_entry(os.path.join(folder, name), relative))
    return sorted(found, key=lambda entry: entry["path"].split("/"))


def _entry(path: str, name: str) -> dict[str, Any]:
    found = os.lstat(path)
    regular = stat.S_ISREG(found.st_mode)
    return {
        "path": name + "/" if stat.S_ISDIR(found.st_mode) else name,
        "size": found.st_size if regular else None,
        "executable": regular and bool(found.st_mode & 0o100),
        "target": os.readlink(path) if stat.S_ISLNK(found.st_mode) else None,
    }
