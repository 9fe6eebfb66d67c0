"""What is run and what is not: caching, changes of the context, force and assertion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    Build,
    Context,
    DRef,
    Registry,
    RRef,
    Store,
    build_wrapper,
    evaluate,
    match_all,
    match_best,
    match_latest,
    match_only,
    match_some,
    mkdrv,
    realize,
    realize1,
    realizeMany,
    rrefctx,
)
from plxnix.errors import InvalidValue, MatcherUnsatisfied, NotRealized
from tests.stage_samples import Lab


def diamond(lab: Lab, base: str = "1", left: str = "left") -> list[DRef]:
    """Two stages that use one, and a top that uses both; `base` is the lowest stage's parameter."""

    def copy(build: Build) -> str:
        return Path(build.store.path(next(iter(build.context.values()))[0]), "out").read_text()

    a = lab.stage("a", content=f"a{base}", parameter=base)
    b, c = lab.stage("left", a, content=left), lab.stage("right", a, content=copy)
    return [a, b, c, lab.stage("top", b, c)]


class TestCaching:
    """What was realized from the same context is not realized again."""

    def test_dependencies_first_and_once(self, lab: Lab) -> None:
        """Each stage of a diamond runs once, after what it depends on."""
        lab.realize(diamond(lab)[-1])
        assert sorted(lab.runs) == ["a", "left", "right", "top"]
        assert lab.runs[0] == "a"
        assert lab.runs[-1] == "top"

    def test_nothing_to_do(self, lab: Lab) -> None:
        """In a second process nothing runs, and the same references come back."""
        first = lab.realize(diamond(lab))
        lab.again()
        assert lab.realize(diamond(lab)) == first
        assert lab.runs == []

    def test_one_parameter_changed(self, lab: Lab) -> None:
        """A change runs what is above it, and nothing beside."""
        lab.realize([*diamond(lab), lab.stage("beside")])
        lab.again()
        lab.realize([*diamond(lab, base="2"), lab.stage("beside")])
        assert sorted(lab.runs) == ["a", "left", "right", "top"]

    def test_change_and_back(self, lab: Lab) -> None:
        """Going back to earlier parameters runs nothing: both versions are kept."""
        first = lab.realize(diamond(lab))
        lab.realize(diamond(lab, base="2"))
        lab.again()
        assert lab.realize(diamond(lab)) == first
        assert lab.runs == []

    def test_early_cutoff(self, lab: Lab) -> None:
        """A rerun that gives the same bytes gives the same reference: what is above is cached."""
        drefs = diamond(lab)
        first = lab.realize(drefs)
        lab.again()
        assert lab.realize(diamond(lab), force_rebuild=[drefs[0]]) == first
        assert lab.runs == ["a"]

    def test_deep_chain(self, lab: Lab) -> None:
        """A chain of 2,000 stages is realized, and found realized, without recursion."""

        def chain() -> DRef:
            dref = lab.stage("link")
            for number in range(1_999):
                dref = lab.stage("link", dref, number=number)
            return dref

        rref = lab.realize(chain())
        assert len(lab.runs) == 2_000
        lab.again()
        assert lab.realize(chain()) == rref
        assert lab.runs == []

    def test_evaluate(self, tmp_path: Path) -> None:
        """Evaluate instantiates and realizes one stage, arguments and all."""
        registry = Registry(Store.init(tmp_path / "store"))

        def stage(name: str, *, r: Registry) -> DRef:
            return mkdrv(
                {"name": name, "same": r is registry}, match_only(), build_wrapper(lambda _: None)
            )

        rref = evaluate(stage, "evaluated", registry=registry)
        assert rref.name == "evaluated"
        assert registry.store.config(rref.dref)["same"] is True


class TestContexts:
    """A realization belongs to the realizations that it was made from."""

    def test_another_result_below(self, lab: Lab) -> None:
        """What depends on another result runs again, and goes back without a run."""
        results = iter(["one", "two"])
        below = lab.stage("below", content=lambda _: next(results), matcher=match_latest())
        above = lab.stage("above", below)
        first = lab.realize(above)
        second = lab.realize(above, force_rebuild=[below])
        assert lab.runs == ["below", "above", "below", "above"]
        assert first != second
        assert first.dref == second.dref
        assert rrefctx(first, lab.store) != rrefctx(second, lab.store)
        lab.runs.clear()
        assert lab.realize(lab.stage("above", below)) == second
        assert lab.runs == []

    def test_several_selected_below(self, lab: Lab) -> None:
        """All realizations that a matcher selects are the context, in the matcher's order."""
        below = lab.stage("below", content=["2", "3", "1"], matcher=match_best("out", top=2))
        above = lab.stage("above", below)
        rref = lab.realize(above)
        (used,) = rrefctx(rref, lab.store).values()
        assert [lab.text(one) for one in used] == ["3", "2"]

    def test_another_matcher_is_the_same_derivation(self, lab: Lab) -> None:
        """The matcher is not hashed: another one selects among the same realizations."""
        a = lab.stage("a", content=["1", "2"], matcher=match_best("out"))
        best = lab.realize(a)
        lab.runs.clear()
        b = lab.stage("a", content=["1", "2"], matcher=match_best("out", minimize=True))
        assert a == b
        worst = lab.realize(b)
        assert (lab.text(best), lab.text(worst)) == ("2", "1")
        assert lab.runs == []

    def test_only_the_direct_context_is_recorded(self, lab: Lab) -> None:
        """A realization records what it depends on directly; the rest follows from that."""
        _, b, c, top = diamond(lab)
        rref = lab.realize(top)
        assert sorted(lab.store.record(rref).context) == sorted([b, c])


