"""Comparison: how two stages or their results differ, fields of configs and files of trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from plxnix.builders.difference import Change, compare
from plxnix.config import Config
from plxnix.model import DRef, RRef
from plxnix.store import Store

#: Stands for a field that one of two configs does not have.
MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda self: "nothing"})()  # noqa: ARG005


@dataclass(frozen=True)
class Field:
    """A field of a config that differs: its path, as `model.layers[0]`, and both values.

    A field that one config lacks has the value `MISSING` there.
    """

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Comparison:
    """How two references differ.

    `fields` are the fields of their configs that differ. If both are realizations, `files` says
    how their trees do: the first hundred changes of `count`, with lines that show the first place
    where the contents of a file differ.
    """

    before: DRef | RRef
    after: DRef | RRef
    fields: tuple[Field, ...]
    files: tuple[tuple[Change, tuple[str, ...]], ...] = ()
    count: int = 0

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.fields or self.files)

    def lines(self) -> Iterator[str]:
        """Yield the comparison as text; nothing if there is no difference."""
        for field in self.fields:
            yield f"{field.path}: {field.before!r} -> {field.after!r}"
        for change, lines in self.files:
            yield f"{change.path or '.'} {change.said}"
            yield from (f"  {line}" for line in lines)
        if self.count > len(self.files):
            yield f"... and {self.count - len(self.files)} more"


def compare_references(store: Store, before: DRef | RRef, after: DRef | RRef) -> Comparison:
    """Compare the configs of two references, and if both are realizations, their trees.

    Raises `NotInStore`, `CorruptEntry`. Cost: reads both trees once.
    """
    configs = [store.config(one.dref if isinstance(one, RRef) else one) for one in (before, after)]
    fields = tuple(_fields(*configs))
    if not (isinstance(before, RRef) and isinstance(after, RRef)):
        return Comparison(before, after, fields)
    trees = Path(store.path(before)), Path(store.path(after))
    found = None if before == after else compare(*trees)
    if found is None:
        return Comparison(before, after, fields)
    files = []
    for change in found.changes:
        lines: tuple[str, ...] = ()
        if change == found.first:
            lines = found.lines
        elif change.kind == "contents":
            inner = compare(trees[0] / change.path, trees[1] / change.path)
            lines = () if inner is None else inner.lines
        files.append((change, lines))
    return Comparison(before, after, fields, tuple(files), found.count)


def _fields(before: Config, after: Config) -> Iterator[Field]:
    left, right = dict(_leaves(before.value(), "")), dict(_leaves(after.value(), ""))
    for path in sorted({*left, *right}):
        one, two = left.get(path, MISSING), right.get(path, MISSING)
        # True is 1 in Python, and 1 is 1.0, but not in a config.
        if one is not two and (one != two or type(one) is not type(two)):
            yield Field(path, one, two)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value
