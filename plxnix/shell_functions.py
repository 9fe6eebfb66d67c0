"""Shell functions: look at what is in a store as one does at files.

Each takes a reference (text will do), a `Build`, or a path on the disk, and the current store if
none is given. They return what they find and print nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from glob import escape
from typing import Any, TypeAlias

from plxnix.comparison import Comparison, compare_references
from plxnix.errors import CorruptEntry, InvalidReference, InvalidValue, NotInStore
from plxnix.links import DREF_LINK_FORMAT, LINK_FORMAT, linkdref, linkrref, linkrrefs
from plxnix.model import DRef, RefPath, RRef, isdref, isrefpath, isrref
from plxnix.realize.build import Build, build_outpaths
from plxnix.realize.registry import Registry, instantiate
from plxnix.references import resolve_realization
from plxnix.store import Store, current_store
from plxnix.store.locks import Waiting
from plxnix.store.removal import remove
from plxnix.store.temproots import check_unused

#: What the functions look at.
Place: TypeAlias = str | os.PathLike[str] | Build


def lsref(place: Place, parts: Sequence[str] = (), store: Store | None = None) -> list[str]:
    """List a place: the hashes of a derivation's realizations, or the names of files, sorted.

    `parts` lead to a folder in a realization. Raises `NotInStore`; `InvalidReference` for what is
    neither a reference nor a folder.
    """
    opened = current_store(store)
    if isdref(place) and not parts:
        dref = DRef(str(place))
        opened.config(dref)
        return [rref.rhash for rref in opened.realizations(dref)]
    return sorted(_listed(_path(place, parts, opened), place))


def catref(
    place: Place | Sequence[str], parts: Sequence[str] = (), store: Store | None = None
) -> list[str]:
    """Return the lines of a text file, with their ends.

    `place` is a realization, and `parts` the way to the file in it; or a refpath, if its derivation
    is realized once; or a file. Raises `NotInStore`, `InvalidReference`.
    """
    opened = current_store(store)
    if isinstance(place, (list, tuple)) and isrefpath([*place]):
        place, parts = resolve_realization(opened, place[0]), [*place[1:], *parts]
    path = _path(place, parts, opened)
    if not os.path.isfile(path):
        raise InvalidReference(
            f"{path} is no file", "name one: catref(rref, ['dir', 'file']); `lsref` lists them"
        )
    with open(path) as file:
        return file.readlines()


def rmref(
    reference: str,
    store: Store | None = None,
    *,
    recursive: bool = False,
    force: bool = False,
    waiting: Waiting | None = None,
) -> None:
    """Remove a realization, or a derivation with its realizations.

    With `recursive` all that depends on it goes too. Raises `StoreError` where something else
    depends on it or a root keeps it, unless `force`, and where a running process works with it;
    `NotInStore`, `InvalidReference`.
    """
    opened = current_store(store)
    named = RRef(reference) if isrref(reference) else DRef.parse(reference)
    if isinstance(named, RRef):
        opened.path(named)
    elif not os.path.isdir(opened.layout.derivation(named)):
        opened.config(named)  # raises NotInStore
    if not force:
        remove(opened, [named], recursive, waiting=waiting)
        return
    with opened.deleting(waiting):
        check_unused(opened.layout, [named.dref if isinstance(named, RRef) else named])
        if isinstance(named, RRef):
            opened.remove([named])
        else:
            opened.remove(opened.realizations(named), [named])


def shell(place: Place | None = None, store: Store | None = None) -> int:
    """Run `$SHELL` (or /bin/sh) in a place, the store's folder if none; return its exit status.

    For a file that is its folder, for a `Build` its first output folder.
    """
    import subprocess

    opened = current_store(store)
    folder = opened.layout.store if place is None else _path(place, (), opened)
    if os.path.isfile(folder):
        folder = os.path.dirname(folder)
    program = os.environ.get("SHELL") or "/bin/sh"
    try:
        return subprocess.run([program], cwd=folder, check=False).returncode
    except OSError as error:
        raise InvalidValue(
            f"the shell {program!r} cannot be run: {error.strerror}", "set SHELL to a program"
        ) from error


def shellref(reference: str | None = None, store: Store | None = None) -> int:
    """Run a shell in the folder of a reference; see `shell`."""
    return shell(reference, store)


def du(store: Store | None = None) -> dict[DRef, tuple[int, dict[RRef, int]]]:
    """Return for each derivation its size and those of its realizations, in bytes.

    A realization counts as its NAR archive; a derivation as those and its config. What is damaged
    counts as nothing.
    """
    opened = current_store(store)
    found = {}
    for dref in opened.derivations():
        sizes = {}
        for rref in opened.realizations(dref):
            record = opened.readable_record(rref)
            sizes[rref] = 0 if record is None else record.nar_size
        try:
            config = os.stat(opened.layout.config(dref)).st_size
        except OSError:
            config = 0
        found[dref] = (sum(sizes.values()) + config, sizes)
    return found


def find(
    name: Any = None,
    newer: float | None = None,
    older: float | None = None,
    where: Mapping[str, Any] | None = None,
    store: Store | None = None,
) -> list[RRef]:
    """Return the realizations that all criteria fit, in the order in which they were started.

    `name` is a pattern with *, ? and [...], or a stage, which stands for its name. `newer` and
    `older` are seconds since the epoch; zero and negative numbers count back from now. `where` has
    values of fields in the config; `model.rate` is a field of an object. Nothing is written. Raises
    `InvalidValue` for a stage of several targets. Cost: one small read for each realization.
    """
    opened = current_store(store)
    pattern = name if name is None or (isinstance(name, str) and not isdref(name)) else None
    if name is not None and pattern is None:
        pattern = escape(_dref(name, opened).name)
    now = time.time()
    limits = [None if one is None else one if one > 0 else now + one for one in (newer, older)]
    found = []
    for dref in opened.derivations():
        if pattern is not None and not fnmatchcase(dref.name, pattern):
            continue
        if where and not _fits(opened, dref, where):
            continue
        for rref in opened.realizations(dref):
            record = opened.readable_record(rref)
            started = 0.0 if record is None else record.started
            if (limits[0] is None or started >= limits[0]) and (
                limits[1] is None or started < limits[1]
            ):
                found.append((started, rref))
    return [rref for _, rref in sorted(found)]


def diff(before: Any, after: Any, store: Store | None = None) -> Comparison:
    """Compare two references or stages: their configs, and if both are realizations, their files.

    The comparison is false if there is no difference; its `lines` tell what there is.
    """
    opened = current_store(store)
    return compare_references(opened, _reference(before, opened), _reference(after, opened))


# -- places ----------------------------------------------------------------------------------------


def _path(place: Any, parts: Sequence[str], store: Store) -> str:
    """Return the path on the disk that is meant."""
    if isrref(place):
        top, head = store.path(str(place)), str(place)
    elif isdref(place):
        store.config(str(place))
        top, head = store.layout.derivation(DRef(str(place))), str(place)
    elif isinstance(place, Build):
        top, head = str(build_outpaths(place)[0]), place.dref
    elif isinstance(place, (str, os.PathLike)) and os.path.exists(place):
        top, head = os.path.abspath(os.fspath(place)), os.fspath(place)
    else:
        raise InvalidReference(
            f"{place!r} is no reference, no build, and no file or folder that is there",
            "`plxnix ls` lists references",
        )
    RefPath.make(head, parts)
    path = os.path.join(top, *parts)
    if not os.path.lexists(path):
        raise NotInStore(f"{head} has no file {'/'.join(parts)!r}", "`lsref` lists what it has")
    return path


def _listed(path: str, place: Place) -> list[str]:
    try:
        return os.listdir(path)
    except NotADirectoryError:
        raise InvalidReference(f"{place!r} is a file", "`catref` reads files") from None


# -- references ------------------------------------------------------------------------------------


def _reference(value: Any, store: Store) -> DRef | RRef:
    return RRef(value) if isrref(value) else _dref(value, store)


def _dref(value: Any, store: Store) -> DRef:
    """Return the derivation of a reference or a stage; nothing is written."""
    if isinstance(value, str):
        return DRef.parse(value)
    closure = instantiate(value, registry=Registry(store))
    if len(closure.targets) != 1:
        raise InvalidValue(
            f"the stage has {len(closure.targets)} targets", "give the reference of one"
        )
    return closure.targets[0]


def _fits(store: Store, dref: DRef, where: Mapping[str, Any]) -> bool:
    try:
        config = store.config(dref)
    except (CorruptEntry, NotInStore):
        return False
    for path, wanted in where.items():
        value: Any = config
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return False
            value = value[key]
        if value != wanted or isinstance(value, bool) is not isinstance(wanted, bool):
            return False
    return True


__all__ = [
    "DREF_LINK_FORMAT",
    "LINK_FORMAT",
    "Place",
    "catref",
    "diff",
    "du",
    "find",
    "linkdref",
    "linkrref",
    "linkrrefs",
    "lsref",
    "rmref",
    "shell",
    "shellref",
]
