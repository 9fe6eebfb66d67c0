"""Graphs in order: what depends on nothing first, or last."""

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


def dependents_first(
    nodes: Iterable[_Node], below: Callable[[_Node], Iterable[_Node]]
) -> tuple[list[_Node], list[_Node]]:
    """Return the nodes, each before what it depends on of them; and those where that cannot be.

    These are on circles or below ones. The order follows from that of the nodes and of `below`.
    Cost: linear in the edges.
    """
    counts = dict.fromkeys(nodes, 0)
    for node in counts:
        for one in below(node):
            if one in counts:
                counts[one] += 1
    order = [node for node, count in counts.items() if not count]
    for node in order:  # grows while it is walked
        for one in below(node):
            if one in counts:
                counts[one] -= 1
                if not counts[one]:
                    order.append(one)
    return order, [node for node, count in counts.items() if count]
