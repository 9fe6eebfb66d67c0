"""How two files differ: a diff of texts, or the bytes at the place; and what may be the cause.

What is compressed or archived is looked into. Files are read side by side in pieces; only of those
that are not large is more than a few pieces held in memory.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import BinaryIO, Final

from plxnix.builders import layers
from plxnix.nix.nar import PIECE

#: How much of two texts is compared line by line: before and after the first byte that differs.
BEFORE: Final = 8 << 10
AFTER: Final = 32 << 10

#: Bounds on what is told: lines of a diff, letters of a line, texts within other bytes, layers.
SHOWN_LINES: Final = 40
SHOWN_WIDTH: Final = 160
SHOWN_TEXTS: Final = 12
DEEPEST: Final = 5

#: How much of two files is searched for texts, and for an order that differs.
SEARCHED: Final = 8 << 20

_HUNK: Final = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")
_PRINTED: Final = re.compile(rb"[\t -~]{6,}")


@dataclass(frozen=True)
class Told:
    """How files differ: from which byte on, lines that show it, likely causes."""

    offset: int
    lines: tuple[str, ...]
    hint: str


def told(old: BinaryIO, new: BinaryIO, depth: int = 0) -> Told:
    """Tell how two files differ; they do, and can be read from any place.

    Cost: reads both as far as they are equal; files below `layers.LONGEST` as a whole.
    """
    offset, line = first_byte(old, new)
    wholes = [_whole(one) for one in (old, new)]
    inner = _inside(wholes[0], wholes[1], depth) if all(wholes) and depth < DEEPEST else None
    if inner is not None:
        return Told(offset, *inner)
    before, after, start = _windows(old, new, offset)
    lines = _as_text(before, after, offset - start, line)
    near = [_around(window, offset - start) for window in (before, after)]
    if not lines:
        lines = _as_bytes(before, after, offset, start)
        texts = _texts(wholes[0][:SEARCHED], wholes[1][:SEARCHED])
        if texts:
            lines += ("texts in it:", *map(_cut, texts))
            near += [text.encode() for text in texts]
    old.seek(0)
    hint = _head_cause(old.read(8), offset) or _cause(near)
    if hint == GENERAL and _is_reordered(wholes[0], wholes[1]):
        hint = ORDER
    return Told(offset, lines, hint)


def first_byte(one: BinaryIO, two: BinaryIO) -> tuple[int, int]:
    """Return the offset of the first byte that differs, -1 if none does, and line feeds before."""
    offset = lines = 0
    for file in (one, two):
        file.seek(0)
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


def _whole(file: BinaryIO) -> bytes:
    """Return all of a file, nothing if it is too long."""
    file.seek(0)
    data = file.read(layers.LONGEST + 1)
    return data if len(data) <= layers.LONGEST else b""


def _windows(old: BinaryIO, new: BinaryIO, offset: int) -> tuple[bytes, bytes, int]:
    """Return what both files hold around `offset`, and where that begins."""
    start = max(0, offset - BEFORE)
    found = []
    for file in (old, new):
        file.seek(start)
        found.append(file.read(offset - start + AFTER))
    return found[0], found[1], start


# -- looking into it -------------------------------------------------------------------------------


def _inside(old: bytes, new: bytes, depth: int) -> tuple[tuple[str, ...], str] | None:
    """Return lines and causes for what two files hold; None if they hold no others of one kind."""
    one, two = layers.opened(old), layers.opened(new)
    if one is None or two is None or one.kind != two.kind:
        return None
    lines: list[str] = []
    hints: list[str] = []
    if one.listing != two.listing:
        lines += [f"in the head of {one.kind}:" if "" in one.members else f"listed by {one.kind}:"]
        lines += _diff(one.listing, two.listing, 0)
        hints.append(one.hint)
    name = layers.differing(one, two)
    if name is not None:
        inner = told(io.BytesIO(one.members[name]), io.BytesIO(two.members[name]), depth + 1)
        lines += [f"within {one.kind}{f', {name}' if name else ''}:", *inner.lines]
        hints += [inner.hint] if inner.hint != GENERAL or not hints else []
    if not lines:
        lines = [f"within {one.kind} all is the same"]
        hints = ["it was packed in another way, as by another release or number of threads"]
    return tuple(map(_cut, lines)), "; ".join(dict.fromkeys(filter(None, hints)))


# -- showing ---------------------------------------------------------------------------------------


def _as_text(before: bytes, after: bytes, offset: int, line: int) -> tuple[str, ...]:
    """Return a unified diff of two windows that differ at `offset`; nothing if they are no text.

    `line` is how many lines of the file end before that byte.
    """
    begin = before.rfind(b"\n", 0, offset) + 1
    column = len(before[begin:offset].decode("utf-8", "ignore"))
    for _ in range(3):
        begin = before.rfind(b"\n", 0, max(0, begin - 1)) + 1
    skipped = line - before.count(b"\n", begin, offset)
    texts = []
    for window in (before[begin:], after[begin:]):
        whole = window[: window.rfind(b"\n") + 1] or window if len(window) >= AFTER else window
        decoded = _decoded(whole)
        if decoded is None:
            return ()
        *lines, last = decoded.split("\n")
        texts.append([*lines, f"{last} (and no line feed)"] if last else lines)
    found = []
    for said in _diff(texts[0], texts[1], 3):
        hunk = _HUNK.fullmatch(said)
        if hunk:
            first, second = int(hunk[1]) + skipped, int(hunk[3]) + skipped
            said = f"@@ -{first}{hunk[2] or ''} +{second}{hunk[4] or ''} @@"
        found.append(_cut(said, column))
    return tuple(found)


def _decoded(data: bytes) -> str | None:
    """Decode a piece of a text, whose first and last letters may be cut; None if it is none."""
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(3):
        text = text[1:] if "\udc80" <= text[:1] <= "\udcff" else text
        text = text[:-1] if "\udc80" <= text[-1:] <= "\udcff" else text
    odd = any(ord(sign) < 32 and sign not in "\t\n\r\f\x1b" for sign in text)
    return None if odd or any("\udc80" <= sign <= "\udcff" for sign in text) else text


def _diff(old: Sequence[str], new: Sequence[str], context: int) -> list[str]:
    found = list(unified_diff(old, new, n=context, lineterm=""))[2:]
    if len(found) > SHOWN_LINES:
        left = len(found) - SHOWN_LINES
        found[SHOWN_LINES:] = [f"... and {left} more lines nearby"]
    return found


def _cut(line: str, column: int = 0) -> str:
    """Cut a long line; what is around `column` is left."""
    begin = column - SHOWN_WIDTH // 2 if column > SHOWN_WIDTH else 0
    if len(line) > SHOWN_WIDTH + 8:
        middle = line[1 + begin : SHOWN_WIDTH + begin]
        line = (
            f"{line[0]}{'... ' * (begin > 0)}{middle}{' ...' * (len(line) > begin + SHOWN_WIDTH)}"
        )
    return line


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


def _texts(old: bytes, new: bytes) -> list[str]:
    """Return the texts in bytes that only one side has, if they are few."""
    sides = [dict.fromkeys(_PRINTED.findall(data)) for data in (old, new)]
    found = []
    for sign, mine, others in (("-", *sides), ("+", *reversed(sides))):
        found += [f"{sign}{text.decode('ascii')}" for text in mine if text not in others]
    return found if len(found) <= SHOWN_TEXTS else []


# -- guessing --------------------------------------------------------------------------------------

_TIME: Final = re.compile(
    rb"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|\b1[5-9]\d{8}\b|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b"
)
_FOLDER: Final = re.compile(rb"/(?:build|tmp|store-v1)/|/nix-build-")

GENERAL: Final = (
    "usual causes are times, random numbers and hash tables, the order of files in a folder, "
    "parallel work, and addresses in memory"
)
PYC: Final = (
    "compiled Python holds the time of its source: "
    "`python -m compileall --invalidation-mode unchecked-hash`, or remove it"
)
ORDER: Final = (
    "the same words in another order: sort what comes out of folders, sets, hash tables and "
    "parallel work (`sort`, `sorted()`, `sort_keys=True`)"
)


def _head_cause(head: bytes, offset: int) -> str:
    """Guess why two files differ that could not be looked into, from how they begin."""
    if head[:2] == b"\x1f\x8b" and 4 <= offset < 8:
        return layers.GZIP
    if head == b"!<arch>\n":
        return layers.AR
    return layers.ZIP if head[:2] == b"PK" else ""


def _cause(near: Sequence[bytes]) -> str:
    """Guess why two files differ, from what is around the place where they do."""
    if any(_FOLDER.search(one) for one in near):
        return (
            "it holds the folder in which it was built: build in the sandbox (--sandbox on), where "
            "that is always the same, or map it away (gcc -ffile-prefix-map=$PWD=.)"
        )
    if any(_TIME.search(one) for one in near):
        return "it holds a time: leave it out, or take it from SOURCE_DATE_EPOCH"
    return GENERAL


def _around(window: bytes, place: int) -> bytes:
    """Return the neighbourhood of the byte that differs: half a line before it, and after it."""
    begin = max(window.rfind(b"\n", 0, place) + 1, place - 200)
    end = window.find(b"\n", place)
    return window[begin : min(end if end >= 0 else len(window), place + 200)]


def _is_reordered(old: bytes, new: bytes) -> bool:
    """Tell whether two texts have the same words, in another order."""
    if len(old) != len(new) or len(old) > SEARCHED or b"\0" in old:
        return False
    mine, others = (re.split(rb"[^\w.]+", data) for data in (old, new))
    return mine != others and sorted(mine) == sorted(others)
