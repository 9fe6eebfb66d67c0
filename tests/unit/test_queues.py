"""Queues: what is taken from them, and how often they look at what has to wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.realize import queues as queues_module
from plxnix.realize.queues import Queues
from plxnix.realize.resources import Demand, Supply


class Counting(Supply):
    """A supply that counts how often it is asked whether there is enough."""

    asked = 0

    def lack(self, demand: Demand) -> tuple[str, float] | None:
        """Count it."""
        self.asked += 1
        return super().lack(demand)


amounts = st.fixed_dictionaries({"cpus": st.integers(1, 4), "disk": st.integers(0, 4)})
demands = st.lists(amounts.map(lambda found: tuple(found.items())), min_size=1, max_size=20)


@given(demands, st.data())
def test_nothing_waits_that_fits(needs: Sequence[Demand], data: st.DataObject) -> None:
    """What can be started is, in each queue the first of the closure, and all are in the end."""
    supply = Supply({"cpus": 4, "disk": 4}, [], 4)
    queues, order = Queues(supply), list[int]()
    waiting, running = dict(enumerate(needs)), dict[int, Demand]()
    for place, demand in reversed(waiting.items()):
        queues.put(place, demand)
    while queues or running:
        for place, demand in queues.taken():
            assert waiting.pop(place) == demand
            assert not any(other < place for other, one in waiting.items() if one == demand)
            running[place] = demand
            order.append(place)
        assert all(supply.lack(one) for one in waiting.values())
        assert bool(queues) == bool(waiting)
        queues.give(running.pop(data.draw(st.sampled_from(sorted(running)))))
    assert sorted(order) == list(range(len(needs)))


def test_many_demands() -> None:
    """Of a thousand stages with needs of their own each is looked at a few times."""
    supply = Counting({"cpus": 2, "disk": 1000}, [], 2)
    queues, running, started = Queues(supply), list[Demand](), 0
    for number in range(1000):
        queues.put(number, (("cpus", 1), ("disk", number)))
    while queues:
        found = [demand for _, demand in queues.taken()]
        started += len(found)
        running += found
        queues.give(running.pop(0))
    assert started == 1000
    assert supply.asked < 5000


class Clock:
    """A clock that stands still."""

    now = 0.0

    def monotonic(self) -> float:
        """Return what it shows."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of queues."""
    found = Clock()
    monkeypatch.setattr(queues_module, "time", found)
    return found


def test_blocked_stages(clock: Clock) -> None:
    """What another process realizes is looked at later, and less and less often."""
    queues, demand = Queues(Supply({}, [], 1)), (("cpus", 1),)
    queues.put(7, demand)
    told, waits = [], []
    for _ in range(9):
        assert list(queues.taken()) == [(7, demand)]
        queues.give(demand)
        told.append(queues.block(7, demand))
        assert list(queues.taken()) == []
        assert queues
        waits.append(queues.next_look() - clock.now)
        clock.now = queues.next_look()
    assert told == [True] + [False] * 8
    assert [round(wait, 2) for wait in waits] == [0.02, 0.04, 0.08, 0.16, 0.32, *[0.5] * 4]
    assert list(queues.taken()) == [(7, demand)]
    queues.unblock(7)
    assert queues.block(7, demand)


def test_a_blocked_stage_that_lacks_something(clock: Clock) -> None:
    """Nobody looks again before there is enough of it."""
    queues, demand = Queues(Supply({}, [], 1)), (("cpus", 1),)
    for place in (0, 1):
        queues.put(place, demand)
    taken = queues.taken()
    assert next(taken) == (0, demand)
    queues.block(0, demand)
    queues.give(demand)
    assert list(taken) == [(1, demand)]
    clock.now = queues.next_look()
    assert list(queues.taken()) == []
    assert queues.next_look() == float("inf")
    queues.give(demand)
    assert list(queues.taken()) == [(0, demand)]
