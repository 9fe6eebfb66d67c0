"""Pausing a realization: what is seen at a pause, how it goes on, and what is left behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix import Build, DRef, RRef, mkdrv, mklens, realize1, repl, selfref
from plxnix.errors import BuildFailed, InvalidValue, PromiseMissing, RealizeError
from plxnix.realize.build import build_wrapper
from plxnix.realize.matchers import match_latest
from plxnix.repl import (
    repl_build,
    repl_cancel,
    repl_continue,
    repl_continue1,
    repl_continueBuild,
    repl_continueMany,
    repl_realize,
    repl_result,
    repl_rref,
    repl_rrefs,
)
from plxnix.store import Store, locks, temproots
from plxnix.store.gc import collect, plan_gc
from plxnix.store.verify import verify
from tests.stage_samples import Lab
from tests.waiting import PATIENCE


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Return a laboratory, and let no pause outlive the test."""
    repl._latest = None
    yield Lab(tmp_path / "store")
    repl._latest = None


def is_free(lab: Lab) -> bool:
    """Tell whether nothing is kept from garbage collection but by roots."""
    return not temproots.kept(lab.store.layout)


def chain(lab: Lab) -> tuple[DRef, DRef]:
    """Register two stages, one above the other."""
    below = lab.stage("below")
    return below, lab.stage("above", below, content=lambda b: mklens(b).below.val[0])


def test_pause_and_continue_with_a_build(lab: Lab) -> None:
    """It stands still before the target; what is made by hand there is its realization."""
    below, above = chain(lab)
    helper = repl_realize(lab.closure(above))
    assert lab.runs == ["below"]
    assert (helper.dref, helper.done, repl_rref(), repl_result(helper)) == (
        above,
        False,
        None,
        None,
    )
    build = repl_build()
    assert repr(build) == f"<build of {build.dref} in {build.outpaths[0]}>"
    assert build.dref == above
    assert build.context == helper.selected == {below: helper.selected[below]}
    (build.outpaths[0] / "out").write_text("by hand")
    rref = repl_continueBuild(build)
    assert rref is not None
    assert lab.text(rref) == "by hand"
    assert repl_rref(helper) == repl_result(helper) == rref
    assert (lab.runs, helper.done, helper.dref, lab.leftovers()) == (["below"], True, None, [])
    assert dict(lab.store.record(rref).context) == {below: tuple(helper.selected[below])}
    assert lab.realize(above) == rref


def test_dependents_use_what_was_made_by_hand(lab: Lab) -> None:
    """A pause in the middle: the stages above are made from the artifacts given there."""
    below = lab.stage("below", content="machine")
    above = lab.stage("above", below, content=lambda b: lab.text(b.context[below][0]) + " above")
    repl_realize(lab.closure(above), force_interrupt=[below])
    build = repl_build()
    (build.outpaths[0] / "out").write_text("hand")
    rref = repl_continue1(build.outpaths)
    assert rref is not None
    assert lab.text(rref) == "hand above"
    assert lab.runs == ["above"]


def test_default_action_runs_the_realizer(lab: Lab) -> None:
    """Continuing with nothing runs the realizers one by one, also where realizations exist."""
    below, above = chain(lab)
    rref = lab.realize(above)
    lab.runs.clear()
    helper = repl_realize(lab.closure([below, above]))
    assert (helper.dref, lab.runs) == (below, [])
    assert repl_continue() is None
    assert (helper.dref, lab.runs) == (above, ["below"])
    assert repl_continue(helper=helper) == [helper.selected[below][0], rref]
    assert lab.runs == ["below", "above"]


def test_no_pause(lab: Lab) -> None:
    """Without interrupts it is done at once, and there is nothing to build, continue or cancel."""
    _, above = chain(lab)
    helper = repl_realize(lab.closure(above), force_interrupt=False)
    assert helper.done
    assert repl_rref() == lab.realize(above)
    for act in (repl_build, repl_continue, repl_cancel):
        with pytest.raises(RealizeError, match="is paused"):
            act()
        with pytest.raises(RealizeError, match="is not paused"):
            act(helper=helper)
    assert is_free(lab)


@pytest.mark.usefixtures("lab")
def test_nothing_was_started() -> None:
    """Before the first `repl_realize` there is nothing to ask for."""
    with pytest.raises(RealizeError, match="nothing has been realized"):
        repl_result()
    with pytest.raises(RealizeError, match="no realization is paused"):
        repl_cancel()


