"""Graphs in order: what depends on nothing first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Node = TypeVar("_Node")


def dependencies_first(
    roots: Iterable[_Node],
    below: Callable[[_Node], Iterable[_Node]],
    circle: Callable[[list[_Node]], Exception],
) -> Iterator[_Node]:
    """Yield the roots and all that they depend on, each once and after what it depends on.

    The order follows from that of the roots and of `below` alone, which is asked once for each
    node. `circle` makes the error for nodes that depend on each other, of which it gets the way
    from the first back to itself. Cost: linear in the edges; depth is not bounded.
    """
    done: set[_Node] = set()
    for root in roots:
        if root in done:
            continue
        # The way from the root to where we are, with what is left of each node's dependencies.
        way = {root: iter(below(root))}
        while way:
            node, rest = next(reversed(way.items()))
            for one in rest:
                if one in way:
                    passed = [*way]
                    raise circle([*passed[passed.index(one) :], one])
                if one not in done:
                    way[one] = iter(below(one))
                    break
            else:
                del way[node]
                done.add(node)
                yield node
