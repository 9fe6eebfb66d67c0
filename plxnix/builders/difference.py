"""What differs between two trees: the first path in the order of an archive, and how.

Only what a NAR holds counts: names, kinds, contents, targets of links, the owner's x bit. Files are
read side by side in pieces, so that memory does not grow with them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Final

from plxnix.nix.nar import PIECE

#: How much of two texts is compared line by line: before and after the first byte that differs.
BEFORE: Final = 8 << 10
AFTER: Final = 32 << 10

#: Bounds on what is told: lines of a diff, letters of a line, paths.
SHOWN_LINES: Final = 40
SHOWN_WIDTH: Final = 160
SHOWN_PATHS: Final = 100

_HUNK: Final = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")


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

    Cost: reads both once, and files that differ only as far as they are equal. Raises `OSError`.
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
    if first.kind != "contents":
        return Difference(first, (), count, tuple(changes), hint=_cause(first, b"", b"", b"", 0))
    old, new = left / first.path, right / first.path
    offset, line = _first_byte(old, new)
    before, after, start = _windows(old, new, offset)
    lines = _as_text(before, after, offset - start, line) or _as_bytes(before, after, offset, start)
    with open(old, "rb") as file:
        hint = _cause(first, file.read(8), before, after, offset)
    return Difference(first, lines, count, tuple(changes), offset, hint)


# -- walking ---------------------------------------------------------------------------------------


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
        elif _first_byte(Path(os.fsdecode(old)), Path(os.fsdecode(new)))[0] >= 0:
            yield Change(shown, "contents", "has other contents")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    return "a folder" if stat.S_ISDIR(mode) else "a file"


def _first_byte(old: Path, new: Path) -> tuple[int, int]:
    """Return the offset of the first byte that differs, -1 if none does, and line feeds before."""
    offset = lines = 0
    with open(old, "rb") as one, open(new, "rb") as two:
        while True:
            first, second = one.read(PIECE), two.read(PIECE)
            if first != second:
                same = _common(first, second)
                return offset + same, lines + first.count(b"\n", 0, same)
            if not first:
                return -1, lines
            offset += len(first)
            lines += first.count(b"\n")


def _common(first: bytes, second: bytes) -> int:
    """Return how many bytes two strings have in common at their beginning, by halving."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


# -- showing ---------------------------------------------------------------------------------------


def _windows(old: Path, new: Path, offset: int) -> tuple[bytes, bytes, int]:
    """Return what both files hold around `offset`, and where that begins."""
    start = max(0, offset - BEFORE)
    found = []
    for path in (old, new):
        with open(path, "rb") as file:
            file.seek(start)
            found.append(file.read(offset - start + AFTER))
    return found[0], found[1], start


def _as_text(before: bytes, after: bytes, offset: int, line: int) -> tuple[str, ...]:
    """Return a unified diff of two windows that differ at `offset`; nothing if they are no text.

    `line` is how many lines of the file end before that byte.
    """
    begin = before.rfind(b"\n", 0, offset) + 1
    for _ in range(3):
        begin = before.rfind(b"\n", 0, max(0, begin - 1)) + 1
    skipped = line - before.count(b"\n", begin, offset)
    texts = []
    for window in (before[begin:], after[begin:]):
        whole = window[: window.rfind(b"\n") + 1] or window if len(window) >= AFTER else window
        try:
            decoded = whole.decode()
        except UnicodeDecodeError:
            return ()
        if any(ord(sign) < 32 and sign not in "\t\n\r\f\x1b" for sign in decoded):
            return ()
        *lines, last = decoded.split("\n")
        texts.append([*lines, f"{last} (and no line feed)"] if last else lines)
    found: list[str] = []
    for said in list(unified_diff(texts[0], texts[1], n=3, lineterm=""))[2:]:
        hunk = _HUNK.fullmatch(said)
        if hunk:
            first, second = int(hunk[1]) + skipped, int(hunk[3]) + skipped
            said = f"@@ -{first}{hunk[2] or ''} +{second}{hunk[4] or ''} @@"
        found.append(said if len(said) <= SHOWN_WIDTH else said[:SHOWN_WIDTH] + " ...")
    if len(found) > SHOWN_LINES:
        left = len(found) - SHOWN_LINES
        found[SHOWN_LINES:] = [f"... and {left} more lines nearby"]
    return tuple(found)


def _as_bytes(before: bytes, after: bytes, offset: int, start: int) -> tuple[str, ...]:
    """Return the 32 bytes of both sides around `offset`, in hex and as letters."""
    begin = offset // 16 * 16 - start
    lines = [f"at byte {offset} ({offset:#x}):"]
    for sign, window in (("-", before), ("+", after)):
        if begin >= len(window):
            lines.append(f"{sign} (it ends at byte {start + len(window)})")
        for row in range(begin, min(begin + 32, len(window)), 16):
            data = window[row : row + 16]
            letters = "".join(chr(one) if 32 <= one < 127 else "." for one in data)
            lines.append(f"{sign} {start + row:08x}  {data.hex(' '):47}  |{letters}|")
    return tuple(lines)


# -- guessing --------------------------------------------------------------------------------------

_TIME: Final = re.compile(
    rb"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|\b1[5-9]\d{8}\b|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b"
)
_FOLDER: Final = re.compile(rb"/(?:build|tmp|store-v1)/|/nix-build-")

_GENERAL: Final = (
    "usual causes are times, random numbers and hash tables, the order of files in a folder, "
    "parallel work, and addresses in memory"
)


def _cause(first: Change, head: bytes, before: bytes, after: bytes, offset: int) -> str:
    """Guess why two builds differ, from the place where they do."""
    name = first.path.rpartition("/")[2]
    if name.endswith(".pyc"):
        return (
            "compiled Python holds the time of its source: "
            "`python -m compileall --invalidation-mode unchecked-hash`, or remove it"
        )
    if first.kind != "contents":
        return _GENERAL
    if head[:2] == b"\x1f\x8b" and 4 <= offset < 8:
        return "gzip writes the time into its head: `gzip -n`, or `tar ... | gzip -n`"
    if head == b"!<arch>\n":
        return "an archive of ar holds times and owners: `ar D`, `ranlib -D`"
    if head[:2] == b"PK":
        return "a zip file holds the times of its files: set them with `touch -d @1` before"
    near = [_around(window, offset) for window in (before, after)]
    if any(_FOLDER.search(one) for one in near):
        return (
            "it holds the folder in which it was built: build in the sandbox (--sandbox on), where "
            "that is always the same, or map it away (gcc -ffile-prefix-map=$PWD=.)"
        )
    if any(_TIME.search(one) for one in near):
        return "it holds a time: leave it out, or take it from SOURCE_DATE_EPOCH"
    return _GENERAL


def _around(window: bytes, offset: int) -> bytes:
    """Return the neighbourhood of the byte that differs: half a line before it, and after it."""
    place = min(offset, BEFORE)
    begin = max(window.rfind(b"\n", 0, place) + 1, place - 200)
    end = window.find(b"\n", place)
    return window[begin : min(end if end >= 0 else len(window), place + 200)]
