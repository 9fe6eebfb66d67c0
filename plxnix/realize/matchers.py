"""Matchers: which of the competing realizations are meant, or whether another is needed.

A matcher is called with a store and the realizations that were made from the context at hand, and
returns those it selects, in its order, or None if none of them will do: then the stage is realized
and the matcher is asked again. What it returns depends on the realizations alone, not on time or
chance, so that two processes select alike.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from plxnix.errors import AmbiguousMatch, InvalidValue
from plxnix.model import RRef
from plxnix.realize.registry import Matcher
from plxnix.store import Record, Store

#: Maps a realization to what it is sorted by, or to None if it does not take part.
Key: TypeAlias = Callable[[Store, RRef], "float | int | str | None"]

#: Takes the realizations, best first, and returns those to select, or None for "not enough".
Trim: TypeAlias = Callable[[list[RRef]], "list[RRef] | None"]


@dataclass(frozen=True)
class Selection:
    """A matcher that sorts by a key and trims; made by `match` and the functions below.

    `title` is how it was written, such as `match_best('accuracy.txt', top=3)`; `single` says that
    it never selects among competitors, so that a stage which it matches can be exported.
    """

    title: str
    key: Key
    trim: Trim
    following: Matcher | None = None
    single: bool = False

    def __call__(self, store: Store, rrefs: list[RRef]) -> list[RRef] | None:
        """Select from `rrefs`; see the module."""
        keyed = [(key, rref) for rref in rrefs if (key := self.key(store, rref)) is not None]
        # Among equals the reference decides, whatever order the candidates came in.
        keyed.sort(key=lambda pair: pair[1])
        keyed.sort(key=lambda pair: pair[0], reverse=True)
        chosen = self.trim([rref for _, rref in keyed])
        if chosen is None or self.following is None:
            return chosen
        return self.following(store, chosen)

    def __repr__(self) -> str:
        return self.title


def match(key: Key, trim: Trim, following: Matcher | None = None) -> Matcher:
    """Compose a matcher: sort by `key`, greatest first, let `trim` cut, then ask `following`.

    Realizations whose key is None do not take part; among equal keys the smaller reference is
    first. For example, the two best of the ten latest:
    `match(latest(), at_least(10), match_best("accuracy.txt", top=2))`.
    """
    return Selection(f"match({_title(key)}, {_title(trim)}, {following!r})", key, trim, following)


def at_least(count: int, take: int | None = None) -> Trim:
    """Return a trim that wants `count` realizations and takes the first `take` (or `count`)."""
    _positive("count", count)
    taken = count if take is None else _positive("take", take)
    return lambda rrefs: rrefs[:taken] if len(rrefs) >= count else None


def texthash() -> Key:
    """Return a key that sorts by the realization's own hash: an arbitrary, fixed order."""
    return lambda _, rref: rref.rhash


def latest() -> Key:
    """Return a key that puts those first whose realizers were started last."""
    return lambda store, rref: store.record(rref).started


def exact(expected: Sequence[str]) -> Key:
    """Return a key that lets only the named realizations take part, in the order given.

    Raises `InvalidReference`, and `InvalidValue` for a realization that is named twice.
    """
    places: dict[RRef, int] = {}
    for place, rref in enumerate(expected):
        if rref in places:
            raise InvalidValue(f"{rref} is named twice", "name each realization once")
        places[RRef.parse(rref)] = len(expected) - place
    return lambda _, rref: places.get(rref)


def number(path: str, pointer: str | None = None, minimize: bool = False) -> Key:
    """Return a key that reads a number from a file of the realization.

    The file holds a number as text, or JSON in which `pointer` (RFC 6901, such as `/valid/loss`)
    leads to one. Realizations without the file, without the member, or with NaN do not take part.
    With `minimize` small numbers come first. Raises `InvalidValue` for a bad pointer, and when
    called if the file holds no number.
    """
    if pointer and not pointer.startswith("/"):
        raise InvalidValue(
            f"not a JSON pointer: {pointer!r}", "it starts with /, as in /valid/loss"
        )

    def key(store: Store, rref: RRef) -> float | None:
        found = _read_number(os.path.join(store.path(rref), path), pointer)
        if found is None or math.isnan(found):
            return None
        return -found if minimize else found

    return key


