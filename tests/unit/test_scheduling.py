"""Scheduling: many stages at once give what one after another gives, only sooner."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plxnix import Build, DRef, RRef, autostage, execute, match_only
from plxnix.errors import (
    BuildFailed,
    InvalidSetting,
    InvalidValue,
    MissingExtra,
    NotRealized,
    PromiseMissing,
    StagesFailed,
)
from plxnix.model import selfref
from plxnix.realize.realizing import realize
from plxnix.realize.run import Observer
from plxnix.realize.schedule import Schedule
from plxnix.realize.scheduling import Scheduler
from plxnix.realize.work import prepare
from plxnix.stopping import Stop, interrupted_by
from tests.stage_samples import Lab
from tests.waiting import PATIENCE, wait_for


class Notes(Observer):
    """An observer that writes down what it is told, and whether two threads told it at once."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self.alone = threading.Lock()

    @contextmanager
    def _note(self, event: str, dref: DRef) -> Iterator[None]:
        if not self.alone.acquire(blocking=False):
            raise RuntimeError("two threads call the observer at once")
        try:
            yield
            self.notes.append((event, str(dref.name)))
        finally:
            self.alone.release()

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        """Note it."""
        with self._note("cached", dref):
            del rrefs

    def started(self, dref: DRef) -> None:
        """Note it, slowly."""
        with self._note("started", dref):
            time.sleep(0.001)

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """Note it, slowly."""
        with self._note("finished", dref):
            del rrefs, seconds
            time.sleep(0.001)

    def failed(self, dref: DRef, error: BaseException) -> None:
        """Note it."""
        with self._note("failed", dref):
            del error

    def stopped(self, dref: DRef) -> None:
        """Note it."""
        with self._note("stopped", dref):
            pass

    def skipped(self, dref: DRef, because: DRef) -> None:
        """Note it."""
        with self._note(f"skipped for {because.name}", dref):
            pass

    def waiting(self, dref: DRef, message: str) -> None:
        """Note it."""
        with self._note("waiting", dref):
            del message


