"""Plans: what would run, and the reason of each stage."""

from __future__ import annotations

import os
from typing import Any

import pytest

from plxnix import (
    DRef,
    Plan,
    Store,
    autostage,
    current_registry,
    match_best,
    match_latest,
    match_only,
    realize,
)
from plxnix.errors import AmbiguousMatch, InvalidValue
from plxnix.realize.plan import PlannedStage
from tests.stage_samples import Lab


def plan(lab: Lab, target: Any, **options: Any) -> Plan:
    """Return the plan of a dry run, which runs nothing and writes no realization."""
    ran, closure = [*lab.runs], lab.closure(target)
    before = {dref: lab.store.realizations(dref) for dref in closure.derivations}
    found = realize(closure, dry_run=True, **options)
    assert lab.runs == ran
    assert {dref: lab.store.realizations(dref) for dref in closure.derivations} == before
    assert isinstance(found, Plan)
    return found


def reasons(lab: Lab, target: Any, **options: Any) -> dict[str, str]:
    """Return the reason of each stage, by name; empty for those that are cached."""
    return {stage.dref.name: stage.reason for stage in plan(lab, target, **options)}


def age(store: Store, dref: DRef, seconds: int) -> None:
    """Let a derivation look as if its last realization were so old."""
    os.utime(store.layout.derivation(dref), (0, 1_600_000_000 - seconds))


def test_never_realized(lab: Lab) -> None:
    """A stage without realizations, and without one of the same name, was never realized."""
    a = lab.stage("a")
    assert reasons(lab, lab.stage("b", a)) == {
        "a": "never realized",
        "b": "depends on a, which would be realized",
    }


def test_cached(lab: Lab) -> None:
    """A stage that is realized has what was selected for it, and no reason."""
    a = lab.stage("a")
    b = lab.stage("b", a)
    rref = lab.realize(b)
    found = plan(lab, b)
    assert found.would_run == ()
    assert [*found] == [PlannedStage(a, (lab.realize(a),)), PlannedStage(b, (rref,))]
    assert not any(stage.would_run for stage in found)
    assert str(found) == "all 2 stages are realized"


def test_text(lab: Lab) -> None:
    """A plan shows the stages that would run, dependencies first."""
    lab.realize(lab.stage("a"))
    found = plan(lab, lab.stage("c", lab.stage("b"), lab.stage("a")))
    assert str(found) == "b: never realized\nc: depends on b, which would be realized"
    assert [stage.dref.name for stage in found.would_run] == ["b", "c"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"rate": 1}, {"rate": 2}, "rate changed from 1 to 2"),
        ({"rate": 1}, {"rate": "1"}, "rate changed from 1 to '1'"),
        ({}, {"rate": 2}, "rate is new"),
        ({"rate": 2}, {}, "rate is gone"),
        ({"text": "x" * 90}, {"text": "y" * 90}, "text changed"),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, "a changed from 1 to 2; b changed from 1 to 2"),
        ({"shape": [1, 2]}, {"shape": [1, 3]}, "shape changed from [1, 2] to [1, 3]"),
        (
            dict.fromkeys("abcdef", 1),
            dict.fromkeys("abcdef", 2),
            "; ".join(f"{key} changed from 1 to 2" for key in "abcd") + "; and 2 more",
        ),
    ],
)
def test_parameters(lab: Lab, before: dict[str, Any], after: dict[str, Any], expected: str) -> None:
    """The parameters that changed since the last derivation of that name are told."""
    old = lab.stage("a", **before)
    lab.realize(old)
    assert reasons(lab, lab.stage("a", **after)) == {"a": f"{expected} since {old}"}


def test_the_last_of_several_namesakes(lab: Lab) -> None:
    """The comparison is with what was realized last, not with what was only instantiated."""
    for number, seconds in ((1, 300), (2, 100), (3, 200)):
        dref = lab.stage("a", rate=number)
        lab.realize(dref)
        age(lab.store, dref, seconds)
    lab.stage("a", rate=4)
    assert reasons(lab, lab.stage("a", rate=5))["a"].startswith("rate changed from 2 to 5 since")


