"""Laws of realizing, over random graphs: what runs, what is found, in which order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from plxnix import Build, DRef, RRef
from plxnix.store import tree
from tests.stage_samples import Lab


@dataclass(frozen=True)
class Node:
    """A stage of a random graph: the numbers of earlier stages it uses, parameter, result.

    If `constant` it writes the same whatever it is made from, and else what its inputs hold.
    """

    below: tuple[int, ...]
    parameter: int
    constant: bool


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Draw a graph of up to 8 stages, each of which uses some of those before it."""
    size = draw(st.integers(1, 8))
    return [
        Node(
            tuple(sorted(draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else ())),
            draw(st.integers(0, 2)),
            draw(st.booleans()),
        )
        for number in range(size)
    ]


@contextmanager
def laboratory() -> Iterator[Lab]:
    """Give a laboratory that is gone afterwards."""
    folder = tempfile.mkdtemp()
    lab = Lab(Path(folder, "store"))
    try:
        yield lab
    finally:
        lab.store.session().close()
        tree.remove(folder)


def register(lab: Lab, graph: list[Node]) -> list[DRef]:
    """Register the stages of a graph."""
    drefs: list[DRef] = []
    for number, node in enumerate(graph):

        def content(build: Build, node: Node = node) -> str:
            if node.constant:
                return "constant"
            texts = [lab.text(rref) for rrefs in build.context.values() for rref in rrefs]
            return f"{node.parameter}({','.join(sorted(texts))})"

        below = [drefs[index] for index in node.below]
        drefs.append(lab.stage(f"s{number}", *below, content=content, parameter=node.parameter % 3))
    return drefs


def expected_runs(lab: Lab, drefs: list[DRef], done: set[tuple[object, ...]]) -> list[str]:
    """Return the names of stages that are not among those made from the same before."""
    names: list[str] = []
    for dref in drefs:
        (rref,) = lab.realize([dref])
        context = lab.store.record(rref).context
        key = (dref, *sorted(context.items()))
        if key not in done:
            done.add(key)
            names.append(dref.name)
    return names


def topological(lab: Lab, drefs: list[DRef]) -> bool:
    """Tell whether each derivation comes after what it depends on."""
    seen: set[DRef] = set()
    for dref in drefs:
        if not seen.issuperset(lab.store.config(dref).dependencies):
            return False
        seen.add(dref)
    return True


@given(graphs())
def test_realizing_twice_runs_once(graph: list[Node]) -> None:
    """Each stage runs once; in a second process nothing runs, and the result is the same."""
    with laboratory() as lab:
        first: list[RRef] = lab.realize(register(lab, graph))
        assert sorted(lab.runs) == sorted(f"s{number}" for number in range(len(graph)))
        lab.again()
        assert lab.realize(register(lab, graph)) == first
        assert lab.runs == []
        assert lab.leftovers() == []


@given(graphs(), st.data())
def test_only_what_is_new_runs(graph: list[Node], data: st.DataObject) -> None:
    """After changes those stages run that are new, or have got another context; no others."""
    with laboratory() as lab:
        done: set[tuple[object, ...]] = set()
        for _ in range(3):
            lab.again()
            drefs = register(lab, graph)
            lab.realize(drefs)
            ran = list(lab.runs)
            assert sorted(ran) == sorted(expected_runs(lab, drefs, done))
            assert lab.runs == ran
            number = data.draw(st.integers(0, len(graph) - 1))
            graph = [*graph]
            graph[number] = replace(graph[number], parameter=data.draw(st.integers(0, 2)))


@given(graphs(), st.data())
def test_plans_tell_the_truth(graph: list[Node], data: st.DataObject) -> None:
    """What a plan says is cached does not run; what runs without stale inputs was planned."""
    with laboratory() as lab:
        drefs = register(lab, graph)
        targets = data.draw(st.lists(st.sampled_from(drefs), min_size=1, unique=True))
        lab.realize(targets)
        lab.runs.clear()
        forced = data.draw(st.sets(st.sampled_from(targets)))
        plan = lab.realize(drefs, dry_run=True, force_rebuild=forced)
        lab.realize(drefs, force_rebuild=forced)
        planned = {stage.dref.name: stage for stage in plan}
        for name in lab.runs:
            assert planned[name].would_run
        for stage in plan.would_run:
            assert stage.dref.name in lab.runs or stage.reason.startswith("depends on")
        assert {dref.name for dref in forced} <= {*lab.runs}


@given(graphs(), st.data())
def test_closures_hold_what_is_needed(graph: list[Node], data: st.DataObject) -> None:
    """A closure has the targets and what is below them, dependencies first, and nothing else."""
    with laboratory() as lab:
        drefs = register(lab, graph)
        targets = data.draw(st.lists(st.sampled_from(drefs), min_size=1, unique=True))
        closure = lab.closure(targets)
        needed = {*targets}
        for dref in reversed(drefs):
            if dref in needed:
                needed.update(lab.store.config(dref).dependencies)
        assert {*closure.derivations} == needed
        assert topological(lab, [*closure.derivations])
        for dref in closure.derivations:
            assert {*closure.part(dref).derivations} <= needed


@given(graphs())
def test_stores_agree(graph: list[Node]) -> None:
    """Two stores in which a graph is realized in other orders have the same realizations."""
    with laboratory() as one, laboratory() as other:
        found: list[RRef] = one.realize(register(one, graph))
        drefs = register(other, graph)
        for dref in reversed(drefs):
            other.realize(dref)
        assert other.realize(drefs) == found
