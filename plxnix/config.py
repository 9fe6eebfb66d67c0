"""Configs: the JSON objects that define derivations, and their canonical text.

Canonical JSON has sorted keys, no blanks and UTF-8; it knows null, booleans, integers, finite
floats, strings, lists and objects with string keys, and nothing else. Equal configs have equal
canonical text on every machine and every Python version, so its sha256 names the derivation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from plxnix.errors import InvalidConfig, InvalidRefpath
from plxnix.model import (
    HASH_LENGTH,
    MENTION,
    RREF_MENTION,
    DRef,
    Name,
    RefPath,
    claim,
    isrefpath,
    isselfpath,
    selfref,
)

Json: TypeAlias = Any

#: How deep a config may be nested; deeper is taken for a value that holds itself.
MAX_DEPTH = 100

_encode: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def canonical(value: Json) -> bytes:
    """Write a JSON value as canonical JSON: sorted keys, no blanks, UTF-8.

    Raises `InvalidConfig` for what is not plain JSON, naming the place. Cost is linear in the
    value.
    """
    return _write(_Scan().visit(value, "config", 0))


class Config(Mapping[str, Json]):
    """The validated, immutable JSON object that defines a derivation.

    `name` (default `unnamed`) becomes the name in references. Whatever refers to another
    derivation is a dependency: a reference, a refpath, or a string that mentions one. `[selfref,
    ...]` is a promise, `[claim, ...]` a claim.

    Raises `InvalidConfig` (also for tuples, bytes, numbers of other libraries, NaN, values that
    hold themselves, and references to realizations), `InvalidName`, `InvalidRefpath`.
    """

    __slots__ = ("_canonical", "_value", "dependencies", "dhash", "name", "promises")

    #: The dependencies, sorted, each once.
    dependencies: tuple[DRef, ...]
    #: The promises, as parts of paths below the realization.
    promises: tuple[tuple[str, ...], ...]
    #: The first 32 hex digits of the sha256 of the canonical text.
    dhash: str
    name: Name

    def __init__(self, value: Mapping[str, Json]) -> None:
        if not isinstance(value, Mapping):
            raise InvalidConfig(f"a config is an object, not {_kind(value)}", "pass a dict")
        scan = _Scan()
        self._value: dict[str, Json] = scan.visit(dict(value), "config", 0)
        self._canonical = _write(self._value)
        self.dhash = sha256(self._canonical).hexdigest()[:HASH_LENGTH]
        self.name = Name.parse(self._value.get("name", "unnamed"))
        self.dependencies = tuple(sorted(scan.dependencies))
        self.promises = tuple(scan.promises)

    @classmethod
    def parse(cls, text: bytes) -> Config:
        """Read a config from its canonical text; raise `InvalidConfig` if it is anything else."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidConfig(f"not JSON: {error}") from None
        config = cls(value)
        if config._canonical != text:
            raise InvalidConfig("not in canonical form", "configs are written by `mkdrv`")
        return config

    @property
    def canonical(self) -> bytes:
        """The canonical text."""
        return self._canonical

    @property
    def dref(self) -> DRef:
        """The reference of the derivation that this config defines."""
        return DRef.make(self.dhash, self.name)

    def value(self) -> dict[str, Json]:
        """Return a copy of the whole object that the caller may change."""
        copy: dict[str, Json] = json.loads(self._canonical)
        return copy

    def resolved(self) -> dict[str, Json]:
        """Return a copy in which each promise is a refpath of this derivation."""
        copy: dict[str, Json] = _resolve(self.value(), self.dref)
        return copy

    def __getitem__(self, key: str) -> Json:
        value = self._value[key]
        return _copy(value) if isinstance(value, (list, dict)) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._canonical == other._canonical

    def __repr__(self) -> str:
        return f"Config({self._value!r})"


def _write(value: Json) -> bytes:
    try:
        return _encode(value).encode()
    except ValueError as error:
        # All that is left to fail is an integer of more digits than Python converts.
        raise InvalidConfig(f"an integer is too large: {error}", "write it as text") from None


