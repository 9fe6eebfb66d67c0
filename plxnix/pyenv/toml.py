"""TOML: read with the standard library, written in one fixed form."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from plxnix.errors import InvalidValue, MissingExtra

__all__ = ["loads", "table"]


def loads(text: str, where: str) -> dict[str, Any]:
    """Read a document; raise `InvalidValue`, which names `where` it is from, for one that is none.

    Before Python 3.11 this needs tomli: raises `MissingExtra` without it.
    """
    try:
        tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise MissingExtra("tomli", "env") from None
    try:
        read: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidValue(f"{where} is not TOML: {error}", "correct it, or make it anew") from None
    return read


def table(name: str, content: Mapping[str, Any]) -> str:
    """Write a table and those in it: keys as they are ordered, one a line, long arrays over lines.

    Values are strings, whole numbers, booleans, arrays, tables and arrays of tables.
    """
    plain = {key: value for key, value in content.items() if not _is_table(value)}
    lines = [f"[{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in plain.items())]
    parts = ["\n".join(lines) + "\n"] if plain or not content else []
    for key, value in content.items():
        inner = f"{name}.{_key(key)}"
        if isinstance(value, Mapping):
            parts.append(table(inner, value))
        elif _is_table(value):
            parts += [table(inner, one).replace(f"[{inner}]", f"[[{inner}]]", 1) for one in value]
    return "\n".join(parts)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, _Row) for one in value)
    )


class _Row(dict[str, Any]):
    """A table of an array of tables that is written over lines, below a head of its own."""


def rows(tables: Sequence[Mapping[str, Any]]) -> list[_Row]:
    """Mark tables to be written as `[[...]]` rather than inline."""
    return [_Row(one) for one in tables]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    shown = [_value(one) for one in value]
    if len(shown) > 1 or sum(map(len, shown)) > 80:
        return "[\n" + "".join(f"    {one},\n" for one in shown) + "]"
    return f"[{', '.join(shown)}]"


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for those of characters beyond 16 bits, and of DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    bare = key.isascii() and key and all(one.isalnum() or one in "-_" for one in key)
    return key if bare else _string(key)
