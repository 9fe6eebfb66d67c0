"""Turns: threads with much small work do it one after the other, and nobody waits for long work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from plxnix.realize.turns import turn


def together(*functions: Callable[[], object]) -> None:
    """Run functions in threads of their own, which begin one after the other."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()


def test_small_work_is_done_alone() -> None:
    """Blocks that take less than a moment do not overlap."""
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
    assert overlaps < rounds / 4  # On a busy machine a block may take long.


def test_long_work_is_not_waited_for() -> None:
    """Who meets somebody's long block goes on soon, and those that come later go on at once."""
    waited: list[float] = []
    done = threading.Event()

    def long() -> None:
        with turn():
            done.wait(30)

    def short() -> None:
        for _ in range(50):
            started = time.monotonic()
            with turn():
                waited.append(time.monotonic() - started)
        done.set()

    together(long, short)
    assert len(waited) == 50
    assert sum(waited) < 10
    assert sorted(waited)[40] < 0.002


def test_a_block_within_a_block() -> None:
    """Who is within a block already goes on as well, such as a stage that realizes others."""
    started = time.monotonic()
    for _ in range(3):
        with turn(), turn(), turn():
            pass
    assert time.monotonic() - started < 5
