"""Shell functions with the signatures of Pylightnix: see `plxnix.shell_functions`.

`context.json` and the times, which Pylightnix keeps among the artifacts, are listed and can be
read, though they are in the record here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from typing import Any

from plxnix import shell_functions as native
from plxnix.compat.pylightnix.derivations import instantiate
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.functions import START, STOP
from plxnix.compat.pylightnix.names import rref2dref
from plxnix.compat.pylightnix.questions import rrefbstart, rrefbstop, rrefctx
from plxnix.compat.pylightnix.storage import store_of
from plxnix.compat.pylightnix.types import Build, DRef, Path, RefPath, RRef, Stage, StorageSettings
from plxnix.errors import InvalidReference
from plxnix.model import isdref, isrref
from plxnix.store.roots import force_link

Settings = StorageSettings | None


def lsdref_(r: DRef, S: Settings = None) -> Iterator[str]:
    """Yield the names in the folder of a derivation: its config's, and hashes of realizations."""
    with door():
        store_of(S).config(r)
        yield "config.json"
        yield from native.lsref(r, store=store_of(S))


def lsrref_(r: RRef, fn: list[str] = [], S: Settings = None) -> Iterator[str]:
    """Yield the names in a folder of a realization."""
    with door():
        found = native.lsref(r, fn, store_of(S))
        yield from found
        if not fn:
            yield from sorted(set(_beside(r, S)) - set(found))


def lsrref(r: RRef, fn: list[str] = [], S: Settings = None) -> list[str]:
    """Return the names in a folder of a realization."""
    return list(lsrref_(r, fn, S))


def lsref(r: RRef | DRef, S: Settings = None) -> list[str]:
    """Return the hashes of the realizations of a derivation, or the names in a realization."""
    if isrref(r):
        return lsrref(RRef(r), S=S)
    if isdref(r):
        return list(lsdref_(DRef(r), S))
    return refuse(f"not a reference: {r!r}", "`alldrefs` lists derivations", InvalidReference)


def catrref_(r: RRef, fn: list[str], S: Settings = None) -> Iterator[str]:
    """Yield the lines of a file of a realization."""
    with door():
        beside = _beside(r, S)
        if len(fn) == 1 and fn[0] in beside:
            path = os.path.join(store_of(S).path(r), fn[0])
            if not os.path.exists(path):
                yield from beside[fn[0]].splitlines(True)
                return
        yield from native.catref(r, fn, store_of(S))


def catref(r: RRef | RefPath | Path, fn: list[str] = [], S: Settings = None) -> list[str]:
    """Return the lines of a file: of a realization and the way to it, or of a path."""
    if isinstance(r, str) and os.path.isfile(r):
        with open(r) as file:
            return file.readlines()
    if isrref(r):
        return list(catrref_(RRef(str(r)), fn, S))
    return refuse(f"neither a realization nor a file: {r!r}", "", InvalidReference)


@door()
def rmref(r: RRef | DRef, S: Settings = None) -> None:
    """Remove a realization, or a derivation with its realizations, whatever depends on it."""
    native.rmref(r, store_of(S), force=True)


@door()
def shell(r: RRef | DRef | Build | Path | str | None = None, S: Settings = None) -> None:
    """Run `$SHELL` in the folder of a reference, a build or a path, else in the store's."""
    place: Any = r
    if isinstance(r, Build):
        if r.outpaths is None or not r.outpaths.val:
            refuse(f"{r.dref} has no output folders yet")
        place = r.outpaths.val[0]
    native.shell(place, store_of(S))


def shellref(r: RRef | DRef | None = None, S: Settings = None) -> None:
    """Run `$SHELL` in the folder of a reference: see `shell`."""
    shell(r, S)


@door()
def du(S: Settings = None) -> dict[DRef, tuple[int, dict[RRef, int]]]:
    """Return the size of each derivation, and those of its realizations, in bytes."""
    return {
        DRef(dref): (total, {RRef(rref): size for rref, size in sizes.items()})
        for dref, (total, sizes) in native.du(store_of(S)).items()
    }


@door()
def find(
    name: Stage | str | None = None, newer: float | None = None, S: Settings = None
) -> list[RRef]:
    """Return the realizations whose name fits a pattern, or is a stage's, and that are newer.

    `newer` is in seconds since the epoch; zero and negative numbers count back from now.
    """
    if name is not None and not isinstance(name, str):
        name = str(_target(name, S).name)
    return [RRef(rref) for rref in native.find(name, newer, store=store_of(S))]


@door()
def diff(stageA: RRef | DRef | Stage, stageB: RRef | DRef | Stage, S: Settings = None) -> None:
    """Print how the configs of two references or stages differ."""
    a, b = _target(stageA, S), _target(stageB, S)
    for line in unified_diff(_config(a, S), _config(b, S), a, b, lineterm=""):
        print(line)


@door()
def linkrref(
    rref: RRef, destdir: Path | None = None, format: str = "_rref_%(T)s_%(N)s", S: Settings = None
) -> Path:
    """Make a link to a realization, and return its path; one that is there is replaced.

    In `format`, `%(T)s` is the time when the build was started, `%(N)s` the name.
    """
    values = {"T": rrefbstart(rref, S), "N": rref2dref(rref).name}
    return _link(store_of(S).path(rref), destdir, format % values)


@door()
def linkdref(
    dref: DRef, destdir: Path | None = None, format: str = "_rref_%(N)s", S: Settings = None
) -> Path:
    """Make a link to a derivation, and return its path; one that is there is replaced."""
    store = store_of(S)
    name = store.config(dref).name
    return _link(store.layout.derivation(DRef(dref)), destdir, format % {"N": name})


def linkrrefs(
    rrefs: Iterable[RRef],
    destdir: Path | None = None,
    format: str = "_rref_%(T)s_%(N)s",
    S: Settings = None,
) -> list[Path]:
    """Make a link to each realization: see `linkrref`."""
    return [linkrref(rref, destdir, format, S) for rref in rrefs]


def _link(target: str, destdir: Path | None, name: str) -> Path:
    folder = "." if destdir is None else str(destdir)
    place = os.path.join(folder, name)
    os.makedirs(os.path.dirname(os.path.abspath(place)), exist_ok=True)
    force_link(os.path.relpath(target, os.path.realpath(os.path.dirname(place) or ".")), place)
    return Path(place)


def _beside(r: RRef, S: Settings) -> dict[str, str]:
    """Return what Pylightnix would have among the artifacts: names and texts."""
    context = json.dumps(rrefctx(r, S), indent=4)
    return {"context.json": context, START: rrefbstart(r, S), STOP: rrefbstop(r, S)}


def _target(one: RRef | DRef | Stage, S: Settings) -> DRef:
    if isrref(one):
        return rref2dref(RRef(str(one)))
    if isdref(one):
        return DRef(str(one))
    targets = instantiate(one, S=S)[1].targets
    check(len(targets) == 1, f"the stage has {len(targets)} targets, and not one")
    return targets[0]


def _config(dref: DRef, S: Settings) -> list[str]:
    value = store_of(S).config(dref).value()
    return json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False).splitlines()


__all__ = [
    "catref",
    "catrref_",
    "diff",
    "du",
    "find",
    "linkdref",
    "linkrref",
    "linkrrefs",
    "lsdref_",
    "lsref",
    "lsrref",
    "lsrref_",
    "rmref",
    "shell",
    "shellref",
]