class Peak:
    """Stages that tell how many of them ran at the same time at most.

    They wait until as many run as are `wanted`, and a moment for more.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.most = 0
        self._now: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.most_of: Counter[str] = Counter()

    def stage(self, kind: str = "all") -> Any:
        """Return the contents of a stage of that kind."""

        def run(_: Build) -> str:
            with self._changed:
                self._now[kind] += 1
                self.most = max(self.most, self._now.total())
                self.most_of[kind] = max(self.most_of[kind], self._now[kind])
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.most >= self.wanted, PATIENCE)
            time.sleep(0.05)
            with self._changed:
                self._now[kind] -= 1
            return kind

        return run


#: A graph: what each stage depends on, by number.
graphs = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        *(
            st.frozensets(st.integers(0, max(0, i - 1)), max_size=3) if i else st.just(frozenset())
            for i in range(n)
        )
    )
)


class TestSameResults:
    """What is selected does not depend on how many stages run at once, nor on their times."""

    @settings(max_examples=25)
    @given(
        graph=graphs, delays=st.lists(st.integers(0, 5), min_size=12, max_size=12), data=st.data()
    )
    def test_any_graph(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        graph: tuple[frozenset[int], ...],
        delays: list[int],
        data: st.DataObject,
    ) -> None:
        """One to eight jobs give the same realizations in the same order as none at once."""
        jobs = data.draw(st.integers(1, 8))
        selected: list[Any] = []
        for options in ({}, {"jobs": jobs, "executor": "threads"}):
            lab = Lab(tmp_path_factory.mktemp("graph"))
            drefs: list[DRef] = []
            for number, below in enumerate(graph):
                delay = delays[number] / 1000

                def content(build: Build, delay: float = delay) -> str:
                    time.sleep(delay)
                    return "".join(
                        sorted(str(rref) for each in build.context.values() for rref in each)
                    )

                drefs.append(
                    lab.stage(
                        f"s{number}",
                        *(drefs[one] for one in sorted(below)),
                        content=content,
                        matcher=match_only(),
                    )
                )
            notes = Notes()
            selected.append(lab.realize(drefs, observer=notes, **options))
            assert Counter(lab.runs) == Counter(f"s{n}" for n in range(len(graph)))
            order = [name for event, name in notes.notes if event in ("started", "finished")]
            for number, below in enumerate(graph):
                begun = notes.notes.index(("started", f"s{number}"))
                assert all(notes.notes.index(("finished", f"s{n}")) < begun for n in below)
            assert len(order) == 2 * len(graph)
            assert lab.leftovers() == []
        assert selected[0] == selected[1]

    @settings(max_examples=15)
    @given(graph=graphs, broken=st.frozensets(st.integers(0, 11)), jobs=st.integers(2, 8))
    def test_any_failures(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        graph: tuple[frozenset[int], ...],
        broken: frozenset[int],
        jobs: int,
    ) -> None:
        """Whichever stages fail, now and again, the same are realized, reported and left out."""
        found: list[Any] = []
        for options in ({}, {"jobs": jobs, "executor": "threads", "retries": 1}):
            lab = Lab(tmp_path_factory.mktemp("graph"))
            drefs: list[DRef] = []
            for number, below in enumerate(graph):
                needs = (drefs[one] for one in sorted(below))
                drefs.append(
                    lab.stage(f"s{number}", *needs, content=fail if number in broken else None)
                )
            try:
                found.append(([], [], lab.realize(drefs, keep_going=True, **options)))
            except StagesFailed as error:
                made = [rref for dref in drefs for rref in lab.store.realizations(dref)]
                found.append(([*error.failures], error.skipped, made))
            tries = Counter(lab.runs)
            assert all(tries[f"s{n}"] in (0, 1 + ("retries" in options)) for n in broken)
            assert lab.leftovers() == []
        assert found[0] == found[1]

    def test_several_realizations_keep_the_order_of_their_matcher(self, lab: Lab) -> None:
        """Lists of realizations are in the matcher's order, and keys in that of the target."""
        stages = {f"k{n}": lab.stage(f"s{n}", content=[str(i) for i in range(3)]) for n in range(6)}
        one = lab.realize(stages, jobs=3, executor="threads")
        assert list(one) == list(stages)
        assert one == lab.realize(stages)

    def test_what_is_selected_has_the_order_of_the_closure(self, lab: Lab) -> None:
        """Not that in which stages were done."""
        first = lab.stage("first", content=slow(0.1))
        closure = lab.closure([first, lab.stage("second"), lab.stage("third")])
        scheduler = Scheduler(prepare(closure), Schedule.make(3, "threads"))
        assert list(scheduler.select()) == list(closure.derivations)

    def test_the_second_time_all_is_cached(self, lab: Lab) -> None:
        """Nothing runs again, and what was forced runs alone."""
        base = lab.stage("base")
        top = [lab.stage(f"s{n}", base) for n in range(4)]
        first = lab.realize(top, jobs=4, executor="threads")
        lab.runs.clear()
        assert lab.realize(top, jobs=4, executor="threads") == first
        assert lab.runs == []
        lab.realize(top, jobs=4, executor="threads", force_rebuild=[top[1]])
        assert lab.runs == ["s1"]
        with pytest.raises(NotRealized):
            new = lab.stage("new", base)
            lab.realize(new, jobs=4, executor="threads", assert_realized=[new])