@pytest.mark.parametrize("value", [33, "x", ["dref:0"], [33]])
def test_wrong_interrupts(lab: Lab, value: object) -> None:
    """What names no derivation of the closure is refused before anything runs."""
    with pytest.raises(InvalidValue, match="force_interrupt"):
        repl_realize(lab.closure(lab.stage("one")), force_interrupt=value)  # type: ignore[arg-type]
    assert lab.runs == []


def test_cancel(lab: Lab) -> None:
    """Cancelling removes the folders, releases the store, and keeps what was realized before."""
    below, above = chain(lab)
    helper = repl_realize(lab.closure(above))
    build = repl_build()
    (build.outpaths[0] / "out").write_text("lost")
    assert not is_free(lab)
    repl_cancel()
    assert is_free(lab)
    assert (helper.done, helper.dref, repl_result(helper), lab.leftovers()) == (
        False,
        None,
        None,
        [],
    )
    assert lab.store.realizations(above) == []
    assert len(lab.store.realizations(below)) == 1
    helper.cancel()
    with pytest.raises(RealizeError, match="is paused"):
        repl_cancel()


def test_forgotten_pause(lab: Lab) -> None:
    """A pause that nobody can continue any more gives up by itself."""
    _, above = chain(lab)
    repl_realize(lab.closure(above))
    repl_build()
    repl_realize(lab.closure(lab.stage("other")), force_interrupt=False)
    gc.collect()
    assert is_free(lab)
    assert lab.leftovers() == []


def test_process_ends_while_paused(lab: Lab) -> None:
    """A process that exits at a pause leaves neither lock nor folder nor noise."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from plxnix import build_wrapper, fsinit, instantiate, match_only, mkdrv\n"
            "from plxnix import repl_build, repl_realize\n"
            f"fsinit({str(lab.root)!r})\n"
            "def stage(r):\n"
            "    return mkdrv({'name': 'x'}, match_only(), build_wrapper(lambda b: None))\n"
            "helper = repl_realize(instantiate(stage)); print(repl_build().outpaths[0])",
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.exists(done.stdout.strip())
    assert is_free(lab)
    assert len(os.listdir(lab.store.layout.tmp)) <= 1


def test_realizing_the_paused_stage_meanwhile(lab: Lab) -> None:
    """The paused stage is not locked: this process can realize it, and then continue."""
    _, above = chain(lab)
    helper = repl_realize(lab.closure(above))
    rref = realize1(lab.closure(above))
    assert repl_continue(out_rrefs=[rref]) == rref
    assert helper.done


def test_nested(lab: Lab) -> None:
    """A pause inside a pause: without a helper the inner one is meant while it lasts."""
    below, above = chain(lab)
    outer = repl_realize(lab.closure(above))
    inner = repl_realize(lab.closure(below))
    assert repl_build().dref == below
    repl_cancel()
    assert (inner.dref, repl_build().dref) == (None, above)
    assert repl_continue() == outer.selected[above][0]


def test_missing_promise_keeps_the_pause(lab: Lab) -> None:
    """A folder that lacks what was promised is refused, and can be completed."""
    target = lab.stage("one", file=[selfref, "deep", "file"])
    helper = repl_realize(lab.closure(target))
    build = repl_build()
    with pytest.raises(PromiseMissing, match="deep/file"):
        repl_continueBuild(build)
    assert helper.dref == target
    (build.outpaths[0] / "deep").mkdir()
    mklens(build).file.syspath.write_text("x")
    assert repl_continueBuild(build) == repl_rref(helper)


def test_several_outputs(lab: Lab) -> None:
    """Several folders become several realizations, in that order, whatever the matcher wants."""
    target = lab.stage("one")
    helper = repl_realize(lab.closure(target))
    build = repl_build(nouts=3)
    for index, path in enumerate(build.outpaths):
        (path / "out").write_text(str(index))
    rrefs = repl_continueMany(build.outpaths)
    assert rrefs is not None
    assert [lab.text(rref) for rref in rrefs] == ["0", "1", "2"]
    assert repl_rrefs(helper) == repl_result(helper) == rrefs
    with pytest.raises(InvalidValue, match="3 realizations"):
        repl_rref(helper)


def test_unused_builds_are_removed(lab: Lab) -> None:
    """Of several builds at one pause only what is handed over survives."""
    repl_realize(lab.closure(lab.stage("one")))
    repl_build()
    build = repl_build()
    (build.outpaths[0] / "out").write_text("second")
    assert repl_continueBuild(build) is not None
    assert lab.leftovers() == []


def test_folders_of_a_pause_go_with_it(lab: Lab) -> None:
    """What was made at a pause and not used is gone at the next one."""
    below, above = chain(lab)
    helper = repl_realize(lab.closure([below, above]))
    repl_build()
    repl_continue()
    assert helper.dref == above
    assert lab.leftovers() == []


def test_own_folders_are_left_alone(lab: Lab, tmp_path: Path) -> None:
    """A build that works in a folder of the user's own is not swept."""
    repl_realize(lab.closure(lab.stage("one")))
    build = repl_build(nouts=None)
    build.outpaths = [tmp_path / "mine"]
    build.outpaths[0].mkdir()
    repl_cancel()
    assert build.outpaths[0].is_dir()


