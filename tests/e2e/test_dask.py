"""Realizing on a cluster of Dask: a scheduler and workers in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from plxnix import Build, DRef, autostage, instantiate, match_latest, selfref
from plxnix.errors import BuildFailed, InvalidValue
from plxnix.realize import executors
from plxnix.realize.parcels import Task
from plxnix.realize.realizing import realize
from plxnix.store import verify
from tests.conftest import needed
from tests.stage_samples import Lab
from tests.waiting import PATIENCE

distributed = needed("distributed")

#: What of a command line starts a part of Dask, without its dashboards.
DASK = [sys.executable, "-W", "ignore", "-m", "distributed.cli."]


class Cluster:
    """A scheduler, and workers that may have been given another home for the store."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        self._start("dask_scheduler", "--port", "0", "--scheduler-file", str(self._file))
        for _ in range(workers):
            self.add()

    def _start(self, part: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        environment["PLXNIX_ROOT"] = str(self.folder / "elsewhere")
        environment["TMPDIR"] = str(self.folder)
        process = subprocess.Popen(
            [*DASK[:-1], f"{DASK[-1]}{part}", *arguments, "--no-dashboard"],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def add(self) -> subprocess.Popen[bytes]:
        """Start one more worker, with one thread."""
        return self._start(
            "dask_worker",
            "--scheduler-file",
            str(self._file),
            "--nthreads",
            "1",
            "--no-nanny",
            "--local-directory",
            str(self.folder),
        )

    def client(self, workers: int) -> Any:
        """Return a client that sees so many workers."""
        client = distributed.Client(
            scheduler_file=str(self._file), set_as_default=False, timeout=PATIENCE
        )
        client.wait_for_workers(workers, timeout=PATIENCE)
        return client

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        import json

        self.client(1).close()  # which waits until there is the file, and somebody answers
        found: str = json.loads(self._file.read_text())["address"]
        return found

    def stop(self) -> None:
        """End all of it."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three workers."""
    found = Cluster(tmp_path_factory.mktemp("dask"), 3)
    yield found
    found.stop()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Any]:
    """A client of the cluster."""
    with cluster.client(3) as found:
        yield found


def graph(registry: Any, wait: float = 0.0) -> list[DRef]:
    """Return stages in three layers; each says in which process it ran."""

    def base(out: Any, number: int) -> None:
        print("base", number)
        out.write_text(f"base {number}")

    def middle(below: Any, out: Any, pid: Any, number: int) -> None:
        time.sleep(wait)
        pid.write_text(str(os.getpid()))
        out.write_text(f"{below.out.read_text()} middle {number}")

    def top(below: Any, out: Any) -> None:
        # The bases are reached through the middle.
        out.write_text(
            "; ".join(f"{one.below.out.read_text()}|{one.out.read_text()}" for one in below)
        )

    first = autostage(out=[selfref, "out"], registry=registry)(base)
    second = autostage(out=[selfref, "out"], pid=[selfref, "pid"], registry=registry)(middle)
    third = autostage(out=[selfref, "out"], registry=registry)(top)
    some = [second(number=n, below=first(number=n % 2)) for n in range(6)]
    return [third(below=some), *some]


EXPECTED = "; ".join(f"base {n % 2}|base {n % 2} middle {n}" for n in range(6))


class TestCluster:
    """The same call, with a client."""

    def test_with_a_shared_store(self, lab: Lab, client: Any) -> None:
        """Workers publish into the store; several of them took part, and this process did not."""
        top, *some = realize(
            instantiate(graph, registry=lab.registry, wait=0.3), executor=client.get_executor()
        )
        assert lab.text(top) == EXPECTED
        pids = {Path(lab.store.path(rref), "pid").read_text() for rref in some}
        assert len(pids) > 1
        assert str(os.getpid()) not in pids
        logs = {lab.store.log(rref) for rref in lab.store.record(top).context[some[0].dref]}
        assert logs == {""}
        bases = [rref for dref in lab.store.derivations() for rref in lab.store.realizations(dref)]
        assert {lab.store.log(rref) for rref in bases if rref.name == "base"} == {
            "base 0\n",
            "base 1\n",
        }
        assert list(verify.verify(lab.store)) == []
        assert realize(instantiate(graph, registry=lab.registry, wait=0.3), executor=client) == [
            top,
            *some,
        ]

    def test_without_a_shared_store(
        self, lab: Lab, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Workers that do not see the store get what they need, and send back what they made."""

        def hidden(**fields: Any) -> Any:
            # As on a machine that has no such folders.
            return Task(**{**fields, "proof": "/nonexistent/proof", "store": "/nonexistent"})

        monkeypatch.setattr(executors, "Task", hidden)
        top, *some = realize(
            instantiate(graph, registry=lab.registry), executor=client.get_executor(), jobs=4
        )
        assert lab.text(top) == EXPECTED
        assert len(some) == 6
        assert list(verify.verify(lab.store)) == []
        assert lab.leftovers() == []

    def test_an_error(self, lab: Lab, client: Any) -> None:
        """It comes back with its cause, and the log is kept."""

        def fail(_: Build) -> str:
            print("about to fail")
            raise ValueError("no luck")

        with pytest.raises(BuildFailed, match="no luck") as caught:
            realize(lab.closure(lab.stage("a", content=fail)), executor=client)
        assert isinstance(caught.value.__cause__, ValueError)
        assert "in fail" in str(caught.value.__cause__.__cause__)
        assert caught.value.log
        assert lab.leftovers() == []

    def test_a_worker_dies(self, lab: Lab, cluster: Cluster, client: Any) -> None:
        """What it had begun is run by another one."""
        flag = lab.root / "tmp" / ".died"

        def die(_: Build) -> str:
            if not flag.exists():
                flag.write_text("")
                os._exit(1)
            return "survived"

        rref = realize(lab.closure(lab.stage("a", content=die)), executor=client, retries=1)
        assert lab.text(rref) == "survived"
        flag.unlink()
        cluster.add()
        client.wait_for_workers(3, timeout=PATIENCE)

    def test_by_address(self, lab: Lab, cluster: Cluster) -> None:
        """`dask:ADDRESS` opens a client of its own; where nobody listens it says so."""
        rref = realize(lab.closure(lab.stage("a")), executor=f"dask:{cluster.address}")
        assert lab.text(rref) == "a"
        with pytest.raises(InvalidValue, match="no Dask scheduler"):
            realize(lab.closure(lab.stage("b")), executor="dask:nonsense://")

    def test_forced_again(self, lab: Lab, client: Any) -> None:
        """What was done once is not taken for done: a forced stage runs again."""
        dref = lab.stage("a", content=lambda _: str(time.time_ns()), matcher=match_latest())
        first = realize(lab.closure(dref), executor=client)
        assert realize(lab.closure(dref), executor=client, force_rebuild=True) != first


def test_process_pool(lab: Lab) -> None:
    """An executor of `concurrent.futures` does as well."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        top, *_ = realize(instantiate(graph, registry=lab.registry), executor=pool)
    assert lab.text(top) == EXPECTED