class TestLimits:
    """No more stages run at once than there are jobs and resources for."""

    def test_jobs(self, lab: Lab) -> None:
        """As many as said run at once, and no more."""
        peak = Peak(3)
        lab.realize(
            [lab.stage(f"s{n}", content=peak.stage()) for n in range(9)], jobs=3, executor="threads"
        )
        assert peak.most == 3

    def test_from_the_environment(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """PLXNIX_JOBS is the default; 0 is one for each CPU; nonsense is refused."""
        monkeypatch.setenv("PLXNIX_JOBS", "4")
        peak = Peak(4)
        lab.realize(
            [lab.stage(f"s{n}", content=peak.stage()) for n in range(4)], executor="threads"
        )
        assert peak.most == 4
        monkeypatch.setenv("PLXNIX_JOBS", "many")
        with pytest.raises(InvalidSetting, match="many"):
            lab.realize(lab.stage("a"))

    def test_resources(self, lab: Lab) -> None:
        """Stages that need the same scarce thing wait for each other; others go on beside them."""
        peak = Peak(6)
        scarce = [_needing(lab, f"g{n}", peak.stage("scarce"), {"gpus": 1}) for n in range(4)]
        free = [lab.stage(f"s{n}", content=peak.stage("free")) for n in range(4)]
        lab.realize([*scarce, *free], jobs=8, executor="threads", resources={"gpus": 2})
        assert peak.most_of == {"scarce": 2, "free": 4}
        assert peak.most == 6

    def test_of_an_autostage(self, lab: Lab) -> None:
        """They come from the decorator and are no part of the config."""

        def make(out: Path) -> None:
            out.write_text("x")

        fields: dict[str, Any] = {"out": [selfref, "x"], "registry": lab.registry}
        plain = autostage(**fields)(make)()
        assert autostage(**fields, resources={"gpus": 2})(make)() == plain
        with pytest.raises(InvalidValue, match="the stage make needs 2 gpus"):
            lab.realize(plain, jobs=2, resources={"gpus": 1})

    def test_cpus(self, lab: Lab) -> None:
        """There are as many CPUs as jobs: a stage that needs all of them runs alone."""
        peak = Peak(3)
        wide = _needing(lab, "wide", peak.stage("wide"), {"cpus": 3})
        rest = [lab.stage(f"s{n}", content=peak.stage("rest")) for n in range(3)]

        def alone(_: Build) -> str:
            return ""

        lab.realize([*rest, wide, lab.stage("x", content=alone)], jobs=3, executor="threads")
        assert peak.most == 3
        assert peak.most_of == {"wide": 1, "rest": 3}

    def test_more_than_there_is(self, lab: Lab) -> None:
        """What can never run is refused at once; what nobody counts is there for one at a time."""
        stage = _needing(lab, "a", None, {"license": 2})
        with pytest.raises(InvalidValue, match="needs 2 license, of which there are 1"):
            lab.realize(stage, jobs=2, executor="threads", resources={"license": 1})
        assert lab.runs == []
        peak = Peak(1)
        some = [_needing(lab, f"s{n}", peak.stage(), {"license": 2}) for n in range(3)]
        lab.realize([stage, *some], jobs=4, executor="threads")
        assert peak.most == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"jobs": -1}, "jobs is -1"),
            ({"jobs": "2"}, "jobs is '2'"),
            ({"jobs": True}, "jobs is True"),
            ({"timeout": 0}, "timeout is 0"),
            ({"retries": -1}, "retries is -1"),
            ({"resources": {"gpus": -1}}, "gpus=-1"),
            ({"resources": ["gpus"]}, "resources is"),
            ({"resources": {"": 1}}, "names ''"),
            ({"executor": "cloud"}, "executor is 'cloud'"),
        ],
    )
    def test_bad_arguments(self, lab: Lab, options: dict[str, Any], said: str) -> None:
        """Arguments of a wrong kind are refused before anything runs."""
        with pytest.raises(InvalidValue, match=said):
            lab.realize(lab.stage("a"), **options)
        assert lab.runs == []


def _needing(lab: Lab, name: str, content: Any, resources: dict[str, float]) -> DRef:
    from dataclasses import replace

    dref = lab.stage(name, content=content)
    derivations = lab.registry.derivations
    derivations[dref] = replace(derivations[dref], resources=resources)
    return dref


def fail(_: Build) -> str:
    """Fail as a stage."""
    print("about to fail")
    raise ValueError("no luck")


def slow(seconds: float) -> Callable[[Build], str]:
    """Return the contents of a stage that sleeps."""

    def sleep(_: Build) -> str:
        time.sleep(seconds)
        return ""

    return sleep


