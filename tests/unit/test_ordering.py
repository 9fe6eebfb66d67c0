"""Graphs in order: what depends on nothing first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.ordering import dependencies_first, dependents_first


def _circle(way: list[int]) -> Exception:
    return ValueError(*way)


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30))
def test_each_once_and_after_what_it_depends_on(edges: list[list[int]]) -> None:
    """What is reached comes once, after all below it, and is asked once; the order is stable."""
    graph = {node: [one for one in below if one < node] for node, below in enumerate(edges)}
    asked: list[int] = []

    def below(node: int) -> list[int]:
        asked.append(node)
        return graph[node]

    found = list(dependencies_first(graph, below, _circle))
    assert sorted(found) == sorted(asked) == [*graph]
    assert all(found.index(one) < found.index(node) for node in graph for one in graph[node])
    assert found == list(dependencies_first(graph, graph.__getitem__, _circle))


def test_circles_and_depth() -> None:
    """A circle is told from its first node back to it; a long chain is no trouble."""
    with pytest.raises(ValueError) as caught:
        list(dependencies_first([0], lambda node: [{0: 1, 1: 2, 2: 3, 3: 1}[node]], _circle))
    assert caught.value.args == (1, 2, 3, 1)
    chain = dependencies_first([0], lambda node: [node + 1] if node < 20_000 else [], _circle)
    assert list(chain) == [*range(20_000, -1, -1)]


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30))
def test_the_other_way_round(edges: list[list[int]]) -> None:
    """Each comes before what is below it; what is on a circle, or below one, is told apart."""
    graph = dict(enumerate(edges))
    order, left = dependents_first(graph, graph.__getitem__)
    assert sorted(order + left) == [*graph]
    place = {node: index for index, node in enumerate(order)}
    for node in graph:
        for one in graph[node]:
            if one in place:
                assert place[node] < place[one]
    # Each that is left has one above it that is left as well.
    assert all(any(one in graph[node] for node in left) for one in left)
