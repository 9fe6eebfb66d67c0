"""What differs between two trees: the first path in the order of an archive, and how.

Only what a NAR holds counts: names, kinds, contents, targets of links, the owner's x bit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plxnix.builders.file_difference import GENERAL, PYC, first_byte, told

#: How many paths are told.
SHOWN_PATHS: Final = 100


@dataclass(frozen=True)
class Change:
    """One path that differs: `path` is relative, empty for the whole tree.

    `kind` is `kind` (file, folder or link), `executable`, `target`, `contents`, `missing` (only the
    first tree has it) or `extra` (only the second); `said` is half a sentence about it.
    """

    path: str
    kind: str
    said: str


@dataclass(frozen=True)
class Difference:
    """How two trees differ: the `first` change with the `lines` that show it, and all others.

    `count` is how many paths differ, where a folder that only one has counts once; `changes` are
    the first of them. `offset` is where contents begin to differ, in bytes, and `hint` a guess at
    the cause.
    """

    first: Change
    lines: tuple[str, ...]
    count: int
    changes: tuple[Change, ...]
    offset: int | None = None
    hint: str = ""


def compare(left: Path, right: Path) -> Difference | None:
    """Return how two trees, files or links differ, None if their archives are the same.

    Cost: reads both once, files that differ as far as they are equal, and the first of these again,
    with what is packed in it (`file_difference.told`). Raises `OSError`.
    """
    count = 0
    changes: list[Change] = []
    for change in _changes(os.fsencode(left), os.fsencode(right)):
        count += 1
        if count <= SHOWN_PATHS:
            changes.append(change)
    if not changes:
        return None
    first = changes[0]
    compiled = PYC if first.path.endswith(".pyc") else ""
    if first.kind != "contents":
        return Difference(first, (), count, tuple(changes), hint=compiled or GENERAL)
    with open(left / first.path, "rb") as old, open(right / first.path, "rb") as new:
        found = told(old, new)
    hint = compiled or found.hint
    return Difference(first, found.lines, count, tuple(changes), found.offset, hint)


def _changes(left: bytes, right: bytes) -> Iterator[Change]:
    waiting = [(b"", left, right)]
    while waiting:
        path, old, new = waiting.pop()
        shown = os.fsdecode(path)
        if not old or not new:
            mode = os.lstat(old or new).st_mode
            said = f"is only in the {'first' if old else 'second'}: {_kind(mode)}"
            yield Change(shown, "missing" if old else "extra", said)
            continue
        old_mode, new_mode = os.lstat(old).st_mode, os.lstat(new).st_mode
        if stat.S_IFMT(old_mode) != stat.S_IFMT(new_mode):
            yield Change(shown, "kind", f"is {_kind(old_mode)} and then {_kind(new_mode)}")
        elif stat.S_ISLNK(old_mode):
            targets = os.fsdecode(os.readlink(old)), os.fsdecode(os.readlink(new))
            if targets[0] != targets[1]:
                said = f"is a link to {targets[0]!r} and then to {targets[1]!r}"
                yield Change(shown, "target", said)
        elif stat.S_ISDIR(old_mode):
            olds, news = set(os.listdir(old)), set(os.listdir(new))
            prefix = path + b"/" if path else b""
            for name in sorted(olds | news, reverse=True):
                one = old + b"/" + name if name in olds else b""
                two = new + b"/" + name if name in news else b""
                waiting.append((prefix + name, one, two))
        elif (old_mode ^ new_mode) & stat.S_IXUSR:
            runs = old_mode & stat.S_IXUSR
            said = "is executable and then not" if runs else "is not executable and then is"
            yield Change(shown, "executable", said)
        else:
            with open(old, "rb") as one_file, open(new, "rb") as two_file:
                same = first_byte(one_file, two_file)[0] < 0
            if not same:
                yield Change(shown, "contents", "has other contents")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    return "a folder" if stat.S_ISDIR(mode) else "a file"
