"""Runs: what is recorded of the output, and what observers are told."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix import Build, DRef, RRef, Store, build_outpath, match_all, realize
from plxnix.errors import BuildFailed, PromiseMissing
from plxnix.realize.run import Log, Observer, Run, current_run
from tests.stage_samples import Lab
from tests.waiting import PATIENCE


class Notes(Observer):
    """An observer that takes down all it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[object, ...]] = []

    def planned(self, total: int) -> None:
        """Take down how many stages there are."""
        self.notes.append(("planned", total))

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        """Take down what was there."""
        self.notes.append(("cached", dref.name, *rrefs))

    def started(self, dref: DRef) -> None:
        """Take down what begins."""
        self.notes.append(("started", dref.name))

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """Take down what is done; a run takes time."""
        assert seconds >= 0
        self.notes.append(("finished", dref.name, *rrefs))

    def failed(self, dref: DRef, error: BaseException) -> None:
        """Take down what failed."""
        self.notes.append(("failed", dref.name, type(error)))

    def said(self, dref: DRef, message: str) -> None:
        """Take down a line."""
        self.notes.append(("said", dref.name, message))


class TestObservers:
    """Observers are told what happens, in the order in which it does."""

    def test_runs_and_cache(self, lab: Lab) -> None:
        """A first realization starts and finishes stages; a second finds them."""
        a = lab.stage("a", content=["1", "2"], matcher=match_all())
        b = lab.stage("b", a)
        first, second = Notes(), Notes()
        rref = lab.realize(b, observer=first)
        below = lab.realize(a)
        assert first.notes[0] == ("planned", 2)
        assert [note[:2] for note in first.notes[1:]] == [
            ("started", "a"),
            ("finished", "a"),
            ("started", "b"),
            ("finished", "b"),
        ]
        assert sorted(map(str, first.notes[2][2:])) == sorted(below)
        lab.realize(b, observer=second)
        assert second.notes == [("planned", 2), ("cached", "a", *below), ("cached", "b", rref)]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_failure(self, lab: Lab, error: type[BaseException]) -> None:
        """A failure is told before it is raised, a kept folder too."""

        def fail(_: Build) -> str:
            raise error

        notes = Notes()
        with pytest.raises((BuildFailed, KeyboardInterrupt)) as caught:
            lab.realize(lab.stage("a", content=fail), observer=notes, keep_failed=True)
        started, said, failed = notes.notes[1:]
        assert started == ("started", "a")
        assert lab.store.layout.failed in str(said[2])
        assert failed == ("failed", "a", type(caught.value))

    def test_broken_promise(self, lab: Lab) -> None:
        """A broken promise is a failure of the stage."""
        notes = Notes()
        with pytest.raises(PromiseMissing):
            lab.realize(lab.stage("a", promise=["__self__", "x"]), observer=notes)
        assert notes.notes[-1] == ("failed", "a", PromiseMissing)

    def test_waiting(self, lab: Lab) -> None:
        """Who waits for another's lock is told who holds it, and then finds the result."""
        dref = lab.stage("a")
        closure = lab.closure(dref)
        waiting = threading.Event()

        class Signal(Notes):
            def said(self, dref: DRef, message: str) -> None:
                super().said(dref, message)
                waiting.set()

        notes = Signal()
        with ThreadPoolExecutor(1) as pool:
            with lab.store.realizing(dref):
                future = pool.submit(realize, closure, observer=notes)
                assert waiting.wait(PATIENCE)
            future.result(PATIENCE)
        (said,) = [note for note in notes.notes if note[0] == "said"]
        assert "waiting for process" in str(said[2])
        assert lab.runs == ["a"]


class TestCurrentRun:
    """A realizer can find the run that it is in."""

    def test_inside_and_outside(self, lab: Lab) -> None:
        """There is one inside, with the reference and the observer, and none outside."""
        seen: list[Run | None] = []

        def look(_: Build) -> str:
            seen.append(current_run())
            return ""

        observer = Observer()
        dref = lab.stage("a", content=look)
        lab.realize(dref, observer=observer)
        (run,) = seen
        assert run is not None
        assert (run.dref, run.observer, run.work.closure.dref) == (dref, observer, dref)
        assert current_run() is None

    def test_after_a_failure(self, lab: Lab) -> None:
        """A failed run does not stay current, and the streams are the process's own again."""
        streams = sys.stdout, sys.stderr

        def fail(_: Build) -> str:
            assert sys.stdout is not streams[0]
            raise ValueError

        with pytest.raises(BuildFailed):
            lab.realize(lab.stage("a", content=fail))
        assert current_run() is None
        assert (sys.stdout, sys.stderr) == streams


