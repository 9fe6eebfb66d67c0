"""Matchers and keys of Pylightnix, made of those of plxnix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from plxnix.compat.pylightnix.errors import check, door
from plxnix.compat.pylightnix.functions import legacy_matcher
from plxnix.compat.pylightnix.names import unrref
from plxnix.compat.pylightnix.storage import store_of
from plxnix.compat.pylightnix.types import Matcher, RRef, StorageSettings
from plxnix.model import RRef as NativeRRef
from plxnix.realize import matchers as native

# ruff: noqa: ARG001, ARG005 (settings are always passed)

Key: TypeAlias = "Callable[[StorageSettings | None, RRef], int | float | str | None]"
Trim: TypeAlias = "Callable[[list[RRef]], list[RRef] | None]"


def texthash() -> Key:
    """Return a key that sorts by the hash of a realization."""
    return lambda S, rref: str(unrref(rref)[0])


def latest() -> Key:
    """Return a key that sorts by the time at which a realization was begun."""
    return lambda S, rref: store_of(S).record(rref).started


def exact(expected: list[RRef]) -> Key:
    """Return a key that lets only the named realizations take part."""
    return lambda S, rref: 1 if rref in expected else None


def match(key: Key, trim: Trim, mnext: Matcher | None = None) -> Matcher:
    """Compose a matcher: sort by `key`, greatest first, let `trim` cut, then ask `mnext`."""

    def matcher(S: StorageSettings | None, rrefs: list[RRef]) -> list[RRef] | None:
        selection = native.Selection(
            "match", lambda _, rref: key(S, RRef(rref)), lambda found: _trimmed(trim, found)
        )
        chosen = selection(store_of(S), [NativeRRef(rref) for rref in rrefs])
        found = None if chosen is None else [RRef(rref) for rref in chosen]
        if mnext is None:
            return found
        return mnext(S, found) if found else None

    return matcher


def _trimmed(trim: Trim, rrefs: list[NativeRRef]) -> list[NativeRRef] | None:
    chosen = trim([RRef(rref) for rref in rrefs])
    return None if chosen is None else [NativeRRef(rref) for rref in chosen]


def match_all(S: StorageSettings | None, rrefs: list[RRef]) -> list[RRef] | None:
    """Match all realizations there are; this one is a matcher, and is not called to make one."""
    return rrefs if rrefs else None


@door()
def match_some(n: int = 1, key: Key | None = None) -> Matcher:
    """Match `n` realizations, the first by `key`."""
    check(n >= 0, f"n is {n!r}", "it is not negative")
    return match(key or texthash(), lambda rrefs: rrefs[:n] if len(rrefs) >= n else None, match_all)


def match_only() -> Matcher:
    """Match the only realization there is; two are an error."""
    return legacy_matcher(native.match_only())


def match_latest(n: int = 1) -> Matcher:
    """Match the `n` latest realizations."""
    return match_some(n, latest())


def match_exact(rrefs: list[RRef]) -> Matcher:
    """Match just these realizations."""
    return match_some(len(rrefs), exact(rrefs))


__all__ = [
    "Key",
    "exact",
    "latest",
    "match",
    "match_all",
    "match_exact",
    "match_latest",
    "match_only",
    "match_some",
    "texthash",
]