class _Only(Selection):
    """Selects the only candidate; sandboxed results take the place of those of plain processes."""

    def __call__(self, store: Store, rrefs: list[RRef]) -> list[RRef] | None:
        """Select from `rrefs`; records are only read where there are several."""
        if len(rrefs) < 2:
            return rrefs or None
        told = {rref: store.record(rref) for rref in sorted(rrefs)}
        left = [rref for rref in told if told[rref].nix.get("sandboxed") is True]
        if len(left) == 1 and all("sandboxed" in record.nix for record in told.values()):
            return left
        raise AmbiguousMatch(
            f"{rrefs[0].dref} was declared deterministic (match_only) but has {len(rrefs)} "
            "realizations for one context:\n"
            + "\n".join(f"  {rref}, {_made(record)}" for rref, record in told.items()),
            "`plxnix check` builds it again and shows what differs; if it is not deterministic use "
            "match_latest, match_best or match_all; otherwise remove those that are wrong, as by "
            f"`plxnix rm {_doubtful(told)}`",
            rrefs[0].dref,
            list(told),
        )


def _doubtful(records: Mapping[RRef, Record]) -> RRef:
    """Return the realization that is trusted least: made outside of the sandbox, and the oldest."""
    return min(
        records,
        key=lambda rref: (records[rref].nix.get("sandboxed") is True, records[rref].started),
    )


def _made(record: Record) -> str:
    """Say how and when a realization was made."""
    sandboxed = record.nix.get("sandboxed")
    how = "in" if sandboxed is True else "outside of" if sandboxed is False else ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started))
    return f"made{how and f' {how} the sandbox'} on {when} at {record.host or 'an unknown machine'}"


def match_only() -> Matcher:
    """Match the only realization there is; two of them are an error, `AmbiguousMatch`.

    This is the matcher of deterministic stages. One result of the sandbox takes the place of all
    that plain processes have made from the same context, whose bytes may hold other paths.
    """
    return _Only("match_only()", texthash(), lambda rrefs: rrefs or None, single=True)


def match_latest(n: int = 1) -> Matcher:
    """Match the `n` latest realizations, latest first; fewer than `n` mean: realize."""
    return Selection(f"match_latest({n})", latest(), at_least(_positive("n", n)))


def match_all() -> Matcher:
    """Match all realizations there are, at least one."""
    return Selection("match_all()", texthash(), lambda rrefs: rrefs or None)


def match_some(n: int = 1, key: Key | None = None) -> Matcher:
    """Match `n` realizations, the first by `key` (default: an arbitrary, fixed order)."""
    title = f"match_some({n})" if key is None else f"match_some({n}, {_title(key)})"
    return Selection(title, key or texthash(), at_least(_positive("n", n)))


def match_best(
    path: str,
    top: int = 1,
    minimize: bool = False,
    pointer: str | None = None,
    among: int | None = None,
) -> Matcher:
    """Match the `top` realizations with the greatest (`minimize`: smallest) number in a file.

    See `number` for `path` and `pointer`. It asks for at least `among` realizations (default:
    `top`) to choose from.
    """
    _positive("top", top)
    said = [repr(path), f"top={top}", f"minimize={minimize}"]
    said += [f"pointer={pointer!r}"] if pointer is not None else []
    said += [f"among={among}"] if among is not None else []
    trim = at_least(max(top, _positive("among", top if among is None else among)), top)
    return Selection(f"match_best({', '.join(said)})", number(path, pointer, minimize), trim)


def match_exact(rrefs: Sequence[str]) -> Matcher:
    """Match just these realizations, in this order; if one is missing: realize.

    Raises `InvalidReference`, and `InvalidValue` if none is named or one twice.
    """
    if not rrefs:
        raise InvalidValue("match_exact names no realization", "name at least one")
    title = f"match_exact({[str(rref) for rref in rrefs]})"
    return Selection(title, exact(rrefs), at_least(len(rrefs)))


def is_single(matcher: Matcher) -> bool:
    """Tell whether a matcher accepts one deterministic realization only, as `match_only` does."""
    return isinstance(matcher, Selection) and matcher.single


def _read_number(path: str, pointer: str | None) -> float | None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(1 << 24)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} cannot be read as text: {error}", _NUMBER) from None
    try:
        if pointer is None:
            return float(text)
        found = _follow(json.loads(text), pointer)
        return None if found is None else float(found)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidValue(f"{path} holds {text!r:.60}, no number", _NUMBER) from None


_NUMBER = "write a number as text, or JSON and name its place with pointer='/...'"


def _follow(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValue(f"{name} is {value!r}", "it is a whole number of at least 1")
    return value


def _title(function: Any) -> str:
    return str(getattr(function, "__qualname__", function)).split(".<locals>")[0]