class TestFailures:
    """A failure stops the rest, or, if so wanted, only what depends on it."""

    def test_the_first_one_ends_it(self, lab: Lab) -> None:
        """No stage is started after a failure, what runs is waited for, and nothing is left."""

        def until_stopped(_: Build) -> str:
            stopped = threading.Event()
            with interrupted_by(stopped.set):
                stopped.wait(PATIENCE)
            return ""

        broken = lab.stage("broken", content=fail)
        later = [lab.stage(f"s{n}", content=until_stopped) for n in range(20)]
        with pytest.raises(BuildFailed, match="no luck") as caught:
            lab.realize([broken, *later], jobs=2, executor="threads")
        assert set(lab.runs) <= {"broken", "s0"}
        assert isinstance(caught.value.__cause__, ValueError)
        assert lab.leftovers() == []

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_an_error_of_a_matcher(self, lab: Lab, when: str) -> None:
        """Whatever a matcher raises comes out of `realize`, whichever thread decides."""

        def broken(_: Any, rrefs: list[RRef]) -> list[RRef] | None:
            if when == "before" or rrefs:
                raise ZeroDivisionError("of the matcher")
            return None

        base = [lab.stage(f"s{n}", content=slow(0.02 * n)) for n in range(3)]
        above = lab.stage("above", base[0], matcher=broken)
        with pytest.raises(ZeroDivisionError, match="of the matcher"):
            lab.realize([above, *base], jobs=3, executor="threads")
        assert lab.leftovers() == []

    def test_a_failure_before_another_try(self, lab: Lab) -> None:
        """What is to be tried again, and has not begun when all is stopped, is not waited for."""
        begun = threading.Barrier(3)
        deciding = threading.Event()

        def first(_: Any, rrefs: list[RRef]) -> list[RRef] | None:
            if rrefs:
                deciding.set()
                while not lab.store.realizations(broken):
                    time.sleep(0.01)
                time.sleep(0.3)  # Meanwhile the other stages are done, and nobody decides.
            return rrefs or None

        def ends(_: Any, rrefs: list[RRef]) -> None:
            if rrefs:
                raise BuildFailed("all ends")

        def early(_: Build) -> str:
            begun.wait(60)
            return ""

        def late(build: Build) -> str:
            if lab.runs.count("again") == 1:
                begun.wait(60)
                deciding.wait(60)
            return fail(build)

        def later(_: Build) -> str:
            begun.wait(60)
            deciding.wait(60)
            time.sleep(0.1)
            return ""

        broken = lab.stage("broken", content=later, matcher=ends)
        drefs = [
            lab.stage("first", content=early, matcher=first),
            lab.stage("again", content=late),
            broken,
        ]
        with pytest.raises(BuildFailed, match="all ends"):
            lab.realize(drefs, jobs=3, executor="threads", retries=1)
        # It may begin in the moment before.
        assert sorted(lab.runs)[-3:] == ["again", "broken", "first"]
        assert lab.leftovers() == []

    def test_context_variables(self, lab: Lab) -> None:
        """A stage finds those of the caller, whatever the stages before it have set."""
        variable = ContextVar("variable", default="default")

        def make(_: Build) -> str:
            found = variable.get()
            variable.set("of a stage")
            return found

        drefs = [lab.stage("s0", content=make)]
        for number in range(1, 5):
            drefs.append(lab.stage(f"s{number}", drefs[-1], content=make))
        variable.set("of the caller")
        rrefs = lab.realize(drefs, jobs=2, executor="threads")
        assert [lab.text(rref) for rref in rrefs] == ["of the caller"] * 5

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_keep_going(self, lab: Lab, jobs: int) -> None:
        """All that does not depend on a failure is realized, and all failures are listed."""
        base = lab.stage("base")
        first = lab.stage("first", base, content=fail)
        above = lab.stage("above", first)
        top = lab.stage("top", above, base)
        second = lab.stage("second", content=fail)
        good = [lab.stage(f"s{n}", base) for n in range(5)]
        notes = Notes()
        with pytest.raises(StagesFailed) as caught:
            lab.realize(
                [top, second, *good],
                jobs=jobs,
                keep_going=True,
                observer=notes,
                executor=None if jobs == 1 else "threads",
            )
        assert list(caught.value.failures) == [first, second]
        assert set(caught.value.skipped) == {above, top}
        assert "2 stages of 10 failed, 2 that depend on them were not tried" in caught.value.message
        assert "no luck" in caught.value.message
        assert all(lab.store.realizations(dref) for dref in (base, *good))
        assert ("skipped for first", "top") in notes.notes
        assert lab.leftovers() == []

    def test_retries(self, lab: Lab) -> None:
        """A stage that fails now and then is tried again, as often as said."""
        tries: list[int] = []

        def sometimes(_: Build) -> str:
            tries.append(1)
            if len(tries) < 3:
                raise ValueError("no luck")
            return "luck"

        dref = lab.stage("a", content=sometimes)
        with pytest.raises(BuildFailed):
            lab.realize(dref, retries=1)
        tries.clear()
        assert lab.text(lab.realize(dref, retries=2)) == "luck"
        assert lab.leftovers() == []

    def test_what_is_not_worth_a_retry(self, lab: Lab) -> None:
        """A broken promise is not luck."""
        dref = lab.stage("a", promised=[selfref, "other"])
        with pytest.raises(PromiseMissing):
            lab.realize(dref, retries=3)
        assert lab.runs == ["a"]

    def test_a_bad_matcher(self, lab: Lab) -> None:
        """What a matcher raises ends it, too, with all that runs."""

        def bad(_: Any, __: list[RRef]) -> list[RRef]:
            raise KeyError("matcher")

        first = lab.stage("slow", content=slow(0.1))
        with pytest.raises(KeyError, match="matcher"):
            lab.realize([first, lab.stage("bad", first, matcher=bad)], jobs=2, executor="threads")
        assert lab.leftovers() == []


