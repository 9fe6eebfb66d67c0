"""Lists and graphs: joined, sorted, and looked through for roots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from queue import PriorityQueue
from typing import Any


def concat(l: list[list[Any]]) -> list[Any]:
    """Return the items of lists in one list."""
    return [item for inner in l for item in inner]


def kahntsort(nodes: Iterable[Any], inbounds: Callable[[Any], set[Any]]) -> list[Any] | None:
    """Sort nodes so that each comes after its `inbounds`, the least first; None for a cycle."""
    missing: dict[Any, int] = {}
    after: dict[Any, list[Any]] = defaultdict(list)
    ready: PriorityQueue[Any] = PriorityQueue()
    for node in nodes:
        before = inbounds(node)
        missing[node] = len(before)
        for one in before:
            after[one].append(node)
        if not before:
            ready.put(node)
    done: list[Any] = []
    while not ready.empty():
        node = ready.get()
        done.append(node)
        for one in after[node]:
            missing[one] -= 1
            if missing[one] == 0:
                ready.put(one)
    return done if len(done) == len(missing) else None


def dagroots(sorted_nodes: list[Any], inbounds: Callable[[Any], set[Any]]) -> set[Any]:
    """Return the nodes that nothing after them needs; they are sorted as `kahntsort` does."""
    needed: set[Any] = set()
    roots = set()
    for node in reversed(sorted_nodes):
        if node not in needed:
            roots.add(node)
        needed |= inbounds(node)
    return roots


__all__ = ["concat", "dagroots", "kahntsort"]
