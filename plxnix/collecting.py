"""Collecting: garbage collection in one call, with what people say of what is to stay."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from plxnix.errors import InvalidValue, PlxnixError
from plxnix.model import RRef
from plxnix.realize.matchers import Key, latest, match, number
from plxnix.references import resolve_realizations
from plxnix.store import Store, current_store
from plxnix.store.gc import Choice, GcPlan, collect, plan_gc
from plxnix.store.locks import Waiting
from plxnix.store.roots import linked


def collect_garbage(
    store: Store | None = None,
    *,
    dry_run: bool = False,
    keep: str | Iterable[str] = (),
    keep_latest: int | None = None,
    keep_best: Mapping[str, int] | Iterable[tuple[str, int]] = (),
    links: Iterable[str | os.PathLike[str]] = (),
    older_than: float | timedelta | None = None,
    max_size: int | None = None,
    everything: bool = False,
    waiting: Waiting | None = None,
) -> GcPlan:
    """Delete what no root keeps, and return what was deleted; with `dry_run`, what would be.

    What running processes work with stays, and they are not waited for. So does, with all that it
    was made from, what `keep` names (references, or names of stages: all their realizations), what
    `links` lead to (links, or folders with links in them), and of each stage the `keep_latest`
    realizations that were begun last, and, for `keep_best={"accuracy.txt": 3}`, the three with the
    greatest number in that file; -3: the smallest. `older_than` (in seconds, or a `timedelta`)
    spares what was used since then; `max_size` (in bytes) deletes the oldest only, until the store
    is not greater than that.

    Raises `StoreError` if nothing at all is kept, unless `everything` says that this is meant (a
    dry run tells what would go), and if the store cannot be written; `InvalidValue`, `NotInStore`;
    `CorruptEntry` for something to be kept of which nobody knows what it was made from. An
    interruption leaves a whole store. Cost: one small read for each realization.
    """
    opened = current_store(store)
    drefs, kept = linked(opened, links)
    for text in [keep] if isinstance(keep, str) else keep:
        kept += resolve_realizations(opened, text)
    age = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    choices = [*_latest(keep_latest), *_best(keep_best)]
    plan = plan_gc(
        opened,
        kept,
        _checked("older_than", age),
        _checked("max_size", max_size),
        everything,
        drefs,
        choices,
    )
    return plan if dry_run else collect(opened, plan, waiting)


def _checked(name: str, value: Any) -> Any:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None or (real and math.isfinite(value) and value >= 0):
        return value
    raise InvalidValue(f"{name} is {value!r:.80}", "it is a number of at least 0")


def _latest(count: int | None) -> Iterator[Choice]:
    if count is not None:
        if not isinstance(count, int) or count < 1:
            raise InvalidValue(f"keep_latest is {count!r:.80}", "it is a whole number above 0")
        trim = partial(_first, count)
        yield Choice(f"among the {count} latest of its stage", match(latest(), trim))


def _best(wanted: Mapping[str, int] | Iterable[tuple[str, int]]) -> Iterator[Choice]:
    """Say with matchers what is kept of each stage."""
    for file, count in wanted.items() if isinstance(wanted, Mapping) else wanted:
        if not isinstance(count, int) or count == 0:
            raise InvalidValue(
                f"keep_best has {count!r:.80} for {file!r:.80}", "it is a whole number, not 0"
            )
        what = f"smallest by {file}" if count < 0 else f"best by {file}"
        readable, unreadable = _numbers(file, count < 0)
        trim = partial(_first, abs(count))
        yield Choice(f"among the {abs(count)} {what} of its stage", match(readable, trim))
        yield Choice(f"{file} holds no number", match(unreadable, list))


def _numbers(file: str, minimize: bool) -> tuple[Key, Key]:
    """Return a key of those realizations whose file holds a number, and one of those without.

    A file of that name may be something else in another stage: it is kept, and stops nothing.
    """
    found = number(file, minimize=minimize)

    def key(store: Store, rref: RRef) -> Any:
        try:
            return found(store, rref)
        except PlxnixError:
            return None

    def others(store: Store, rref: RRef) -> Any:
        try:
            found(store, rref)
        except PlxnixError:
            return rref.rhash
        return None

    return key, others


def _first(count: int, rrefs: list[RRef]) -> list[RRef]:
    return rrefs[:count]
