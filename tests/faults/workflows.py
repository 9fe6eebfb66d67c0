"""Four workflows that the faults are tried on: small, whole, and with a known result each.

A workflow works on the store at `<place>/store`. Whatever fault it met, running it once more on the
same place has to give its result.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plxnix import (
    Registry,
    Store,
    build_path,
    build_wrapper,
    fetchurl,
    instantiate,
    match_latest,
    match_only,
    mkdrv,
    realize,
    selfref,
    unpack,
)
from plxnix.errors import StoreError
from plxnix.store import Fsync, tree
from plxnix.store.gc import collect, plan_gc
from plxnix.store.roots import add_root
from plxnix.store.verify import Damage, verify
from tests.archive_trees import file, folder, symlink, tar_bytes


def store_of(place: str) -> str:
    """Return where a workflow has its store."""
    return f"{place}/store"


def archive_of(place: str) -> str:
    """Return the archive that is fetched; it lies beside the places, so that all have one URL."""
    return f"{os.path.dirname(place)}/source.tar"


def write_archive(place: str) -> None:
    """Write the archive, unless another place has done so."""
    path = Path(archive_of(place))
    if not path.exists():
        members = [folder("dir"), file("dir/run", b"#!/bin/sh\n", 0o755), symlink("link", "dir")]
        path.write_bytes(tar_bytes(*members, file("data", b"data" * 3000)))


def _chain(build: Any) -> None:
    print("made", build.dref.name)
    for number, out in enumerate(build.outpaths):
        (out / "dir").mkdir()
        (out / "dir" / "run").write_text(f"{number}" * 10)
        (out / "dir" / "run").chmod(0o755)
        (out / "out").write_text(build.dref.name * 500 + str(number))
        (out / "link").symlink_to("dir/run")


def _stages() -> str:
    below = mkdrv({"name": "below", "out": [selfref, "out"]}, match_only(), build_wrapper(_chain))

    def above(build: Any) -> None:
        assert build_path(build, [below, "out"]).read_text().startswith("below")
        _chain(build)

    return mkdrv(
        {"name": "above", "data": [below, "out"]}, match_latest(3), build_wrapper(above, 3)
    )


def _fetched(place: str) -> Callable[[], str]:
    def stages() -> str:
        digest = hashlib.sha256(Path(archive_of(place)).read_bytes()).hexdigest()
        return unpack(fetchurl(url=f"file://{archive_of(place)}", sha256=digest, mode=""))

    return stages


def _run_instantiate(place: str, fsync: Fsync) -> list[str]:
    """Write the configs of two stages, as `plxnix instantiate` does."""
    store = Store.init(store_of(place), fsync)
    closure = instantiate(_stages, registry=Registry(store))
    return [store.restore(derivation.config) for derivation in closure.derivations.values()]


def _run_realize(place: str, fsync: Fsync) -> list[str]:
    """Realize a stage, and another with three outputs that is made from it."""
    registry = Registry(Store.init(store_of(place), fsync))
    return _looked_at(registry.store, sorted(realize(instantiate(_stages, registry=registry))))


def _run_many(place: str, fsync: Fsync) -> list[str]:
    """Realize a stage with many files."""

    def many(build: Any) -> None:
        for number in range(100):
            (build.outpaths[0] / str(number)).write_text(str(number) * 20)
        if fsync is not Fsync.NONE:
            os.sync()  # Where the machine has much to write, files are flushed one by one.

    def stages() -> str:
        return mkdrv({"name": "many"}, match_only(), build_wrapper(many))

    registry = Registry(Store.init(store_of(place), fsync))
    return _looked_at(registry.store, [realize(instantiate(stages, registry=registry))])


def _run_fetch(place: str, fsync: Fsync) -> list[str]:
    """Fetch an archive and unpack it."""
    registry = Registry(Store.init(store_of(place), fsync))
    return _looked_at(registry.store, [realize(instantiate(_fetched(place), registry=registry))])


def _looked_at(store: Store, rrefs: list[str]) -> list[str]:
    """Look at all realizations, as who works with them does: what was left open is closed."""
    for dref in store.derivations():
        for rref in store.realizations(dref):
            store.path(rref)
    return rrefs


def _run_gc(place: str, fsync: Fsync) -> list[str]:
    """Delete what the root does not keep; return what is there afterwards."""
    store = Store(store_of(place), fsync)
    done = collect(store, plan_gc(store))
    stuck = [why for why in done.kept.values() if why.startswith("it cannot be deleted")]
    if stuck:  # The rest is gone, and the user is told of these.
        raise StoreError(f"{len(stuck)} stay: {stuck[0]}")
    return sorted(rref for dref in store.derivations() for rref in store.realizations(dref))


def _nothing(place: str) -> None:
    """Prepare nothing."""


def _prepare_gc(place: str) -> None:
    _run_realize(place, Fsync.FULL)
    (fetched,) = _run_fetch(place, Fsync.FULL)
    add_root(Store(store_of(place)), f"{store_of(place)}/gcroots/fetched", fetched)


@dataclass(frozen=True)
class Workflow:
    """One workflow: what is done before the fault, what meets it, whether it makes realizations."""

    name: str
    prepare: Callable[[str], object]
    run: Callable[[str, Fsync], list[str]]


WORKFLOWS = (
    Workflow("instantiate", _nothing, _run_instantiate),
    Workflow("realize", _nothing, _run_realize),
    Workflow("fetch", _nothing, _run_fetch),
    Workflow("gc", _prepare_gc, _run_gc),
)

#: So many files that the file system is flushed as a whole; where each call fails, four will do.
MANY = Workflow("many", _nothing, _run_many)


def complete(workflow: Workflow, place: str, fsync: Fsync = Fsync.NONE) -> list[str]:
    """Run a workflow as a process of its own would, which removes its session when it exits."""
    try:
        return workflow.run(place, fsync)
    finally:
        close(place)


def close(place: str) -> None:
    """End the session of this process in a store, as the interpreter does when it exits."""
    if os.path.isdir(f"{store_of(place)}/tmp"):
        with suppress(StoreError):  # Where nothing can be written there is nothing to end.
            Store(store_of(place)).session().close()


def damages(place: str) -> list[Damage]:
    """Return the damage in the store of a workflow, none if there is no store yet."""
    if not os.path.exists(f"{store_of(place)}/version"):
        return []
    return list(verify(Store(store_of(place))))


def harm(place: str) -> list[str]:
    """Return the damage that a reader could notice.

    A realization that is not sealed is whole: its top folder has to be writable to be moved.
    """
    found = []
    for damage in damages(place):
        unsealed = damage.rref is not None and os.path.basename(damage.path) == damage.rref.rhash
        if not damage.harmless and not (damage.kind == "mode" and unsealed):
            found.append(f"{damage.kind}: {damage.message}")
    return found


def leftovers(place: str) -> list[str]:
    """Return unfinished work that nobody goes on with."""
    return [f"tmp/{name}" for name in os.listdir(f"{store_of(place)}/tmp")]


def copy(source: str, target: str) -> None:
    """Copy a place; roots in the store lead into the copy."""
    shutil.copytree(source, target, symlinks=True)
    for root in Path(store_of(target)).glob("gcroots/*"):
        if root.is_symlink():
            kept = os.readlink(root).replace(source, target)
            root.unlink()
            root.symlink_to(kept)


def remove(place: str) -> None:
    """Remove a place."""
    tree.remove(place)


__all__ = ["MANY", "WORKFLOWS", "Workflow", "complete", "copy", "damages", "harm", "leftovers"]
