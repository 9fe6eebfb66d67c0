"""Either stages: a failure is a result, which dependents inherit or look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import plxnix
from plxnix import Build, DRef, Registry, RRef, autostage, instantiate, mkdrv, selfref
from plxnix.either import (
    Left,
    Right,
    either_isLeft,
    either_isRight,
    either_loadR,
    either_matcher,
    either_paths,
    either_realizer,
    either_stage,
    either_status,
    mkdrvE,
    mkleft,
    mkright,
    realizeE,
    realizeManyE,
)
from plxnix.errors import InvalidReference, InvalidValue, PromiseMissing
from plxnix.realize.build import build_wrapper
from plxnix.realize.matchers import match_latest, match_only, match_some
from plxnix.redefinition import redefine
from tests.stage_samples import Lab


def trial(lab: Lab, name: str, *below: DRef, fails: bool = False, nouts: int = 1) -> DRef:
    """Register a stage whose failure is a result."""

    def make(build: Build) -> None:
        lab.runs.append(name)
        for index, path in enumerate(build.outpaths):
            if fails:
                raise ValueError(f"{name} is too bad")
            (path / "out").write_text(f"{name} {index}")

    config = {"name": name, "below": [*below], "out": [selfref, "out"]}
    realizer = build_wrapper(make, nouts)
    return mkdrvE(config, match_some(nouts), realizer, lab.registry)


def test_success(lab: Lab) -> None:
    """Without an exception nothing is special, but that it is another derivation."""
    dref = trial(lab, "good")
    found = realizeE(lab.closure(dref))
    assert isinstance(found, Right)
    (rref,) = either_paths(found)
    assert lab.text(rref) == "good 0"
    assert (either_status(found), either_isRight(found), either_isLeft(found)) == (
        None,
        True,
        False,
    )
    assert lab.store.config(dref)["__either__"] is True
    assert either_isRight(rref, lab.store)


def test_failure_is_a_result(lab: Lab) -> None:
    """An exception becomes a realization with the traceback in it, made once."""
    dref = trial(lab, "bad", fails=True)
    found = realizeE(lab.closure(dref))
    assert isinstance(found, Left)
    assert "ValueError: bad is too bad" in found.status
    assert "test_either.py" in found.status
    assert str(Path(plxnix.__file__).parent) not in found.status
    (rref,) = found.items
    assert either_status(rref, lab.store) == found.status
    assert found.status in lab.store.log(rref)
    assert realizeE(lab.closure(dref)) == found
    assert lab.runs == ["bad"]
    assert lab.leftovers() == []


def test_dependents_inherit_a_failure(lab: Lab) -> None:
    """What depends on a failure fails too, without running; the error of the root is shown."""
    bad, good = trial(lab, "bad", fails=True), trial(lab, "good")
    top = trial(lab, "top", trial(lab, "middle", bad, good))
    found = realizeE(lab.closure(top))
    assert isinstance(found, Left)
    assert "bad is too bad" in found.status
    assert f"{top} depends on rref:" in found.status
    assert sorted(lab.runs) == ["bad", "good"]


def test_ordinary_dependents_run(tmp_path: Path) -> None:
    """An ordinary stage above a failure runs, and asks what became of its dependencies."""
    seen: list[Any] = []
    registry = Registry(Lab(tmp_path / "store").store)

    @either_stage
    @autostage(rate=1, out=[selfref, "out"])
    def train(rate: int, out: Path) -> None:
        out.write_text(str(1 / rate))

    def runs(r: Registry) -> list[DRef]:
        return [train(r, rate=rate) for rate in (0, 1, 2)]

    drefs = runs(registry)

    @autostage(runs=drefs, version="1")
    def report(runs: list[Any]) -> None:
        for run in runs:
            error = either_status(run)
            seen.append(run.out.read_text() if error is None else error.splitlines()[-1])
        assert [either_isLeft(run) for run in runs] == [True, False, False]

    found = realizeE(instantiate(report, registry=registry))
    assert either_isRight(found)
    assert seen == ["ZeroDivisionError: division by zero", "1.0", "0.5"]


def test_success_is_preferred(lab: Lab) -> None:
    """A failure that was overcome is not selected again; forcing is how to try again."""
    answers = ["bad", "good", "bad"]

    def make(build: Build) -> None:
        if (answer := answers.pop(0)) == "bad":
            raise ValueError(answer)
        (build.outpaths[0] / "out").write_text(answer)

    config = {"name": "x"}
    dref = mkdrvE(config, match_only(), build_wrapper(make), lab.registry)
    closure = lab.closure(dref)
    assert either_isLeft(realizeE(closure))
    right = realizeE(closure, force_rebuild=True)
    assert either_isRight(right)
    assert realizeE(closure) == right
    assert realizeE(closure, force_rebuild=True) == right
    assert answers == []
    assert len(lab.store.realizations(dref)) == 2  # The same error twice is one result.


def test_latest_failure_is_selected(lab: Lab) -> None:
    """Of several failures the latest one is shown."""
    dref = trial(lab, "bad", fails=True)
    for index in range(3):

        def fail(_: Build, index: int = index) -> None:
            raise ValueError(f"number {index}")

        mkdrvE(lab.store.config(dref), match_only(), build_wrapper(fail), lab.registry)
        status = either_status(realizeE(lab.closure(dref), force_rebuild=True))
        assert status is not None
        assert status.strip().endswith(f"number {index}")


def test_several_realizations(lab: Lab) -> None:
    """A run of several outputs is one success, or one failure as a whole."""
    found = realizeManyE(lab.closure(trial(lab, "good", nouts=3)))
    assert isinstance(found, Right)
    assert len(found.items) == 3
    failed = realizeManyE(lab.closure(trial(lab, "bad", nouts=3, fails=True)))
    assert isinstance(failed, Left)
    assert len(failed.items) == 1


def test_broken_promise_is_an_error(lab: Lab) -> None:
    """A realizer that returns without what it promised is wrong, not unlucky."""
    config = {"name": "x", "out": [selfref, "out"]}
    realizer = build_wrapper(lambda _: None)
    dref = mkdrvE(config, match_only(), realizer, lab.registry)
    with pytest.raises(PromiseMissing):
        realizeE(lab.closure(dref))


def test_interrupts_pass_through(lab: Lab) -> None:
    """Ctrl-C is no result."""

    def interrupt(_: Build) -> None:
        raise KeyboardInterrupt

    dref = mkdrvE({"name": "x"}, match_only(), build_wrapper(interrupt), lab.registry)
    with pytest.raises(KeyboardInterrupt):
        realizeE(lab.closure(dref))
    assert lab.store.realizations(dref) == []


def test_realizer_says_so_itself(lab: Lab, tmp_path: Path) -> None:
    """A realizer may return a failure with half-done results beside the error, or a success."""

    def left(*_: Any) -> Any:
        (tmp_path / "half").mkdir()
        (tmp_path / "half" / "curve").write_text("1 2 3")
        return mkleft([tmp_path / "half"], "diverged")

    def right(*_: Any) -> Any:
        (tmp_path / "whole").mkdir()
        return mkright([tmp_path / "whole"])

    found = []
    for name, realizer in (("a", left), ("b", right)):
        config = {"name": name, **({"out": [selfref, "out"]} if name == "a" else {})}
        matcher = either_matcher(match_latest())
        dref = mkdrv(config, matcher, either_realizer(realizer), lab.registry)
        found.append(realizeE(lab.closure(dref)))
    assert [either_status(one) for one in found] == ["diverged", None]
    assert Path(lab.store.path(found[0].items[0]), "curve").read_text() == "1 2 3"
    assert repr(matcher) == "either_matcher(match_latest(1))"


def test_mkleft_refuses(tmp_path: Path) -> None:
    """A folder that has the file already, and no folder at all, are refused."""
    assert mkleft([tmp_path], "x").items == (tmp_path,)
    with pytest.raises(InvalidValue, match="either_status"):
        mkleft([tmp_path], "y")
    with pytest.raises(InvalidValue, match="needs a folder"):
        mkleft([], "z")


def test_status_of_nonsense(lab: Lab) -> None:
    """Only what can be a success or failure has a status."""
    with pytest.raises(InvalidReference):
        either_status("nonsense", lab.store)


def test_load(lab: Lab) -> None:
    """Several realizations are a failure if one of them is."""
    (bad,) = either_paths(realizeE(lab.closure(trial(lab, "bad", fails=True))))
    (good,) = either_paths(realizeE(lab.closure(trial(lab, "good"))))
    assert either_loadR([good], lab.store) == Right((good,))
    found = either_loadR([good, bad], lab.store)
    assert isinstance(found, Left)
    assert found.items == (good, bad)
    assert found.status == either_status(bad, lab.store)
    assert either_loadR([], lab.store) == Right(())


def test_stages_of_all_kinds(lab: Lab) -> None:
    """`either_stage` also changes plain stages, and what `redefine` gives."""

    def plain(r: Registry, message: str = "no") -> DRef:
        def fail(build: Build) -> None:
            raise ValueError(build.config["message"])

        return mkdrv(r, {"name": "plain", "message": message}, match_only(), build_wrapper(fail))  # type: ignore[arg-type]

    closure = instantiate(either_stage(plain), message="out of luck", registry=lab.registry)
    assert "out of luck" in str(either_status(realizeE(closure)))
    changed = either_stage(redefine(plain, {"message": "twice"}))
    assert "twice" in str(either_status(realizeE(instantiate(changed, registry=lab.registry))))


@given(st.data())
def test_law_of_inheritance(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """In any graph a realization is left just if its own stage or one below it fails."""
    lab = Lab(tmp_path_factory.mktemp("store") / "store")
    fails = data.draw(st.lists(st.booleans(), min_size=1, max_size=6))
    drefs: list[DRef] = []
    left: list[bool] = []
    for index, failing in enumerate(fails):
        below = data.draw(st.sets(st.integers(0, index - 1))) if index else set()
        drefs.append(trial(lab, f"s{index}", *(drefs[one] for one in below), fails=failing))
        left.append(failing or any(left[one] for one in below))
    found: list[RRef] = lab.realize(drefs)
    assert [either_isLeft(rref, lab.store) for rref in found] == left
    assert len(lab.runs) == len(set(lab.runs))
