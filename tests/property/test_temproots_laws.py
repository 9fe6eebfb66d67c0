"""Laws of temporary roots: whatever is collected while stages stand still, nothing is lost."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plxnix import DRef, Store
from plxnix.paused import ReplHelper
from plxnix.repl import repl_build, repl_continue, repl_realize
from plxnix.store import Fsync, temproots
from plxnix.store.gc import collect, plan_gc
from plxnix.store.query import rrefdeps
from plxnix.store.verify import verify
from tests.stage_samples import Lab
from tests.store_samples import build, scratch_store

#: What each stage of the sample depends on, by number.
BELOW = [[], [0], [0, 1], [], [3, 1], [2, 4]]


class Interleavings(RuleBasedStateMachine):
    """Realizations that stand still before stages, and collections between their steps."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = scratch_store()
        self.store = self.scratch.__enter__()
        self.running: list[ReplHelper] = []

    def teardown(self) -> None:
        """End what still runs: then nothing is kept."""
        for helper in self.running:
            helper.cancel()
        assert temproots.kept(self.store.layout) == {}
        self.scratch.__exit__(None, None, None)

    @rule(top=st.integers(0, len(BELOW) - 1), pauses=st.sets(st.integers(0, len(BELOW) - 1)))
    def begin(self, top: int, pauses: set[int]) -> None:
        """Begin a realization, as another process would: nothing is remembered of the store."""
        lab = Lab(Path(self.store.root))
        drefs: list[DRef] = []
        for number, below in enumerate(BELOW):
            drefs.append(lab.stage(f"s{number}", *(drefs[one] for one in below)))
        closure = lab.closure(drefs[top])
        wanted = {drefs[one] for one in (top, *pauses)}
        self.running.append(repl_realize(closure, wanted & closure.derivations.keys()))

    @precondition(lambda self: bool(self.running))
    @rule(which=st.integers(0), by_hand=st.booleans())
    def step(self, which: int, by_hand: bool) -> None:
        """Let one of them make its stage, and go on to the next."""
        helper = self.running[which % len(self.running)]
        if by_hand:
            made = repl_build(helper)
            (made.outpaths[0] / "out").write_text(f"by hand {which % 3}")
            repl_continue(made.outpaths, helper=helper)
        else:
            repl_continue(helper=helper)
        if helper.pause is None:
            self.running.remove(helper)

    @precondition(lambda self: bool(self.running))
    @rule(which=st.integers(0))
    def give_up(self, which: int) -> None:
        """Cancel one of them."""
        self.running.pop(which % len(self.running)).cancel()

    @rule()
    def collect(self) -> None:
        """Collect all garbage: what is left is what the running ones work with."""
        store = Store(self.store.root, Fsync.NONE)
        build(store, "garbage")
        done = collect(store, plan_gc(store, everything=True))
        used = {dref for helper in self.running for dref in helper.work.closure.derivations}
        assert "garbage" in [one.rref.name for one in done.deleted]
        assert {one.dref for one in done.kept} <= used
        assert set(store.derivations()) <= used

    @invariant()
    def nothing_is_lost(self) -> None:
        """What is selected is there, with all that it needs, and the store is whole."""
        store = Store(self.store.root)
        for helper in self.running:
            selected = {rref for rrefs in helper.selected.values() for rref in rrefs}
            for rref in selected | rrefdeps(selected, store):
                store.path(rref)
        assert list(verify(store)) == []


Interleavings.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestInterleavings = Interleavings.TestCase
