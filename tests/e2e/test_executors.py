"""Executors of others, with what they do to tasks: other machines, lost workers, late answers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from plxnix import Build, DRef, RRef, autostage, instantiate, selfref
from plxnix.errors import BuildFailed, StagesFailed
from plxnix.realize.realizing import realize
from plxnix.realize.run import Observer
from plxnix.realize.schedule import Schedule
from plxnix.store import verify
from tests.conftest import needed
from tests.stage_samples import Lab
from tests.waiting import PATIENCE

needed("cloudpickle")

#: A worker: it does the call that comes on standard input.
WORKER = """
import pickle, sys
function, arguments = pickle.load(sys.stdin.buffer)
answer = function(*arguments)
open(sys.argv[1], "wb").write(pickle.dumps(answer))
"""


class Elsewhere:
    """An executor with a new process for each task, on a "machine" of its own.

    There `hidden` is an empty folder, and temporary files are in `tmp`.
    """

    def __init__(self, bubblewrap: str, tmp: Path, hidden: Path) -> None:
        self._machine = [bubblewrap, "--dev-bind", "/", "/", "--tmpfs", str(hidden), "--chdir", "/"]
        self._tmp = tmp
        self._pool = ThreadPoolExecutor(4)
        self.count = 0

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a process that does it; its standard output is ours."""
        self.count += 1
        return self._pool.submit(self._do, self._tmp / f"answer-{self.count}", function, *arguments)

    def _do(self, answer: Path, *call: Any) -> Any:
        subprocess.run(
            [*self._machine, sys.executable, "-c", WORKER, str(answer)],
            input=pickle.dumps((call[0], call[1:])),
            env={
                **os.environ,
                "TMPDIR": str(self._tmp),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            check=True,
        )
        return pickle.loads(answer.read_bytes())  # noqa: S301 (of the process above)


@pytest.fixture
def elsewhere(bubblewrap: str, lab: Lab, tmp_path: Path) -> Elsewhere:
    """Another machine, which does not see the store of `lab`."""
    (tmp_path / "tmp").mkdir()
    return Elsewhere(bubblewrap, tmp_path / "tmp", lab.root)


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    """Two processes, started when they are needed."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as found:
        yield found


def chain(lab: Lab) -> DRef:
    """Return a stage that reads one that reads another; each prints."""

    def first(_: Build) -> str:
        print("first runs")
        return "1"

    def later(build: Build) -> str:
        print("later runs")
        below = Path(build.store.path(build.context[build.config.dependencies[0]][0]), "out")
        return below.read_text() + "+1"

    one = lab.stage("one", content=first)
    two = lab.stage("two", one, content=later)
    return lab.stage("three", two, content=later)


class TestAnotherMachine:
    """Workers that do not see the store."""

    def test_results_come_back(self, lab: Lab, elsewhere: Elsewhere) -> None:
        """The same is selected as with one job, and the store is whole; nothing stays there."""
        found = realize(lab.closure(chain(lab)), executor=elsewhere)
        assert lab.text(found) == "1+1+1"
        assert lab.store.log(found) == "later runs\n"
        assert lab.runs == []
        assert elsewhere.count == 4  # the first one told that it sees no store
        assert list(verify.verify(lab.store)) == []
        assert lab.leftovers() == []
        assert [one.name for one in (lab.root.parent / "tmp").glob("plxnix-*")] == []
        assert realize(lab.closure(chain(lab)), force_rebuild=True) == found

    def test_what_is_not_installed_there(self, lab: Lab, elsewhere: Elsewhere) -> None:
        """A stage fails whose realizer needs what workers do not have."""

        class Missing:
            def __reduce__(self) -> tuple[Any, ...]:
                return __import__, ("no_module_of_this_name",)

        missing = Missing()
        with pytest.raises(BuildFailed, match=r"cannot read .*-needs: ModuleNotFoundError"):
            realize(
                lab.closure(lab.stage("needs", content=lambda _: str(missing))), executor=elsewhere
            )

    def test_what_killed_workers_left(self, lab: Lab, elsewhere: Elsewhere) -> None:
        """The next worker of that machine removes it, and leaves alone what is in use."""

        def die(_: Build) -> str:
            os._exit(1)

        with pytest.raises(BuildFailed, match="no answer"):
            realize(lab.closure(lab.stage("dead", content=die)), executor=elsewhere)
        tmp = lab.root.parent / "tmp"
        assert len(list(tmp.glob("plxnix-worker-*"))) == 1

        def watch(_: Build) -> str:
            return " ".join(one.name for one in tmp.glob("plxnix-worker-*"))

        seen = lab.text(realize(lab.closure(lab.stage("next", content=watch)), executor=elsewhere))
        assert len(seen.split()) == 1
        assert list(tmp.glob("plxnix-worker-*")) == []


class TestPool:
    """Executors of `concurrent.futures`, whose workers share this machine's output."""

    def test_output_is_shown_once(
        self, lab: Lab, pool: ProcessPoolExecutor, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """It comes with the answer; workers do not print it as well."""
        realize(lab.closure(chain(lab)), executor=pool)
        assert capfd.readouterr().out.splitlines() == ["first runs", "later runs", "later runs"]

    def test_a_pool_that_broke(self, lab: Lab, pool: ProcessPoolExecutor) -> None:
        """It takes nothing any more: these are failures of stages, and what is cached is there."""

        def die(_: Build) -> str:
            os._exit(1)

        drefs = [lab.stage("dies", content=die), lab.stage("late"), lab.stage("later")]
        with pytest.raises(StagesFailed) as caught:
            realize(lab.closure(drefs), executor=pool, keep_going=True, retries=1, jobs=1)
        assert len(caught.value.failures) == 3
        with pytest.raises(BuildFailed, match=r"no answer for .*-late: BrokenProcessPool"):
            realize(lab.closure(drefs[1]), executor=pool)
        assert lab.leftovers() == []


class Lazy:
    """An executor that begins tasks when it is told to, and never answers for cancelled ones."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.futures: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Take a task."""
        future: Future[Any] = Future()
        self.futures.append(future)

        def work() -> None:
            self.begun.wait()
            if future.set_running_or_notify_cancel():
                future.set_result(function(*arguments))

        threading.Thread(target=work, daemon=True).start()
        return future


def test_a_slow_start(lab: Lab) -> None:
    """Tasks wait for workers; a timeout includes that, and cancels what has not begun."""
    lazy = Lazy()
    with pytest.raises(BuildFailed, match="took longer"):
        realize(lab.closure(lab.stage("a")), executor=lazy, timeout=3)
    assert [one.cancelled() for one in lazy.futures] == [True]
    threading.Timer(0.3, lazy.begun.set).start()
    assert lab.text(realize(lab.closure(lab.stage("b")), executor=lazy)) == "b"
    assert lab.leftovers() == []


class Stubborn:
    """An executor that does one task only; its futures refuse to be cancelled, as Parsl's do."""

    def __init__(self) -> None:
        self._once = threading.Lock()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Do the task if it is the first one."""
        future = _Stubborn()
        if self._once.acquire(blocking=False):
            future.set_result(function(*arguments))
        return future


class _Stubborn(Future[Any]):
    def cancel(self) -> bool:
        raise NotImplementedError("Cancel not implemented")


def test_futures_that_cannot_be_cancelled(lab: Lab) -> None:
    """The first failure ends it all the same, and is what is raised."""

    def fail(_: Build) -> str:
        raise ValueError("no luck")

    drefs = [lab.stage(name, content=fail) for name in "abc"]
    with pytest.raises(BuildFailed, match="no luck"):
        realize(lab.closure(drefs), executor=Stubborn())
    assert lab.leftovers() == []


def test_jobs_of_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets as many as it takes by default, and as many as the environment says, be it one."""
    assert Schedule.make(executor=Lazy()).jobs == 0
    monkeypatch.setenv("PLXNIX_JOBS", "1")
    assert Schedule.make(executor=Lazy()).jobs == 1
    assert Schedule.make(3, Lazy()).jobs == 3


class Together:
    """An executor that begins when it has been given so many tasks."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self._pool = ThreadPoolExecutor(count)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Take a task."""

        def work() -> Any:
            self.barrier.wait(PATIENCE)
            return function(*arguments)

        return self._pool.submit(work)


@pytest.mark.parametrize("name", ["cpus", "gpus"])
def test_processors_elsewhere(lab: Lab, name: str) -> None:
    """Those of this machine are no limit; what the user says is."""

    @autostage(out=[selfref, "out"], resources={name: 40}, registry=lab.registry)
    def stage(out: Any, number: int) -> None:
        out.write_text(str(number))

    def graph(registry: Any) -> list[DRef]:
        return [stage(number=n, registry=registry) for n in range(2)]

    made = realize(
        instantiate(graph, registry=lab.registry), executor=Together(2), timeout=PATIENCE
    )
    assert [lab.text(rref) for rref in made] == ["0", "1"]
    closure = instantiate(graph, registry=lab.registry)
    together = Together(2)
    with pytest.raises(BuildFailed, match="took longer"):
        realize(closure, True, executor=together, timeout=1, resources={name: 50})
    together.barrier.abort()


class Told(Observer):
    """An observer that writes down what it is told of stages that run elsewhere."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.running = threading.Event()

    def queued(self, dref: DRef) -> None:
        """Note it."""
        self.events.append(("queued", dref.name))

    def started(self, dref: DRef) -> None:
        """Note it."""
        self.events.append(("started", dref.name))
        self.running.set()

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """Note it."""
        del rrefs, seconds
        self.events.append(("finished", dref.name))

    def failed(self, dref: DRef, error: BaseException) -> None:
        """Note it."""
        del error
        self.events.append(("failed", dref.name))


@pytest.mark.parametrize("apart", [False, True])
def test_handed_over_is_not_begun(
    lab: Lab, elsewhere: Elsewhere, apart: bool, tmp_path: Path
) -> None:
    """Of what an executor holds, it is told when a worker begins with it."""

    def wait(_: Build) -> str:
        while not (tmp_path / "go").exists():
            threading.Event().wait(0.05)
        return ""

    told, lazy = Told(), Lazy()
    drefs = [lab.stage("a", content=wait), lab.stage("b", content=wait)]
    with ThreadPoolExecutor(1) as pool:
        executor = elsewhere if apart else lazy
        future = pool.submit(realize, lab.closure(drefs), executor=executor, observer=told)
        try:
            while not apart and len(lazy.futures) < 2 and not future.done():
                threading.Event().wait(0.05)
            assert apart or sorted(told.events) == [("queued", "a"), ("queued", "b")]
            lazy.begun.set()
            while not told.running.wait(0.05) and not future.done():
                pass
        finally:
            (tmp_path / "go").touch()
        future.result(PATIENCE)
    events = [(event, name) for name in "ab" for event in ("queued", "started", "finished")]
    assert sorted(told.events, key=lambda event: event[1]) == events
    assert lab.leftovers() == []


def test_handed_over_and_never_begun(lab: Lab) -> None:
    """A stage that no worker took has not begun when it fails."""
    told = Told()
    with pytest.raises(BuildFailed, match="took longer"):
        realize(lab.closure(lab.stage("a")), executor=Lazy(), observer=told, timeout=3)
    assert told.events == [("queued", "a"), ("failed", "a")]
    assert lab.leftovers() == []