def test_folder_from_elsewhere(lab: Lab, tmp_path: Path) -> None:
    """Any folder can be handed over, as a path or as text."""
    repl_realize(lab.closure(lab.stage("one")))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "out").write_text("mine")
    rref = repl_continue1(str(tmp_path / "mine"))
    assert rref is not None
    assert lab.text(rref) == "mine"


def test_wrong_answers(lab: Lab) -> None:
    """What cannot be the stage's result is refused, and the pause stays."""
    below, above = chain(lab)
    helper = repl_realize(lab.closure(above))
    with pytest.raises(InvalidValue, match="both"):
        repl_continue([], [])
    with pytest.raises(InvalidValue, match="out_paths is empty"):
        repl_continue([])
    with pytest.raises(InvalidValue, match="out_rrefs is empty"):
        repl_continue(out_rrefs=[])
    with pytest.raises(InvalidValue, match="no realization of"):
        repl_continue(out_rrefs=helper.selected[below])
    with pytest.raises(BuildFailed):
        repl_continue(["/no/such/folder"])
    other = Build(lab.store, below, {})
    with pytest.raises(InvalidValue, match="the build is of"):
        repl_continueBuild(other)
    assert helper.dref == above


def failing(lab: Lab) -> DRef:
    """Register a stage that fails half-way at its first run."""
    tries: list[int] = []

    def make(build: Build) -> None:
        tries.append(1)
        (build.outpaths[0] / "half").write_text("1")
        if len(tries) == 1:
            raise ValueError("too bad")
        (build.outpaths[0] / "out").write_text("2")

    config = {"name": "failing", "out": [selfref, "out"]}
    return mkdrv(config, match_latest(), build_wrapper(make), lab.registry)


def test_failure_ends_it(lab: Lab) -> None:
    """A realizer that fails raises as in `realize`, and nothing stays paused."""
    target = failing(lab)
    helper = repl_realize(lab.closure(target))
    with pytest.raises(BuildFailed, match="too bad"):
        repl_continue()
    assert (helper.done, helper.dref) == (False, None)
    assert is_free(lab)
    assert lab.leftovers() == []


def test_pause_at_a_failure(lab: Lab) -> None:
    """A failed stage can be finished by hand in the folder that it has left."""
    target = failing(lab)
    helper = repl_realize(lab.closure(target), False, interrupt_failed=True)
    assert helper.dref == target
    assert isinstance(helper.error, BuildFailed)
    assert isinstance(helper.error.__cause__, ValueError)
    assert "too bad" in repr(helper)
    build = repl_build()
    assert os.listdir(build.outpaths[0]) == ["half"]
    assert os.listdir(repl_build().outpaths[0]) == []
    (build.outpaths[0] / "out").write_text("mended")
    rref = repl_continueBuild(build)
    assert rref is not None
    assert lab.text(rref) == "mended"
    assert lab.leftovers() == []


def test_try_again_after_a_failure(lab: Lab) -> None:
    """Continuing from a failure runs the realizer again; the old folder is gone then."""
    helper = repl_realize(lab.closure(failing(lab)), False, interrupt_failed=True)
    assert helper.error is not None
    assert isinstance(repl_continue(), RRef)
    assert lab.leftovers() == []


def test_cancel_at_a_failure(lab: Lab) -> None:
    """Cancelling at a failure removes what the realizer has left."""
    repl_realize(lab.closure(failing(lab)), False, interrupt_failed=True)
    assert lab.leftovers() != []
    repl_cancel()
    assert lab.leftovers() == []


