"""Keeping the sources of a lock up to date, and finding out what is wrong with them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from plxnix.builders.download import Progress, redact
from plxnix.errors import ArchiveError, FetchError, HashMismatch, PlxnixError
from plxnix.locking.fetching import Fetched, check_contents, fetch
from plxnix.locking.source import LockedSource
from plxnix.nix import tools
from plxnix.store import Store

#: Shows the download of the source with this name for as long as it is entered.
Watch = Callable[[str], AbstractContextManager[Progress | None]]

#: Does something with what a source is now, and the file that was fetched.
Keep = Callable[[LockedSource, Fetched], None]


@dataclass(frozen=True)
class Updated:
    """What an update makes of one source: `status` is changed, recorded, unchanged or frozen.

    `recorded`: the hash is the same, but the size or the archive's hash was not known.
    """

    name: str
    status: str
    old: LockedSource
    new: LockedSource


@dataclass(frozen=True)
class Fault:
    """Something that is not as a lock says; `specified` and `got` are hashes in SRI, or paths."""

    name: str
    what: str
    specified: str = ""
    got: str = ""

    def __str__(self) -> str:
        compared = f": specified {self.specified}, got {self.got}" if self.specified else ""
        return f"{self.name}: {self.what}{compared}"


def renewed(source: LockedSource, fetched: Fetched) -> LockedSource:
    """Return a source with the hash, size and time of what was fetched just now."""
    found = replace(
        source,
        hash=fetched.hash,
        archive=fetched.archive,
        size=fetched.size,
        fetched=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    return replace(found, path=found.predicted)


def fetch_source(
    name: str, source: LockedSource, watch: Watch, keep: Keep | None = None
) -> LockedSource:
    """Download a source; return it with what is there now.

    `keep` is given that, and what was fetched, before the latter is removed. Raises `FetchError`,
    `ArchiveError`, and what `keep` raises.
    """
    with TemporaryDirectory(prefix="plxnix-") as folder:
        with watch(name) as progress:
            fetched = _fetch(source, source.sources, folder, progress)
        found = renewed(source, fetched)
        if keep is not None:
            keep(found, fetched)
        return found


def _fetch(
    source: LockedSource, urls: list[str], folder: str, progress: Progress | None
) -> Fetched:
    # The name is that of messages too, so not the one of all trees.
    name = source.config({})["filename"]
    return fetch(urls, Path(folder), name, source.hash.algorithm, source.unpack, progress)


def update(
    sources: Mapping[str, LockedSource], version: str | None, watch: Watch
) -> Iterator[Updated]:
    """Fetch sources again, one after another, for another version if one is given.

    Frozen ones are left alone. Raises `InvalidValue` for a version where the URL has no place for
    one, and what fetching raises.
    """
    for name, source in sources.items():
        if source.frozen:
            yield Updated(name, "frozen", source, source)
            continue
        wanted = source if version is None else source.at(version)
        wanted.check(name)
        found = fetch_source(name, wanted, watch)
        if found.hash != source.hash or wanted.value() != source.value():
            yield Updated(name, "changed", source, found)
        elif (found.size, found.archive, found.path) != (source.size, source.archive, source.path):
            yield Updated(name, "recorded", source, found)
        else:
            yield Updated(name, "unchanged", source, source)


def verify(
    sources: Mapping[str, LockedSource], store: Store | None, refetch: bool, watch: Watch
) -> Iterator[Fault]:
    """Yield what is wrong with sources: paths, contents in the stores, and on request at the URLs.

    Each URL is asked for, mirrors too, and nothing that is here answers in its place. Without
    `refetch` nobody is asked. `store` is the native store, if there is one.
    """
    in_nix: set[str] = set()
    faults = []
    if sources and tools.available():
        try:
            in_nix = tools.valid(source.predicted for source in sources.values())
        except PlxnixError as error:
            faults.append(Fault("the Nix store", error.message.splitlines()[0]))
    for name, source in sources.items():
        predicted = source.predicted
        if source.path and source.path != predicted:
            yield Fault(name, "the path does not follow from the hash", source.path, predicted)
        if predicted in in_nix:
            yield from _compared(name, predicted, source)
        if store is not None:
            yield from _realized(name, store, source)
        if refetch:
            for url in source.sources:
                yield from _refetched(name, url, source, watch)
    yield from faults


def _compared(name: str, place: str, source: LockedSource) -> Iterator[Fault]:
    try:
        check_contents(place, source.hash, source.unpack)
    except HashMismatch as error:
        yield Fault(name, place, error.expected, error.found)
    except OSError as error:
        yield Fault(name, f"{place} cannot be read: {error.strerror}")


def _realized(name: str, store: Store, source: LockedSource) -> Iterator[Fault]:
    config = source.config({})
    for rref in store.realizations(config.dref):
        path = store.path(rref)
        yield from _compared(
            name, path if source.unpack else os.path.join(path, config["filename"]), source
        )


def _refetched(name: str, url: str, source: LockedSource, watch: Watch) -> Iterator[Fault]:
    try:
        with TemporaryDirectory(prefix="plxnix-") as folder, watch(name) as progress:
            found = _fetch(source, [url], folder, progress)
    except (FetchError, ArchiveError) as error:
        attempts = getattr(error, "attempts", ()) or (error.message.splitlines()[0],)
        yield Fault(name, attempts[-1])
        return
    if found.hash != source.hash:
        yield Fault(name, redact(url), source.hash.sri, found.hash.sri)
    elif source.archive is not None and found.archive != source.archive:
        got = found.archive.sri if found.archive is not None else ""
        yield Fault(name, f"{redact(url)}, the archive", source.archive.sri, got)