def test_code(lab: Lab) -> None:
    """A change of the code is told as that, not as two hashes."""

    def stage(version: str) -> DRef:
        @autostage(name="coded", version=version)
        def coded() -> None:
            """Do nothing."""

        with current_registry(lab.registry):
            return coded()

    old = stage("1")
    lab.realize(old)
    assert reasons(lab, stage("2")) == {"coded": f"the code changed since {old}"}


def test_dependency(lab: Lab) -> None:
    """A dependency that is another derivation now is named by its parameter and its name."""
    x, y = lab.stage("x"), lab.stage("y")
    for field in (lambda dref: dref, lambda dref: [dref], lambda dref: [dref, "file"]):
        old = lab.stage("user", data=field(x))
        lab.realize(old)
        age(lab.store, old, 0)
        new = lab.stage("user", data=field(y))
        lab.realize(y)
        assert reasons(lab, new)["user"] == f"the dependency data (y) changed since {old}"
        lab.again()
        x, y = lab.stage("x"), lab.stage("y")
        age(lab.store, old, 1000)


def test_another_selection(lab: Lab) -> None:
    """Another realization of a dependency is told, with what was last made from another."""
    content = ["1", "2"]
    a = lab.stage("a", content=content, matcher=match_best("out"))
    b = lab.stage("b", a)
    rref = lab.realize(b)
    lab.stage("a", content=content, matcher=match_best("out", minimize=True))
    assert reasons(lab, b) == {
        "a": "",
        "b": f"another realization of a is selected than for {rref}",
    }


def test_forced(lab: Lab) -> None:
    """What is forced would run, and so might all above it."""
    a = lab.stage("a")
    b = lab.stage("b", a)
    lab.realize(b)
    assert reasons(lab, b, force_rebuild=True) == {"a": "", "b": "forced"}
    assert reasons(lab, b, force_rebuild=[a]) == {
        "a": "forced",
        "b": "depends on a, which would be realized",
    }
    with pytest.raises(InvalidValue, match="force_rebuild names"):
        plan(lab, a, force_rebuild=[b])


def test_matcher(lab: Lab) -> None:
    """A matcher that asks for more is named, with how many there are."""
    lab.realize(lab.stage("a"))
    assert reasons(lab, lab.stage("a", matcher=match_latest(3))) == {
        "a": "match_latest(3) is not content with the 1 realization there are"
    }
    lab.realize(lab.stage("b", content=["1", "2"]))
    assert reasons(lab, lab.stage("b", matcher=match_latest(3))) == {
        "b": "match_latest(3) is not content with the 2 realizations there are"
    }


def test_matcher_that_raises(lab: Lab) -> None:
    """What a matcher raises is raised by the dry run as well."""
    lab.realize(lab.stage("a", content=["1", "2"]))
    with pytest.raises(AmbiguousMatch):
        plan(lab, lab.stage("a", matcher=match_only()))


def test_the_plan_is_what_happens(lab: Lab) -> None:
    """Stages that are cached in the plan do not run; those that never were, do."""
    lab.realize(lab.stage("d", lab.stage("b")))
    target = lab.stage("c", lab.stage("a"), lab.stage("b"))
    planned = [stage.dref.name for stage in plan(lab, target).would_run]
    lab.runs.clear()
    lab.realize(target)
    assert lab.runs == planned == ["a", "c"]


def test_many_of_one_name(lab: Lab) -> None:
    """The reasons of many stages of one name, as in a sweep, take one look at each namesake."""
    for number in range(30):
        lab.realize(lab.stage("sweep", rate=number))
    targets = [lab.stage("sweep", rate=number + 0.5) for number in range(30)]
    listed: list[str] = []

    class Counting(Store):
        def realizations(self, dref: str, *rest: Any) -> Any:
            listed.append(dref)
            return super().realizations(dref, *rest)

    lab.store = Counting(lab.root)
    lab.registry.store = lab.store
    found = reasons(lab, targets)
    assert found["sweep"].startswith("rate changed from")
    assert len(listed) <= 6 * 30 + 60