class TestRecording:
    """What Python code prints goes to the log of its own run."""

    def test_threads_keep_their_logs_apart(self, tmp_path: Path) -> None:
        """Stages that run in two threads at one time get what each of them printed."""
        labs = [Lab(tmp_path / name) for name in ("a", "b")]
        before = sys.stdout
        barrier = threading.Barrier(2, timeout=PATIENCE)

        def talk(build: Build) -> str:
            barrier.wait()
            print(f"{Path(build.store.root).name} begins")
            barrier.wait()
            print(f"{Path(build.store.root).name} ends")
            barrier.wait()
            return ""

        def work(lab: Lab) -> str:
            return lab.store.log(lab.realize(lab.stage("talk", content=talk)))

        with ThreadPoolExecutor(2) as pool:
            logs = [*pool.map(work, labs)]
        assert logs == ["a begins\na ends\n", "b begins\nb ends\n"]
        assert sys.stdout is before

    def test_ends_in_any_order(self) -> None:
        """The run that began first may end first: the streams are put back when none is left."""
        before = sys.stdout
        first, second = (Run(DRef("dref:x"), Observer()) for _ in range(2))
        outer, inner = first.recording(), second.recording()
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        print("to the second, which alone is left")
        inner.__exit__(None, None, None)
        assert sys.stdout is before
        assert (first.log.value(), second.log.value()) == (
            b"",
            b"to the second, which alone is left\n",
        )

    def test_threads_of_a_realizer(self, lab: Lab) -> None:
        """What a realizer's own threads print goes to its log as well."""

        def make(_: Build) -> str:
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start()
            thread.join()
            return ""

        rref = lab.realize(lab.stage("a", content=make))
        assert lab.store.log(rref) == "from a thread\n"

    def test_streams_are_usable(self, lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
        """A realizer may use the streams as ever: bytes, file descriptors, redirection."""

        def make(build: Build) -> str:
            sys.stdout.buffer.write(b"bytes\n")
            sys.stdout.flush()
            subprocess.run(["echo", "process"], stdout=sys.stdout, check=True)
            with redirect_stdout(io.StringIO()) as text:
                print("caught")
            assert sys.stdout.writable()
            assert sys.stdout.encoding.lower() == "utf-8"
            assert not sys.stdout.isatty()
            (build_outpath(build) / "caught").write_text(text.getvalue())
            return ""

        rref = lab.realize(lab.stage("a", content=make))
        assert capfd.readouterr().out == "bytes\nprocess\n"
        assert Path(lab.store.path(rref), "caught").read_text() == "caught\n"
        assert lab.store.log(rref) == ""

    def test_streams_that_are_kept(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        """A handler that keeps the stream beyond the run can go on writing to it."""
        handlers: list[logging.Handler] = []

        def make(_: Build) -> str:
            handlers.append(logging.StreamHandler(sys.stderr))
            return ""

        rref = lab.realize(lab.stage("a", content=make))
        handlers[0].emit(logging.makeLogRecord({"msg": "late"}))
        assert capsys.readouterr().err == "late\n"
        assert lab.store.log(rref) == ""

    def test_no_streams(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process without streams can realize as well."""
        monkeypatch.setattr(sys, "stdout", None)
        monkeypatch.setattr(sys, "stderr", None)
        rref = lab.realize(lab.stage("a", content=lambda _: str(print("nowhere"))))
        assert lab.text(rref) == "None"
        assert (sys.stdout, sys.stderr) == (None, None)

    def test_lone_surrogates(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be written as UTF-8, such as odd file names, is replaced in the log."""
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        rref = lab.realize(lab.stage("a", content=lambda _: str(print("a\udcffb"))))
        assert lab.store.log(rref) == "a?b\n"


class TestLog:
    """A log keeps the head and the tail of what it is given."""

    def test_short(self) -> None:
        """What fits is kept as it is."""
        log = Log(limit=10)
        for piece in (b"abc", b"", b"defg"):
            log.write(piece)
        assert log.value() == b"abcdefg"

    def test_long(self) -> None:
        """Of more, the middle is left out, and how much is said."""
        log = Log(limit=8)
        log.write(b"head" + b"x" * 1000 + b"tail")
        assert log.value() == b"head\n[... 1000 bytes left out ...]\ntail"

    @given(st.lists(st.text("ab", max_size=30).map(str.encode)), st.integers(2, 40))
    def test_law(self, pieces: list[bytes], limit: int) -> None:
        """Head, number and tail account for every byte; memory is bounded by twice the limit."""
        log = Log(limit)
        for piece in pieces:
            log.write(piece)
        whole, kept = b"".join(pieces), log.value()
        half = limit // 2
        if len(whole) <= 2 * half:
            assert kept == whole
        marker = kept.find(b"\n[... ")
        if kept != whole:
            lost = int(kept[marker + 6 :].split(b" ", 1)[0])
            tail = kept[kept.index(b" bytes left out ...]\n", marker) + 21 :]
            assert whole.startswith(kept[:marker])
            assert whole.endswith(tail)
            assert marker + lost + len(tail) == len(whole)
            assert half <= len(tail) <= 2 * half


def test_two_threads_build_once(tmp_path: Path) -> None:
    """Two threads that realize the same closure build it once, and both get the result."""
    lab = Lab(tmp_path / "store")
    started = threading.Event()

    def slow(_: Build) -> str:
        started.set()
        threading.Event().wait(0.05)
        return "slow"

    top = lab.stage("top", lab.stage("below", content=slow))

    def work(prepare: Callable[[], object]) -> RRef:
        prepare()
        found: RRef = lab.realize(top)
        return found

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work, lambda: None)]
        futures += [pool.submit(work, lambda: started.wait(PATIENCE)) for _ in range(3)]
        found = {future.result(PATIENCE) for future in futures}
    assert len(found) == 1
    assert sorted(lab.runs) == ["below", "top"]
    assert lab.leftovers() == []


def test_processes_that_race(tmp_path: Path) -> None:
    """Several processes that realize the same closure build each stage once."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.stage_samples import Lab\n"
        "lab = Lab(Path(sys.argv[1]))\n"
        "def slow(build):\n"
        "    time.sleep(0.02)\n"
        "    with open(sys.argv[2], 'a') as file:\n"
        "        file.write(build.dref.name + '\\n')\n"
        "    return 'same'\n"
        "dref = lab.stage('s0', content=slow)\n"
        "for number in range(1, 5):\n"
        "    dref = lab.stage(f's{number}', dref, content=slow)\n"
        "print(lab.realize(dref))\n"
    )
    Store.init(tmp_path / "store")
    command = [sys.executable, "-c", script, str(tmp_path / "store"), str(tmp_path / "runs")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate(timeout=PATIENCE)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(outputs) == 1
    runs = (tmp_path / "runs").read_text().split()
    assert sorted(runs) == [f"s{number}" for number in range(5)]