class TestOthersAtWork:
    """Stages that other processes realize are waited for, while the rest goes on."""

    def test_a_locked_stage_holds_up_nobody(self, lab: Lab) -> None:
        """With one job: the others run first, then the one that somebody else had."""
        locked, *rest = (lab.stage(f"s{n}") for n in range(4))
        notes = Notes()
        with ThreadPoolExecutor(1) as pool:
            with lab.store.realizing(locked):
                future = pool.submit(
                    lab.realize, [locked, *rest], jobs=1, executor="threads", observer=notes
                )
                wait_for(lambda: len(lab.runs) >= 3)
                assert lab.runs == ["s1", "s2", "s3"]
            future.result(PATIENCE)
        assert lab.runs[3] == "s0"
        assert notes.notes.count(("waiting", "s0")) == 1

    def test_two_in_opposite_orders(self, tmp_path: Path) -> None:
        """Two realizations of the same stages in opposite orders finish, and make each once."""
        labs = [Lab(tmp_path / "store") for _ in range(2)]
        targets = []
        for lab in labs:
            stages = [lab.stage(f"s{n}", content=slow(0.01)) for n in range(12)]
            targets.append(stages)
        targets[1].reverse()
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(lab.realize, target, jobs=2, executor="threads")
                for lab, target in zip(labs, targets, strict=True)
            ]
            one, other = (each.result(PATIENCE) for each in both)
        assert one == other[::-1]
        assert Counter(labs[0].runs + labs[1].runs) == {f"s{n}": 1 for n in range(12)}


