"""References in values, which are looked through at any depth, and values that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from plxnix.compat.pylightnix.errors import refuse
from plxnix.compat.pylightnix.types import DRef, RRef
from plxnix.errors import InvalidConfig
from plxnix.model import selfref as _selfref

PYLIGHTNIX_SELF_TAG = str(_selfref)


selfref = PYLIGHTNIX_SELF_TAG


Mutator = Callable[[Any, Any], Any]


def isrref(ref: Any) -> bool:
    """Tell whether a value looks like a reference to a realization."""
    return isinstance(ref, str) and len(ref) >= 5 + 32 + 1 + 32 and ref.startswith("rref:")


def isdref(ref: Any) -> bool:
    """Tell whether a value looks like a reference to a derivation."""
    return isinstance(ref, str) and len(ref) >= 5 + 32 and ref.startswith("dref:")


def isrefpath(p: Any) -> bool:
    """Tell whether a value is a list that begins with a reference and goes on with text."""
    return (
        isinstance(p, list)
        and len(p) > 0
        and isdref(p[0])
        and all(isinstance(part, str) and not isdref(part) for part in p[1:])
    )


def isselfpath(p: Any) -> bool:
    """Tell whether a value is a promise."""
    return (
        isinstance(p, list)
        and len(p) > 0
        and all(isinstance(part, str) for part in p)
        and p[0] == PYLIGHTNIX_SELF_TAG
    )


def isclosure(x: Any) -> bool:
    """Tell whether a value is a closure."""
    return (
        isinstance(x, tuple)
        and len(x) == 4
        and isinstance(x[1], list)
        and all(map(isdref, x[1]))
        and isinstance(x[2], list)
    )


def _check_kind(value: Any, kind: type) -> None:
    # Not by `check`, which would write all of a large value for its message.
    if not isinstance(value, kind):
        refuse(f"not a {kind.__name__}: {value!r:.80}", kind=InvalidConfig)


def _visit(value: Any, mut: Mutator) -> None:
    if isinstance(value, list):
        traverse_list(value, mut)
    elif isinstance(value, dict):
        traverse_dict(value, mut)
    elif isinstance(value, tuple):
        traverse_tuple(value, mut)


def traverse_tuple(t: tuple[Any, ...], mut: Mutator) -> None:
    """Call `mut` for each item of a tuple, at any depth; it may not change items of tuples."""
    _check_kind(t, tuple)
    for index, item in enumerate(t):
        if mut(index, item) != item:
            refuse(f"an item of a tuple cannot be changed: {item!r:.80}")
        _visit(item, mut)


def traverse_list(l: list[Any], mut: Mutator) -> None:
    """Replace each item of a list by what `mut` makes of its index and itself, at any depth."""
    _check_kind(l, list)
    for index in range(len(l)):
        l[index] = mut(index, l[index])
        _visit(l[index], mut)


def traverse_dict(d: dict[Any, Any], mut: Mutator) -> None:
    """Replace each value of a dict by what `mut` makes of its key and itself, at any depth."""
    _check_kind(d, dict)
    for key in d:
        d[key] = mut(key, d[key])
        _visit(d[key], mut)


def scanref_list(l: list[Any]) -> tuple[list[DRef], list[RRef]]:
    """Return the references in a list, at any depth."""
    drefs: list[DRef] = []
    rrefs: list[RRef] = []

    def note(_: Any, value: Any) -> Any:
        if isrref(value):
            rrefs.append(RRef(value))
        elif isdref(value):
            drefs.append(DRef(value))
        return value

    traverse_list(l, note)
    return drefs, rrefs


def scanref_dict(d: dict[Any, Any]) -> tuple[list[DRef], list[RRef]]:
    """Return the references in a dict, at any depth."""
    _check_kind(d, dict)
    return scanref_list(list(d.values()))


def assert_serializable(d: Any, argname: str = "dict") -> Any:
    """Return a value as JSON gives it back; raise `InvalidConfig` if that is another."""
    try:
        back = json.loads(json.dumps(d))
    except (TypeError, ValueError) as error:
        refuse(f"{argname} is not JSON: {error}", "use plain values", InvalidConfig)
    if str(d) != str(back):
        refuse(
            f"{argname} is {d!r:.200}, which JSON gives back as {back!r:.200}",
            "use lists for tuples, and plain strings and numbers",
            InvalidConfig,
        )
    return back


def assert_valid_dict(d: dict[Any, Any], argname: str) -> dict[Any, Any]:
    """Return a dict that JSON can hold; raise `InvalidConfig` for another."""
    _check_kind(d, dict)
    assert_serializable(d, argname)
    return d


__all__ = [
    "PYLIGHTNIX_SELF_TAG",
    "Mutator",
    "assert_serializable",
    "assert_valid_dict",
    "isclosure",
    "isdref",
    "isrefpath",
    "isrref",
    "isselfpath",
    "scanref_dict",
    "scanref_list",
    "selfref",
    "traverse_dict",
    "traverse_list",
    "traverse_tuple",
]
