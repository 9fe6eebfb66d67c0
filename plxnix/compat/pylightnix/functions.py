"""Matchers and realizers of Pylightnix as those of plxnix, and back.

A legacy function takes settings and the full context, and speaks in strings. Each adapter knows
what it adapts, so that going there and back gives the same function: a fetch that was registered by
this layer is still a recipe, and leaves as one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path as _Path
from typing import Any

from plxnix.compat.pylightnix.storage import store_of
from plxnix.compat.pylightnix.timing import parsetime
from plxnix.compat.pylightnix.types import (
    Context,
    Derivation,
    DRef,
    Matcher,
    Path,
    Realizer,
    Registry,
    RRef,
    StorageSettings,
)
from plxnix.errors import BuildFailed
from plxnix.model import Context as NativeContext
from plxnix.model import DRef as NativeDRef
from plxnix.model import RRef as NativeRRef
from plxnix.realize import registry as native
from plxnix.realize.run import Artifact
from plxnix.store import Store

#: Names of files that no artifact may have, since Pylightnix keeps its own notes there.
PYLIGHTNIX_RESERVED = ["context.json", "group.json"]

#: Files in which a build notes its times; they become part of the record, not of the artifacts.
START, STOP = "__buildstart__.txt", "__buildstop__.txt"


def full_context(store: Store, direct: Mapping[Any, Any]) -> Context:
    """Return a context with all that it was made from, sorted, as Pylightnix keeps it."""
    full: dict[str, set[str]] = {}
    waiting = [direct]
    while waiting:
        for dref, rrefs in waiting.pop().items():
            known = full.setdefault(dref, set())
            waiting += [store.record(rref).context for rref in rrefs if rref not in known]
            known.update(rrefs)
    return {DRef(dref): [RRef(one) for one in sorted(full[dref])] for dref in sorted(full)}


class LegacyMatcher:
    """A matcher of Pylightnix, for plxnix; what it selects is sorted, as contexts are there."""

    def __init__(self, function: Matcher, settings: StorageSettings | None) -> None:
        self.function = function
        self.settings = settings

    def __call__(self, store: Store, rrefs: list[NativeRRef]) -> list[NativeRRef] | None:
        """Ask the function."""
        del store
        chosen = self.function(self.settings, [RRef(rref) for rref in rrefs])
        return None if chosen is None else [NativeRRef(rref) for rref in sorted(chosen)]

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


class LegacyRealizer:
    """A realizer of Pylightnix, for plxnix."""

    def __init__(self, function: Realizer, settings: StorageSettings | None) -> None:
        self.function = function
        self.settings = settings

    def __call__(
        self, store: Store, dref: NativeDRef, context: NativeContext, arguments: Mapping[str, Any]
    ) -> list[Artifact]:
        """Run the function and take the folders that it gives."""
        full = full_context(store, context)
        given = self.function(self.settings, DRef(dref), full, dict(arguments))
        return [artifact(dref, path) for path in given]


def artifact(dref: str, path: str) -> Artifact:
    """Return the artifact in a folder, after taking the notes on its times out of it."""
    if not os.path.isdir(path):
        raise BuildFailed(
            f"the realizer of {dref} gave {path!r:.80}, which is no folder",
            "a realizer returns the folders with its artifacts",
            dref,
        )
    for name in PYLIGHTNIX_RESERVED:
        if os.path.isfile(os.path.join(path, name)):
            raise BuildFailed(
                f"the realizer of {dref} wrote {name}",
                f"choose another name; reserved are {', '.join(PYLIGHTNIX_RESERVED)}",
                dref,
            )
    started, stopped = (_time(os.path.join(path, name)) for name in (START, STOP))
    times = None
    if started is not None or stopped is not None:
        now = time.time()
        start = started if started is not None else now
        times = (start, stopped if stopped is not None else max(now, start))
    failed = os.path.isfile(os.path.join(path, "either_status.txt"))
    return Artifact(_Path(path), failed=failed, times=times)


def _time(path: str) -> float | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = parsetime(file.read())
        os.unlink(path)
    except (OSError, UnicodeDecodeError):
        return None
    return found


def to_native(drv: Derivation, settings: StorageSettings | None) -> native.Derivation:
    """Return a derivation of plxnix; its config has to be in the store."""
    config = store_of(settings).config(drv.dref)
    matcher = getattr(drv.matcher, "native", None) or LegacyMatcher(drv.matcher, settings)
    realizer = getattr(drv.realizer, "native", None) or LegacyRealizer(drv.realizer, settings)
    return native.Derivation(config.dref, config, matcher, realizer)


def from_native(derivation: native.Derivation) -> Derivation:
    """Return a derivation of Pylightnix."""
    matcher, realizer = derivation.matcher, derivation.realizer
    return Derivation(
        DRef(derivation.dref),
        matcher.function if isinstance(matcher, LegacyMatcher) else legacy_matcher(matcher),
        realizer.function if isinstance(realizer, LegacyRealizer) else legacy_realizer(realizer),
    )


def legacy_matcher(matcher: native.Matcher) -> Matcher:
    """Return a matcher of plxnix as one of Pylightnix."""

    def ask(S: StorageSettings | None, rrefs: list[RRef]) -> list[RRef] | None:
        chosen = matcher(store_of(S), [NativeRRef(rref) for rref in rrefs])
        return None if chosen is None else [RRef(rref) for rref in chosen]

    ask.native = matcher  # type: ignore[attr-defined]
    return ask


def legacy_realizer(realizer: native.Realizer) -> Realizer:
    """Return a realizer of plxnix as one of Pylightnix."""

    def run(
        S: StorageSettings | None, dref: DRef, context: Context, rarg: dict[str, Any]
    ) -> list[Path]:
        store = store_of(S)
        direct = {one: context[DRef(one)] or [] for one in store.config(dref).dependencies}
        made = realizer(store, NativeDRef(dref), direct, rarg)
        return [Path(getattr(one, "path", one)) for one in made]

    run.native = realizer  # type: ignore[attr-defined]
    return run


class Builders(MutableMapping[DRef, Derivation]):
    """The derivations of a registry, as Pylightnix has them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, dref: DRef) -> Derivation:
        return from_native(self._registry.derivations[dref])

    def __setitem__(self, dref: DRef, drv: Derivation) -> None:
        self._registry.derivations[dref] = to_native(drv, self._registry.S)

    def __delitem__(self, dref: DRef) -> None:
        del self._registry.derivations[dref]

    def __iter__(self) -> Iterator[DRef]:
        return map(DRef, list(self._registry.derivations))

    def __len__(self) -> int:
        return len(self._registry.derivations)
