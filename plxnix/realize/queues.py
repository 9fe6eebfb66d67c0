"""Queues: the stages that have to run, until there is enough of what they need."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from plxnix.realize.resources import Demand, Supply

#: Seconds between two looks at a stage that another process realizes: the first, and the longest.
_SOON, _LATER = 0.02, 0.5


class Queues:
    """Stages that have to run, by what they need, as their places in the closure.

    In each queue the first of the closure is on top. A queue is looked at when it is new, and when
    there is enough again of what it lacked: cost does not grow with the queues that wait.
    """

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._queues: dict[Demand, list[int]] = {}
        #: Each queue with a stage in it is in one of these: to be looked at, or short of something,
        #: by its name, as heaps of how much of it is needed.
        self._fresh: deque[Demand] = deque()
        self._short: dict[str, list[tuple[float, int, Demand]]] = {}
        self._numbers = count()
        #: Of what something has been given back.
        self._given: dict[str, None] = {}
        #: Stages that other processes realize, by when to look again; and how long each waits then.
        self._blocked: list[tuple[float, int, Demand]] = []
        self._waits: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._blocked or self._fresh or any(self._short.values()))

    def put(self, place: int, demand: Demand) -> None:
        """Add a stage."""
        queue = self._queues.setdefault(demand, [])
        if not queue:
            self._fresh.append(demand)
        heappush(queue, place)

    def taken(self) -> Iterator[tuple[int, Demand]]:
        """Take what can be started, with what it needs: in each queue the first, while it lasts.

        Meanwhile stages may be blocked and demands given back, but no stage put.
        """
        while self._blocked and self._blocked[0][0] <= time.monotonic():
            _, place, demand = heappop(self._blocked)
            self.put(place, demand)
        while (found := self._next()) is not None:
            queue = self._queues[found]
            while (lack := self._supply.lack(found)) is None:
                self._supply.take(found)
                yield heappop(queue), found
                if not queue:
                    break
            else:
                name, amount = lack
                heappush(self._short.setdefault(name, []), (amount, next(self._numbers), found))

    def _next(self) -> Demand | None:
        """Return a queue with a stage that may be started."""
        if self._fresh:
            return self._fresh.popleft()
        while self._given:
            name = next(iter(self._given))
            short = self._short.get(name)
            if short and self._supply.has(name, short[0][0]):
                return heappop(short)[2]
            del self._given[name]
        return None

    def give(self, demand: Demand) -> None:
        """Give back what a stage had."""
        self._supply.give(demand)
        self._given.update(dict.fromkeys(name for name, _ in demand))

    def block(self, place: int, demand: Demand) -> bool:
        """Put a stage back that another process realizes; tell whether that is new."""
        new = place not in self._waits
        wait = self._waits[place] = min(2 * self._waits.get(place, _SOON / 2), _LATER)
        heappush(self._blocked, (time.monotonic() + wait, place, demand))
        return new

    def unblock(self, place: int) -> None:
        """Forget that another process realized a stage."""
        self._waits.pop(place, None)

    def next_look(self) -> float:
        """Return when a blocked stage may be looked at again, by the monotonic clock."""
        return self._blocked[0][0] if self._blocked else float("inf")
