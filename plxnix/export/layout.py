"""The layout of a picture: boxes in columns from left to right, with few arrows that cross.

It is the method of Sugiyama: what is needed stands to the left of what needs it, an arrow across a
column has a place of its own there, and boxes stand where those that they are joined to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

#: A box, by any key that can be hashed, or an arrow on its way across a column.
Spot: TypeAlias = Any

#: Distances between columns and between boxes, and the height of an arrow, in pixels.
COLUMN, ROW, ARROW = 56.0, 14.0, 4.0

#: How often the order in the columns is improved; more than this changes little.
_TURNS = 12

#: How many places all arrows may have in columns that they cross. One that would take more than its
#: share goes straight.
_CROSSINGS = 30_000


class Place(NamedTuple):
    """Where a box or an arrow stands: its left edge and its middle, its width and its height."""

    x: float
    y: float
    width: float
    height: float


def lay_out(
    sizes: Mapping[Spot, tuple[float, float]], edges: Iterable[tuple[Spot, Spot]]
) -> tuple[dict[Spot, Place], list[list[Spot]]]:
    """Return the places of all boxes, and for each edge what it goes through, ends included.

    `sizes` are widths and heights, in an order in which each edge leads from a box to a later one.
    The same graph has the same layout. Cost: linear in boxes and edges, but for sorting.
    """
    pairs = list(edges)
    ranks = _ranks(sizes, pairs)
    columns: list[list[Spot]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for spot, rank in ranks.items():
        columns[rank].append(spot)
    ways = []
    before: dict[Spot, list[Spot]] = {}
    after: dict[Spot, list[Spot]] = {}
    for one, other in pairs:
        crossed = range(ranks[one] + 1, ranks[other])
        is_long = len(crossed) > _CROSSINGS // len(pairs)
        between = [] if is_long else [(one, other, rank) for rank in crossed]
        for spot in between:
            columns[spot[2]].append(spot)
        way = [one, *between, other]
        ways.append(way)
        for left, right in pairwise(way):
            before.setdefault(right, []).append(left)
            after.setdefault(left, []).append(right)
    _order(columns, before, after)
    heights = {
        spot: sizes[spot][1] if spot in sizes else ARROW for some in columns for spot in some
    }
    middles = _middles(columns, heights, before, after)
    places = {}
    x = 0.0
    for column in columns:
        width = max((sizes[spot][0] for spot in column if spot in sizes), default=0.0)
        for spot in column:
            places[spot] = Place(x, middles[spot], width, heights[spot])
        x += width + COLUMN
    return places, ways


def _ranks(spots: Iterable[Spot], edges: Sequence[tuple[Spot, Spot]]) -> dict[Spot, int]:
    """Return the column of each box; what needs nothing stands just before what needs it."""
    ranks = dict.fromkeys(spots, 0)
    number = {spot: n for n, spot in enumerate(ranks)}
    for one, other in sorted(edges, key=lambda edge: number[edge[0]]):
        ranks[other] = max(ranks[other], ranks[one] + 1)
    needy = {other for _, other in edges}
    nearest: dict[Spot, int] = {}
    for one, other in edges:
        if one not in needy:
            nearest[one] = min(nearest.get(one, ranks[other]), ranks[other])
    return {**ranks, **{one: rank - 1 for one, rank in nearest.items()}}


def _order(
    columns: list[list[Spot]], before: Mapping[Spot, list[Spot]], after: Mapping[Spot, list[Spot]]
) -> None:
    """Sort each column by where the neighbours of its boxes stand, from either side in turn."""
    for turn in range(_TURNS):
        sides, neighbours = (columns, before) if turn % 2 == 0 else (columns[::-1], after)
        for fixed, column in pairwise(sides):
            rows = {spot: row for row, spot in enumerate(fixed)}
            own = {spot: float(row) for row, spot in enumerate(column)}
            for spot, row in own.items():
                others = [rows[one] for one in neighbours.get(spot, ()) if one in rows]
                own[spot] = _mean(others, row)
            column.sort(key=own.__getitem__)


def _middles(
    columns: list[list[Spot]],
    heights: Mapping[Spot, float],
    before: Mapping[Spot, list[Spot]],
    after: Mapping[Spot, list[Spot]],
) -> dict[Spot, float]:
    """Return how far down each box stands, so that arrows are as straight as may be."""
    middles = dict.fromkeys(heights, 0.0)
    for turn in range(_TURNS):
        for column in columns if turn % 2 == 0 else columns[::-1]:
            wanted = [
                _mean([middles[o] for o in (*before.get(s, ()), *after.get(s, ()))], middles[s])
                for s in column
            ]
            tall = [heights[spot] for spot in column]
            down = _apart(wanted, tall)
            up = [-y for y in _apart([-y for y in wanted[::-1]], tall[::-1])][::-1]
            # Both keep the distances, and so does what is halfway between them.
            halfway = [(a + b) / 2 for a, b in zip(down, up, strict=True)]
            middles.update(zip(column, halfway, strict=True))
    return middles


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return the places next to those wanted, with room between them; what is in the way moves."""
    found: list[float] = []
    for number, (place, height) in enumerate(zip(wanted, heights, strict=True)):
        room = (heights[number - 1] + height) / 2 + ROW
        found.append(max(place, found[-1] + room) if found else place)
    return found


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
