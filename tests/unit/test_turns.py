"""Turns: threads with much small work do it one after the other, and nobody waits for long work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from plxnix.realize import turns
from plxnix.realize.turns import turn
from tests.waiting import PATIENCE


def together(*functions: Callable[[], object]) -> None:
    """Run functions in threads of their own."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_small_work_is_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that take less than a moment, here a long one, do not overlap."""
    monkeypatch.setattr(turns, "_LONG", PATIENCE)
    inside, overlaps, rounds = 0, 0, 200
    begun = threading.Barrier(2)

    def work() -> None:
        nonlocal inside, overlaps
        begun.wait()
        for _ in range(rounds):
            with turn():
                overlaps += inside
                inside += 1
                time.sleep(0.0001)
                inside -= 1

    together(work, work)
    assert overlaps == 0


def test_long_work_is_not_waited_for() -> None:
    """Who meets somebody's long block goes on soon, and those that come later go on at once."""
    begun, done = threading.Event(), threading.Event()
    in_time: list[bool] = []
    latest: list[object] = []

    def long() -> None:
        with turn():
            begun.set()
            in_time.append(done.wait(PATIENCE))

    def short() -> None:
        begun.wait(PATIENCE)
        for _ in range(50):
            with turn():
                latest.append(turns._latest)
        done.set()

    together(long, short)
    assert in_time == [True]
    # Only the first one had to give up waiting.
    assert latest == [latest[0]] * 50


def test_a_block_within_a_block() -> None:
    """Who is within a block already goes on as well, such as a stage that realizes others."""
    for _ in range(3):
        with turn(), turn(), turn():
            pass
