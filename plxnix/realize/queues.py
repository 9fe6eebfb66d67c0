"""Queues: the stages that have to run, until there is enough of what they need."""

from __future__ import annotations

import time
from collections.abc import Iterator
from heapq import heappop, heappush

from plxnix.realize.resources import Demand, Supply

#: Seconds between two looks at a stage that another process realizes: the first, and the longest.
_SOON, _LATER = 0.02, 0.5


class Queues:
    """Stages that have to run, by what they need, as their places in the closure.

    In each queue the first of the closure is on top.
    """

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._queues: dict[Demand, list[int]] = {}
        #: Stages that other processes realize: when to look again, and how long to wait after that.
        self._blocked: dict[int, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def put(self, place: int, demand: Demand) -> None:
        """Add a stage."""
        heappush(self._queues.setdefault(demand, []), place)

    def taken(self) -> Iterator[tuple[int, Demand]]:
        """Take what can be started, with what it needs: in each queue the first, while it lasts.

        Meanwhile stages may be blocked and demands given back, but no stage put.
        """
        now = 0.0
        if self._blocked:
            now = time.monotonic()
        for demand, queue in self._queues.items():
            late: list[int] = []
            while queue and self._supply.take(demand):
                place = heappop(queue)
                if place in self._blocked and self._blocked[place][0] > now:
                    self._supply.give(demand)
                    late.append(place)
                    continue
                yield place, demand
            for place in late:
                heappush(queue, place)

    def give(self, demand: Demand) -> None:
        """Give back what a stage had."""
        self._supply.give(demand)

    def block(self, place: int, demand: Demand) -> bool:
        """Put a stage back that another process realizes; tell whether that is new."""
        new = place not in self._blocked
        wait = min(2 * self._blocked.get(place, (0, _SOON / 2))[1], _LATER)
        self._blocked[place] = time.monotonic() + wait, wait
        heappush(self._queues[demand], place)
        return new

    def unblock(self, place: int) -> None:
        """Forget that another process realized a stage."""
        self._blocked.pop(place, None)

    def next_look(self) -> float:
        """Return when a blocked stage may be looked at again, by the monotonic clock."""
        return min((when for when, _ in self._blocked.values()), default=float("inf"))
