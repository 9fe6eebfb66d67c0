"""Graphs drawn as trees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def branches(
    tops: Sequence[T],
    edges: Mapping[T, Sequence[T]],
    label: Callable[[T], str],
    depth: int | None = None,
) -> Iterator[str]:
    """Yield the lines of a drawing of what is below `tops`, down to a depth.

    What is below something is drawn where that comes first; later it is marked (*). Iterative,
    since graphs may be deep.
    """
    plain = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf").lower()
    tee, last, bar, gap = (
        ("|-- ", "`-- ", "|   ", "    ") if plain else ("├── ", "└── ", "│   ", "    ")
    )
    seen: set[T] = set()
    # Each waits with what stands before it, and before what is below it.
    waiting = [(one, "", "", 0) for one in reversed(tops)]
    while waiting:
        one, before, below, level = waiting.pop()
        children = edges.get(one, ())
        again = one in seen and bool(children)
        cut = depth is not None and level >= depth and bool(children)
        yield f"{before}{label(one)}{' (*)' if again else ' ...' if cut else ''}"
        if again or cut:
            continue
        seen.add(one)
        head, rest = below + last, below + gap
        for child in reversed(children):
            waiting.append((child, head, rest, level + 1))
            head, rest = below + tee, below + bar
