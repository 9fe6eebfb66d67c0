"""Archives of Pylightnix: trees of its store, brought into ours.

There `<hash>-<name>/config.json` is a config, and `<hash>-<name>/<hash>/` a realization with its
whole context in `context.json` and times beside the artifacts. Hashes are other ones here, so that
references in configs and contexts are replaced, dependencies first.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from plxnix.builders.archive import Limits, unpack
from plxnix.config import Config
from plxnix.errors import ArchiveError, PlxnixError
from plxnix.model import DRef, RRef
from plxnix.ordering import dependencies_first
from plxnix.store import Record, Store, tree
from plxnix.store.copying import Progress
from plxnix.store.layout import dref_of
from plxnix.store.publication import publish
from plxnix.store.temproots import Keeping

#: What Pylightnix keeps among the artifacts.
_OWN = re.compile(r"context\.json|group\.json|__[a-z]+__\.txt")

#: How it writes times.
_TIME = "%y%m%d-%H:%M:%S:%f%z"

_MENTION = re.compile(r"dref:[0-9a-f]{32}-[0-9A-Za-z_-]+")
_STORE = re.compile(r"store-v\d+")
_RHASH = re.compile(r"[0-9a-f]{32}")


def is_of_forerunner(parts: list[str]) -> bool:
    """Tell from the name of a member whether an archive may be one of Pylightnix."""
    # Folders of derivations are in that of the store, which is a member where folders are.
    if len(parts) == 1:
        return _STORE.fullmatch(parts[0]) is not None
    return len(parts) > 1 and dref_of(parts[1]) is not None


def unpack_forerunner(
    archive: Path,
    store: Store,
    keeping: Keeping,
    limits: Limits,
    progress: Progress | None = None,
) -> list[RRef]:
    """Bring the realizations of an archive of Pylightnix into a store.

    Returns those that no other one was made from. Each gets the hash that it has here; the hashes
    in the archive are names only. Raises `ArchiveError` for what is missing or damaged in it, and
    what `unpack` raises. What arrives is added to `keeping`. The archive is unpacked next to the
    store.
    """
    top = store.session().file("forerunner")
    try:
        unpack(archive, Path(top), limits=limits)
        return _Import(archive, top, store, keeping, progress).run()
    except RecursionError:
        raise ArchiveError(
            f"archive '{archive}' has a config or context that is nested too deeply",
            "do not trust it; Pylightnix writes none like that",
        ) from None
    finally:
        tree.remove(top)


class _Import:
    """One archive of Pylightnix, unpacked, on its way into a store."""

    def __init__(
        self, archive: Path, top: str, store: Store, keeping: Keeping, progress: Progress | None
    ) -> None:
        self._archive = archive
        self._store = store
        self._keeping = keeping
        self._progress = progress
        #: The folder and the config of each derivation, by the reference that it has there.
        self._folders: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        for folder, below, files in os.walk(top):
            dref = dref_of(os.path.basename(folder))
            if dref is not None and "config.json" in files:
                self._folders[dref] = folder
                self._values[dref] = self._json(f"{folder}/config.json")
                below.clear()
        #: What references are here.
        self._drefs: dict[str, DRef] = {}
        self._rrefs: dict[str, RRef] = {}

    def run(self) -> list[RRef]:
        """Import everything; return what nothing else was made from."""
        used: set[RRef] = set()
        rhashes = {old: _rhashes(folder) for old, folder in self._folders.items()}
        total = sum(map(len, rhashes.values()))
        for old in dependencies_first(sorted(self._values), self._below, self._circle):
            config = self._config(old)
            self._keeping.add([config.dref])
            dref = self._drefs[old] = self._store.restore(config)
            for rhash in rhashes[old]:
                folder = f"{self._folders[old]}/{rhash}"
                record = self._record(config, folder)
                used.update(one for some in record.context.values() for one in some)
                rref = publish(self._store, dref, _bared(folder), record)
                if self._progress is not None:
                    self._progress(len(self._rrefs), total, rref)
                self._rrefs[f"rref:{rhash}-{old[5:]}"] = rref
        if not self._rrefs:
            raise self._wrong("it has no realizations")
        if self._progress is not None:
            self._progress(total, total, "")
        return sorted(set(self._rrefs.values()) - used)

    def _below(self, old: str) -> list[str]:
        """Return what a config refers to."""
        found = sorted(set(_MENTION.findall(json.dumps(self._values[old]))))
        for below in found:
            if below not in self._values:
                raise self._wrong(f"{old} depends on {below}, which is not in it")
        return found

    def _circle(self, way: list[str]) -> ArchiveError:
        return self._wrong(f"{way[0]} depends on itself through {way[-2]}")

    def _config(self, old: str) -> Config:
        try:
            return Config(_replaced(self._values[old], self._drefs))
        except PlxnixError as error:
            raise self._wrong(f"the config of {old} cannot be taken over: {error}") from error

    def _record(self, config: Config, folder: str) -> Record:
        started, stopped = (_time(f"{folder}/__build{what}__.txt") for what in ("start", "stop"))
        context = self._context(config, folder)
        return Record(context, "", 0, started=started, stopped=max(started, stopped))

    def _context(self, config: Config, folder: str) -> dict[DRef, tuple[RRef, ...]]:
        """Return the direct part of a realization's context, as it is here."""
        found = self._json(f"{folder}/context.json")
        context = {}
        for old, rrefs in found.items():
            dref = self._drefs.get(old)
            if dref is None:
                raise self._wrong(f"a context has {old}, which is not in it")
            if not isinstance(rrefs, list) or not all(isinstance(one, str) for one in rrefs):
                raise self._wrong(f"a context has no references for {old}")
            if dref in config.dependencies:
                missing = [one for one in rrefs if one not in self._rrefs]
                if missing:
                    raise self._wrong(f"a context has {missing[0]}, which is not in it")
                context[dref] = tuple(self._rrefs[one] for one in rrefs)
        lacking = set(config.dependencies) - set(context)
        if lacking:
            raise self._wrong(f"a context lacks {min(lacking)}")
        return context

    def _json(self, path: str) -> dict[str, Any]:
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                value = json.loads(file.read())
        except (OSError, ValueError, RecursionError) as error:
            raise self._wrong(f"{os.path.basename(path)} cannot be read: {error}") from None
        if not isinstance(value, dict):
            raise self._wrong(f"{os.path.basename(path)} is no object")
        return value

    def _wrong(self, reason: str) -> ArchiveError:
        return ArchiveError(
            f"archive '{self._archive}' of Pylightnix is damaged: {reason}",
            "pack it again where it comes from, with all that it depends on",
        )


def _rhashes(folder: str) -> list[str]:
    """Return the names of the realizations in the folder of a derivation."""
    with os.scandir(folder) as entries:
        return sorted(
            one.name
            for one in entries
            if _RHASH.fullmatch(one.name) and one.is_dir(follow_symlinks=False)
        )


def _time(path: str) -> float:
    """Return a time that Pylightnix has written, zero if there is none."""
    from datetime import datetime

    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return datetime.strptime(file.read(100).decode().strip(), _TIME).timestamp()
    except (OSError, ValueError, OverflowError):
        return 0.0


def _bared(folder: str) -> str:
    """Remove from a realization what is none of the artifacts."""
    tree.thaw(folder)
    for name in os.listdir(folder):
        if _OWN.fullmatch(name):
            tree.remove(f"{folder}/{name}")
    return folder


def _replaced(value: Any, drefs: dict[str, DRef]) -> Any:
    """Replace references to derivations by those that they have here."""
    if isinstance(value, str):
        return _MENTION.sub(lambda found: drefs[found[0]], value)
    if isinstance(value, list):
        return [_replaced(item, drefs) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, drefs) for key, item in value.items()}
    return value
