"""Checks of the parts of a lock: of the right type, and nothing else in them."""

from __future__ import annotations

from typing import Any

from plxnix.errors import InvalidValue
from plxnix.nix.text import check


def wrong(value: object, where: str, expected: str) -> InvalidValue:
    """Make the error for a value at a place in the lock."""
    return InvalidValue(f"the lock has {value!r:.300} as {where}", f"expected is {expected}")


def missing(variable: str, where: str) -> InvalidValue:
    """Make the error for a reference to what is not in the lock."""
    return InvalidValue(
        f"{where} of the lock refers to {variable!r:.300}, which is not in it", "write it anew"
    )


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return an object, or raise `InvalidValue`, as all of these do."""
    if not isinstance(value, dict):
        raise wrong(value, where, "an object")
    return value


def items(value: Any, where: str) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise wrong(value, where, "a list")
    return value


def string(value: Any, where: str) -> str:
    """Return a text that Nix can have."""
    if not isinstance(value, str):
        raise wrong(value, where, "text")
    return check(value)


def strings(value: Any, where: str) -> list[str]:
    """Return a list of texts."""
    return [string(one, where) for one in items(value, where)]


def check_keys(value: dict[str, Any], required: set[str], optional: set[str], where: str) -> None:
    """Refuse an object that lacks a key, or has one that is not known."""
    for key in sorted(required - value.keys()):
        raise InvalidValue(f"the lock lacks {where}.{key}", "write it anew")
    for key in sorted(value.keys() - required - optional):
        raise wrong(key, where, f"no more than {', '.join(sorted(required | optional))}")