class TestResults:
    """The result of realize has the form of the stage's result."""

    def test_containers_are_rebuilt(self, lab: Lab) -> None:
        """References become realizations in lists, tuples and dicts; all else stays."""
        a, b = lab.stage("a"), lab.stage("b")
        many = lab.stage("many", content=["1", "2"], matcher=match_all())
        result = lab.realize({"x": [a, (b, 3)], "many": many, "text": "t", "none": None})
        assert [lab.text(result["x"][0]), lab.text(result["x"][1][0])] == ["a", "b"]
        assert isinstance(result["x"][1], tuple)
        assert result["x"][1][1] == 3
        assert sorted(map(lab.text, result["many"])) == ["1", "2"]
        assert (result["text"], result["none"]) == ("t", None)
        assert isinstance(result["x"][0], RRef)

    def test_sets_become_lists(self, lab: Lab) -> None:
        """What has no order comes back as a list: realizations may be lists themselves."""
        a = lab.stage("a")
        assert lab.realize({a}) == [lab.realize(a)]

    def test_realize_many_and_one(self, lab: Lab) -> None:
        """One target gives a list or a single realization; realize1 refuses several."""
        one = lab.closure(lab.stage("one"))
        two = lab.closure(lab.stage("two", content=["1", "2"]))
        assert realizeMany(one) == [realize1(one)] == [realize(one)]
        assert len(realizeMany(two)) == 2
        with pytest.raises(InvalidValue, match=r"selected 2 realizations"):
            realize1(two)
        with pytest.raises(InvalidValue, match="2 targets"):
            realizeMany(lab.closure([one.dref, two.dref]))

    def test_options_reach_realize(self, lab: Lab) -> None:
        """The options of realize can be given to realize1 and realizeMany."""
        closure = lab.closure(lab.stage("a"))
        realize1(closure)
        realize1(closure, force_rebuild=True)
        realizeMany(closure, force_rebuild=True)
        assert lab.runs == ["a", "a", "a"]


class TestForceAndAssert:
    """The caller can demand runs and forbid them."""

    def test_force_the_targets(self, lab: Lab) -> None:
        """True runs the targets and nothing below them."""
        drefs = diamond(lab)
        lab.realize(drefs[-1])
        lab.runs.clear()
        lab.realize(drefs[-1], force_rebuild=True)
        assert lab.runs == ["top"]

    @pytest.mark.parametrize("collection", [list, tuple, set, frozenset, dict.fromkeys])
    def test_force_some(self, lab: Lab, collection: Callable[[Any], Any]) -> None:
        """Derivations can be named in any collection; what gives the same bytes stops there."""
        drefs = diamond(lab)
        lab.realize(drefs[-1])
        lab.runs.clear()
        lab.realize(drefs[-1], force_rebuild=collection([drefs[0], drefs[2]]))
        assert lab.runs == ["a", "right"]

    def test_force_one(self, lab: Lab) -> None:
        """A single reference is taken for a list of it."""
        drefs = diamond(lab)
        lab.realize(drefs[-1])
        lab.runs.clear()
        lab.realize(drefs[-1], force_rebuild=drefs[1])
        assert lab.runs == ["left"]

    def test_force_makes_competitors(self, lab: Lab) -> None:
        """A forced run that gives something else leaves both; the matcher selects among them."""
        results = iter(["1", "3", "2"])
        dref = lab.stage("a", content=lambda _: next(results), matcher=match_best("out"))
        found = [lab.text(lab.realize(dref, force_rebuild=True)) for _ in range(3)]
        assert found == ["1", "3", "3"]
        assert len(lab.store.realizations(dref)) == 3

    def test_asserted(self, lab: Lab) -> None:
        """A stage that is said to be realized and is not is an error with the reason; none runs."""
        drefs = diamond(lab)
        with pytest.raises(NotRealized, match=r"a was said.*never realized") as caught:
            lab.realize(drefs[-1], assert_realized=[drefs[0]])
        assert caught.value.dref == drefs[0]
        assert lab.runs == []
        lab.realize(drefs[-1])
        lab.realize(drefs[-1], assert_realized=drefs)

    def test_asserted_and_forced(self, lab: Lab) -> None:
        """Forbidding wins over demanding."""
        dref = lab.stage("a")
        lab.realize(dref)
        lab.runs.clear()
        with pytest.raises(NotRealized):
            lab.realize(dref, assert_realized=[dref], force_rebuild=True)
        assert lab.runs == []

    @pytest.mark.parametrize("argument", ["force_rebuild", "assert_realized", "realize_args"])
    def test_strangers(self, lab: Lab, argument: str) -> None:
        """Naming what is not in the closure is an error, not passed over."""
        dref, stranger = lab.stage("a"), lab.stage("stranger")
        value: Any = {stranger: {}} if argument == "realize_args" else [stranger]
        with pytest.raises(InvalidValue, match=f"{argument} names.*stranger"):
            lab.realize(dref, **{argument: value})
        assert lab.runs == []