def _copy(value: Json) -> Json:
    if isinstance(value, list):
        return [_copy(item) for item in value]
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


def _resolve(value: Json, dref: DRef) -> Json:
    if isselfpath(value):
        return RefPath([dref, *value[1:]])
    if isrefpath(value):
        return RefPath(value)
    if isinstance(value, list):
        return [_resolve(item, dref) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, dref) for key, item in value.items()}
    return value


class _Scan:
    """One walk over a value: checks it, copies it to plain types, notes references and promises."""

    __slots__ = ("dependencies", "promises")

    def __init__(self) -> None:
        self.dependencies: set[DRef] = set()
        self.promises: list[tuple[str, ...]] = []

    def visit(self, value: Json, where: str, depth: int) -> Json:
        kind = type(value)
        if kind is str:
            return self._string(value, where)
        if kind is int or kind is bool or value is None:
            return value
        if kind is float:
            if math.isfinite(value):
                return value
            raise InvalidConfig(
                f"{where} is {value!r}, which JSON cannot hold", "use None or a string", where
            )
        if depth >= MAX_DEPTH and isinstance(value, (list, dict)):
            raise InvalidConfig(
                f"{where} is nested deeper than {MAX_DEPTH} levels, or holds itself",
                "a config is a tree",
                where[:80],
            )
        if isinstance(value, list):
            return self._list(value, where, depth)
        if kind is dict:
            return self._dict(value, where, depth)
        if isinstance(value, str) and type(value).__module__.split(".")[0] != "numpy":
            return self._string(str.__str__(value), where)
        raise InvalidConfig(f"{where} is {_kind(value)}", _advice(value), where)

    def _dict(self, value: dict[Any, Json], where: str, depth: int) -> Json:
        result = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidConfig(
                    f"{where} has the key {key!r}, which is no string", "use strings as keys", where
                )
            result[self._string(str.__str__(key), where)] = self.visit(
                item, f"{where}.{key}", depth + 1
            )
        return result

    def _list(self, value: list[Json], where: str, depth: int) -> Json:
        result = [self.visit(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        head = result[0] if result else None
        if head in (selfref, claim) or isrefpath(result):
            if not all(isinstance(part, str) for part in result):
                raise InvalidRefpath(
                    f"{where} starts as a promise but holds {value!r}",
                    "a promise is [selfref, 'dir', 'file']",
                )
            RefPath.make(result[0], result[1:])
        if head == selfref:
            self.promises.append(tuple(result[1:]))
        return result

    def _string(self, value: str, where: str) -> str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidConfig(
                    f"{where} is {value!r}, which is not valid Unicode",
                    "decode bytes with their right encoding first",
                    where,
                ) from None
        if "ref:" in value:
            if RREF_MENTION.search(value):
                raise InvalidConfig(
                    f"{where} refers to a realization, {value!r}",
                    "refer to the derivation (rref2dref) and let its matcher select, "
                    "or use match_exact",
                    where,
                )
            for mention in MENTION.findall(value):
                self.dependencies.add(DRef.parse(mention))
        return value


def _kind(value: object) -> str:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"of type {name}: {value!r:.80}"


def _advice(value: object) -> str:
    if isinstance(value, tuple):
        return "tuples become lists in JSON, so write a list"
    if isinstance(value, (bytes, bytearray)):
        return "bytes are no JSON: put them in a file (mkfile), or encode them as text"
    if hasattr(value, "tolist") and hasattr(value, "__len__"):
        return "convert it with .tolist()"
    if isinstance(value, float):
        return "convert it with float(...)"
    if hasattr(value, "__index__"):
        return "convert it with int(...)"
    if hasattr(value, "tolist"):
        return "convert it with .tolist()"
    if hasattr(value, "__fspath__"):
        return "convert it with str(...), or make it a stage with fetchlocal"
    if isinstance(value, (set, frozenset)):
        return "write sorted(...) of it"
    return "a config holds null, booleans, numbers, strings, lists and dicts with string keys only"
