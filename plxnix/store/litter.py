"""Litter: what failures, interrupted downloads and dead processes leave in a store.

Logs and folders below `failed/`, downloads that were not finished, and records without
realizations. What a live process works on is locked, and is no litter.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from plxnix.model import HASH_LENGTH, DRef
from plxnix.store import tree
from plxnix.store.layout import Layout


class Litter(NamedTuple):
    """Something to sweep: the path of a file or folder, and its size in bytes."""

    path: str
    size: int


def find_litter(
    layout: Layout,
    drefs: Iterable[DRef],
    before: float | None,
    halves: Collection[str] = (),
    used: Iterable[DRef] = (),
) -> list[Litter]:
    """Return what to sweep, sorted by path.

    Below `failed/` and `downloads/` that is what belongs to none of `drefs`; with `before`, in
    seconds since the epoch, what was not touched since then, and nothing else. `halves` are records
    and logs without realizations, which are litter at any age; what belongs to `used` derivations
    is none. Nothing is changed.
    """
    hashes = {dref.dhash for dref in drefs}
    busy = {dref.dhash for dref in used}
    found = [Litter(path, _size(path)) for path in halves]
    for folder in (layout.failed, layout.downloads):
        for name in _listed(folder):
            path = f"{folder}/{name}"
            if name[:HASH_LENGTH] in busy:
                continue
            owned = name[:HASH_LENGTH] in hashes
            if (not owned if before is None else _touched(path) < before) and not _held(path):
                found.append(Litter(path, _size(path)))
    return sorted(found)


def sweep_litter(litter: Iterable[Litter]) -> list[Litter]:
    """Remove litter, and return what is gone: what cannot be removed stays, and the rest goes.

    The caller holds `deleting`.
    """
    swept = []
    for one in litter:
        try:
            if not _held(one.path):
                tree.remove(one.path)
                swept.append(one)
        except OSError:
            continue
    return swept


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _touched(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return float("inf")


def _size(path: str) -> int:
    return sum(_sizes(path))


def _sizes(path: str) -> Iterator[int]:
    try:
        yield os.lstat(path).st_size
    except OSError:
        return
    for _, _, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in files:
            try:
                yield os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
            except OSError:
                continue


def _held(path: str) -> bool:
    """Tell whether a live process has a download open; its validator goes with it."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path.removesuffix(".json"), flags)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