class TestArguments:
    """Arguments of one call reach realizers and are no part of what is hashed."""

    def test_reach_the_build(self, lab: Lab) -> None:
        """Each stage gets its own, the others none."""
        seen: dict[str, Any] = {}

        def look(build: Build) -> str:
            seen[build.dref.name] = dict(build.arguments)
            return "same"

        a = lab.stage("a", content=look)
        b = lab.stage("b", a, content=look)
        lab.realize(b, realize_args={b: {"gpu": 1}})
        assert seen == {"a": {}, "b": {"gpu": 1}}
        lab.runs.clear()
        lab.realize(b, realize_args={b: {"gpu": 2}})
        assert lab.runs == []

    def test_reach_a_realizer(self, tmp_path: Path) -> None:
        """A realizer that is a plain function gets the store, the reference, context, arguments."""
        lab = Lab(tmp_path / "plain")
        a = lab.stage("a")
        got: list[object] = []

        def realizer(
            store: Store, dref: DRef, context: Context, arguments: Mapping[str, Any]
        ) -> list[str]:
            got.extend([store, dref, {k: list(v) for k, v in context.items()}, arguments])
            return [store.session().folder("mine")]

        b = mkdrv({"name": "b", "a": a}, match_only(), realizer, lab.registry)
        lab.realize(b, realize_args={b: {"x": 1}})
        assert got == [lab.store, b, {a: [lab.realize(a)]}, {"x": 1}]


class TestMatchersAndRuns:
    """A matcher that asks for more gets one run, and no more."""

    def test_asks_again_after_a_run(self, lab: Lab) -> None:
        """One run may be all that was missing: the matcher then selects among old and new."""
        results = iter(["5", "7"])
        content = lambda _: next(results)  # noqa: E731
        lab.realize(lab.stage("a", content=content, matcher=match_best("out")))
        both = lab.realize(lab.stage("a", content=content, matcher=match_best("out", top=2)))
        assert [lab.text(rref) for rref in both] == ["7", "5"]

    def test_unsatisfied(self, lab: Lab) -> None:
        """If the run was not enough the error says what the matcher is and what the run gave."""
        dref = lab.stage("a", content=["x", "x"], matcher=match_some(2))
        with pytest.raises(
            MatcherUnsatisfied, match=r"match_some\(2\).*gave 2, 1 of them distinct"
        ):
            lab.realize(dref)
        assert lab.runs == ["a"]
        assert len(lab.store.realizations(dref)) == 1
        with pytest.raises(MatcherUnsatisfied) as caught:
            lab.realize(dref)
        assert caught.value.dref == dref

    def test_own_matcher(self, lab: Lab) -> None:
        """A matcher is any function of the store and the candidates."""
        asked: list[int] = []

        def matcher(store: Store, rrefs: list[RRef]) -> list[RRef] | None:
            assert store is lab.store
            asked.append(len(rrefs))
            return rrefs or None

        lab.realize(lab.stage("a", matcher=matcher))
        assert asked == [0, 0, 1]

    def test_several_results_of_one_run(self, lab: Lab) -> None:
        """One run may give several realizations; their records say which is which."""
        dref = lab.stage("a", content=["x", "y", "z"], matcher=match_all())
        rrefs = lab.realize(dref)
        found = {lab.store.record(rref).index: lab.text(rref) for rref in rrefs}
        assert found == {0: "x", 1: "y", 2: "z"}
        assert lab.runs == ["a"]
