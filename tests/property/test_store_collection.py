"""Laws of garbage collection, over random graphs of realizations."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.model import DRef, RRef
from plxnix.store import Store
from plxnix.store.gc import collect, plan_gc
from plxnix.store.query import rrefdeps
from plxnix.store.roots import add_root
from plxnix.store.verify import verify
from tests.store_samples import build, derive, scratch_store


@dataclass(frozen=True)
class Sample:
    """A graph: for each realization its dependencies' places, its start, its derivation's name."""

    nodes: list[tuple[set[int], float, int]]
    kept: set[int]
    rooted: set[int]

    def make(self, store: Store) -> tuple[list[RRef], set[RRef], set[RRef]]:
        """Publish the graph; return all realizations, those to keep, and those with roots."""
        rrefs: list[RRef] = []
        for number, (places, started, name) in enumerate(self.nodes):
            below = [rrefs[place % number] for place in sorted(places)] if number else []
            entries = {"n": b"x" * (number * 10)}
            unique = list(dict.fromkeys(below))
            rrefs.append(build(store, f"n{name}", unique, entries, started))
        kept, rooted = ({rrefs[n % len(rrefs)] for n in some} for some in (self.kept, self.rooted))
        for number, rref in enumerate(rooted):
            add_root(store, f"{store.root}-root{number}", rref)
        return rrefs, kept, rooted


NODES = st.tuples(
    st.sets(st.integers(0, 9), max_size=3),
    st.sampled_from([0.0, 1.0, 2.0, 3.5]),
    st.integers(0, 3),
)
SAMPLES = st.builds(
    Sample,
    st.lists(NODES, min_size=1, max_size=9),
    st.sets(st.integers(0, 9), max_size=2),
    st.sets(st.integers(0, 9), max_size=2),
)


def present(store: Store) -> set[RRef]:
    """Return all realizations that a fresh process sees."""
    opened = Store(store.root)
    return {rref for dref in opened.derivations() for rref in opened.realizations(dref)}


@given(SAMPLES)
def test_the_kept_are_what_roots_reach(sample: Sample) -> None:
    """Without limits, just the closure of the roots is left, the store is whole, and it is done."""
    with scratch_store() as store:
        rrefs, kept, rooted = sample.make(store)
        unborn = derive(store, "unborn", [rrefs[0].dref])
        closure = kept | rooted | rrefdeps(kept | rooted, store)
        plan = plan_gc(store, keep=kept, everything=True)
        assert set(plan.kept) == closure
        assert {garbage.rref for garbage in plan.deleted} == set(rrefs) - closure
        collect(store, plan)
        assert present(store) == closure
        needed: set[DRef] = {rref.dref for rref in closure}
        assert set(store.derivations()) == needed
        assert unborn not in needed
        assert list(verify(store)) == []
        again = plan_gc(store, keep=kept, everything=True)
        assert (again.deleted, again.drefs, again.freed) == ([], [], 0)


@given(SAMPLES, st.none() | st.integers(0, 6000), st.none() | st.sampled_from([0.5, 1.5, 3.0]))
def test_limits(sample: Sample, max_size: int | None, started: float | None) -> None:
    """With limits no more goes than has to, nothing kept lacks what it needs, order is by age."""
    import time

    with scratch_store() as store, pytest.MonkeyPatch.context() as patch:
        rrefs, kept, rooted = sample.make(store)
        # Starts are seconds since 1970, so an age is nearly all the time since then.
        now = time.time()
        patch.setattr(time, "time", lambda: now)
        older = None if started is None else now - started
        plan = plan_gc(store, kept, older, max_size, everything=True)
        deleted = [garbage.rref for garbage in plan.deleted]
        assert set(plan.kept) | set(deleted) == set(rrefs)
        assert set(plan.kept).isdisjoint(deleted)
        assert rrefdeps(plan.kept, store) <= set(plan.kept)
        assert kept | rooted <= set(plan.kept)
        ages = [garbage.used for garbage in plan.deleted]
        assert ages == sorted(ages)
        assert plan.freed == sum(garbage.size for garbage in plan.deleted)
        total = sum(store.record(rref).nar_size for rref in set(rrefs))
        closure = kept | rooted | rrefdeps(kept | rooted, store)
        spared = set(plan.kept) - closure
        if max_size is not None and deleted:
            assert total - plan.freed + plan.deleted[-1].size > max_size
        if max_size is not None and total - plan.freed > max_size and started is None:
            assert not spared
        if started is not None:
            assert all(age < started for age in ages)
        if max_size is None and started is not None:
            users = {rref: rrefdeps([rref], store) | {rref} for rref in set(rrefs) - closure}
            young = [rref for rref in users if store.record(rref).started >= started]
            assert spared == {one for rref in young for one in users[rref]} - closure


@given(SAMPLES, st.integers(0, 8))
def test_an_interrupted_collection_leaves_a_whole_store(sample: Sample, count: int) -> None:
    """After any number of deletions in the planned order, nothing lacks what it was made from."""
    with scratch_store() as store:
        _, kept, _ = sample.make(store)
        plan = plan_gc(store, keep=kept, everything=True)
        with store.deleting():
            store.remove([garbage.rref for garbage in plan.deleted][:count])
        assert list(verify(store)) == []


@given(SAMPLES, SAMPLES)
def test_what_is_made_after_the_plan_stays(sample: Sample, later: Sample) -> None:
    """Collecting by an old plan deletes only what that names, and keeps what is needed by now."""
    with scratch_store() as store:
        rrefs, kept, _ = sample.make(store)
        plan = plan_gc(store, keep=kept, everything=True)
        others, _, _ = later.make(store)
        new = set(others) - set(rrefs)
        done = collect(store, plan)
        left = present(store)
        assert new | set(plan.kept) <= left
        assert {garbage.rref for garbage in done.deleted} <= {g.rref for g in plan.deleted}
        assert list(verify(store)) == []