def test_arguments_and_constructor(lab: Lab) -> None:
    """A build of one's own class gets the arguments that `realize` would pass."""

    class Model(Build):
        """A build with state."""

    target = lab.stage("one")
    repl_realize(lab.closure(target), realize_args={target: {"verbose": 1}})
    build = repl_build(constructor=Model)
    assert isinstance(build, Model)
    assert build.arguments == {"verbose": 1}
    assert repl_build(nouts=None).outpaths == []


def test_another_thread_continues(lab: Lab) -> None:
    """A pause belongs to the process, not to the thread; two at once are told apart."""
    entered, leave = threading.Event(), threading.Event()

    def slow(_: Build) -> str:
        entered.set()
        assert leave.wait(PATIENCE)
        return "slow"

    helper = repl_realize(lab.closure(lab.stage("slow", content=slow)))
    thread = threading.Thread(target=repl_continue, kwargs={"helper": helper})
    thread.start()
    assert entered.wait(PATIENCE)
    with pytest.raises(RealizeError, match="another thread"):
        repl_continue(helper=helper)
    with pytest.raises(RealizeError, match="another thread"):
        repl_cancel(helper)
    leave.set()
    thread.join()
    assert helper.done


def test_forked_child_leaves_the_pause_alone(lab: Lab) -> None:
    """A child that drops its copy of the helper neither removes folders nor gives anything up."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os\n"
            "from plxnix import build_wrapper, fsinit, instantiate, match_only, mkdrv\n"
            "from plxnix import repl_build, repl_realize\n"
            "from plxnix.store.temproots import kept\n"
            f"store = fsinit({str(lab.root)!r})\n"
            "def stage(r):\n"
            "    return mkdrv({'name': 'x'}, match_only(), build_wrapper(lambda b: None))\n"
            "helper = repl_realize(instantiate(stage))\n"
            "build = repl_build()\n"
            "if os.fork() == 0:\n"
            "    helper.cancel()\n"
            "    os._exit(0)\n"
            "assert os.wait()[1] == 0\n"
            "print(build.outpaths[0].is_dir(), [*kept(store.layout)] == [helper.dref])",
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["True", "True"]


def test_collecting_garbage_meanwhile(lab: Lab) -> None:
    """At a pause garbage is collected, by this process too, but for what the pause rests on."""
    below, above = chain(lab)
    other = lab.realize(lab.stage("other"))
    helper = repl_realize(lab.closure(above))
    done = collect(lab.store, plan_gc(lab.store, everything=True))
    assert [one.rref for one in done.deleted] == [other]
    assert [*done.kept] == helper.selected[below]
    rref = repl_continue1()
    assert rref is not None
    assert lab.store.record(rref).context == {below: (*helper.selected[below],)}
    assert list(verify(Store(lab.root))) == []
    collect(lab.store, plan_gc(lab.store, everything=True))
    assert list(lab.store.derivations()) == []


def test_what_it_prints(lab: Lab) -> None:
    """In a shell a helper says where it stands."""
    target = lab.stage("one")
    helper = repl_realize(lab.closure(target))
    assert repr(helper) == f"<realization paused before {target}>"
    repl_continue()
    assert repr(helper) == f"<realization of {target}: done>"
    with locks.shared(lab.store.layout.store_lock()):
        other = repl_realize(lab.closure(target))
        repl_cancel()
    assert repr(other) == f"<realization of {target}: ended>"


@given(st.data())
def test_law_of_pauses(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Wherever it stands still, continuing gives what `realize` gives, stage by stage."""
    lab = Lab(tmp_path_factory.mktemp("store") / "store")
    drefs: list[DRef] = []
    for index in range(data.draw(st.integers(1, 5))):
        below = sorted(data.draw(st.sets(st.integers(0, index - 1)))) if index else []
        drefs.append(lab.stage(f"s{index}", *(drefs[one] for one in below)))
    pauses = data.draw(st.sets(st.sampled_from(drefs)))
    helper = repl_realize(lab.closure(drefs), list(pauses))
    seen = []
    while not helper.done:
        assert helper.dref is not None
        assert str(helper.dref.name) not in lab.runs
        seen.append(helper.dref)
        if data.draw(st.booleans()):
            build = repl_build(helper)
            (build.outpaths[0] / "out").write_text(helper.dref.name)
            repl_continue(build.outpaths, helper=helper)
        else:
            repl_continue(helper=helper)
    assert {*seen} == pauses
    assert len(seen) == len(pauses)
    found = repl_result(helper)
    assert [[rref] for rref in found] == [helper.selected[dref] for dref in drefs]
    assert lab.realize(drefs) == found
    assert lab.leftovers() == []