class TestPrograms:
    """Recipes run in threads; their programs are killed when they have to be."""

    def command(self, lab: Lab, name: str, command: str) -> DRef:
        """Register a command."""
        found: DRef = execute(
            name=name, command=command, registry=lab.registry, deterministic=False
        )
        return found

    def test_at_once(self, lab: Lab, tmp_path: Path) -> None:
        """Six of which each waits for the others come to an end."""
        place = tmp_path / "met"
        place.mkdir()
        wait = f"until [ $(ls {place} | wc -l) = 6 ]; do sleep 0.01; done; echo > $out"
        drefs = [self.command(lab, f"s{n}", f"touch {place}/{n}; {wait}") for n in range(6)]
        lab.realize(drefs, jobs=6, timeout=PATIENCE)

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_timeout(self, lab: Lab, jobs: int) -> None:
        """One that takes too long is killed; nothing is left."""
        dref = self.command(lab, "slow", f"echo begun; sleep {PATIENCE} > $out")
        started = time.monotonic()
        with pytest.raises(BuildFailed, match=r"longer than 1\.5 s") as caught:
            lab.realize(dref, jobs=jobs, timeout=1.5)
        assert time.monotonic() - started < PATIENCE
        assert caught.value.log
        assert lab.leftovers() == []

    def test_timeout_of_a_later_one(self, lab: Lab) -> None:
        """A stage that begins when another one is done has its own time, beginning then."""
        first = self.command(lab, "first", "sleep 1.5; echo > $out")
        later = self.command(lab, "later", f"echo {first}; sleep {PATIENCE} > $out")
        started = time.monotonic()
        with pytest.raises(BuildFailed, match="later took longer than 3 s"):
            lab.realize(later, jobs=2, timeout=3)
        assert 4.5 <= time.monotonic() - started < PATIENCE
        assert lab.leftovers() == []

    def test_a_failure_kills_the_others(self, lab: Lab, tmp_path: Path) -> None:
        """A program that runs when another stage fails is killed, and said to be stopped."""
        begun = tmp_path / "begun"
        drefs = [
            self.command(lab, "slow", f"touch {begun}; sleep {PATIENCE} > $out"),
            self.command(lab, "broken", f"until [ -e {begun} ]; do sleep 0.01; done; exit 3"),
        ]
        notes = Notes()
        started = time.monotonic()
        with pytest.raises(BuildFailed, match="exited with 3"):
            lab.realize(drefs, jobs=2, observer=notes)
        assert time.monotonic() - started < PATIENCE
        assert ("stopped", "slow") in notes.notes
        assert [name for event, name in notes.notes if event == "failed"] == ["broken"]
        assert lab.leftovers() == []

    def test_they_share_what_is_lowered(self, lab: Lab) -> None:
        """Commands above one command are made at once, from the same derivation."""
        base = self.command(lab, "base", "echo base > $out")
        above = [
            self.command(lab, f"s{n}", f"cat {base} > $out; echo {n} >> $out") for n in range(8)
        ]
        found = lab.realize(above, jobs=8)
        texts = [Path(lab.store.path(rref), f"s{n}").read_text() for n, rref in enumerate(found)]
        assert texts == [f"base\n{n}\n" for n in range(8)]


class TestStop:
    """A stop calls what kills, once, and the reason is raised."""

    def test_before_within_and_after(self) -> None:
        """The reason is raised wherever the wish comes, and only then."""
        stop, killed = Stop(), []
        with stop.working(), interrupted_by(lambda: killed.append(1)):
            pass
        with (
            pytest.raises(BuildFailed, match="enough"),
            stop.working(),
            interrupted_by(lambda: killed.append(2)),
        ):
            stop.set(BuildFailed("enough"))
            stop.set(BuildFailed("too much"))
        assert killed == [2]
        with (
            pytest.raises(BuildFailed, match="enough"),
            stop.working(),
            interrupted_by(lambda: killed.append(3)),
        ):
            killed.append(4)
        assert killed == [2]
        with interrupted_by(lambda: killed.append(5)):
            pass
        assert killed == [2]


def test_no_thread_can_be_begun(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that no thread could take is not waited for: who realizes gets the error."""

    class Impatient(Observer):
        """Ends the test where it would wait for ever."""

        def said(self, dref: DRef, message: str) -> None:
            """Raise what it is told."""
            raise BuildFailed(message, "", dref)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    target = lab.stage("one")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            lab.realize(target, jobs=2, executor="threads", observer=Impatient())
    assert not lab.runs
    assert lab.text(lab.realize(target, jobs=2, executor="threads")) == "one"


def test_without_cloudpickle(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is missing, the error names the extra, and threads do without."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    dref = lab.stage("a")
    with pytest.raises(MissingExtra, match="cloudpickle"):
        lab.realize(dref, jobs=2)
    assert lab.leftovers() == []
    lab.realize(dref, jobs=2, executor="threads")


def test_overhead_grows_with_the_edges(tmp_path: Path) -> None:
    """Stages that are cached take less than a millisecond each."""
    lab = Lab(tmp_path / "store")
    drefs: list[DRef] = []
    for number in range(300):
        drefs.append(lab.stage(f"s{number}", *drefs[-3:]))
    closure = lab.closure(drefs)
    realize(closure, jobs=2, executor="threads")
    started = time.process_time()
    realize(closure, jobs=2, executor="threads")
    assert time.process_time() - started < 0.3
    assert len(os.listdir(lab.store.layout.locks)) == 1
