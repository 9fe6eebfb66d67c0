"""Several processes on one store: what is needed is built once, and who waits is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from plxnix.store import Store
from plxnix.store.verify import verify
from tests.waiting import PATIENCE

#: Realizes a chain of two stages; each run of a realizer adds a line to a file.
PROGRAM = """
import os, sys, time
from pathlib import Path
from plxnix import (
    Registry, Store, build_outpath, build_path, build_wrapper, instantiate, match_only, mkdrv,
    realize1, selfref,
)
from plxnix.realize.run import Observer

runs, gate = Path(sys.argv[2]), Path(sys.argv[3])

def work(build):
    with open(runs, "a") as file:
        file.write(build.dref.name + "\\n")
    print("running", build.dref.name, file=sys.__stdout__, flush=True)
    while not gate.exists():
        time.sleep(0.005)
    (build_outpath(build) / "result").write_text("done")

class Talking(Observer):
    def said(self, dref, message):
        print("said", message, file=sys.__stdout__, flush=True)

def stage():
    fields = {letter: letter for letter in "zyxwvutsrq"}
    data = mkdrv({"name": "data", **fields, "out": [selfref, "result"]}, match_only(),
                 build_wrapper(work))
    used = sorted({data, str(data) + "/result"})
    return mkdrv({"name": "model", "data": used, "set": sorted(fields)}, match_only(),
                 build_wrapper(work))

registry = Registry(Store.init(sys.argv[1]))
print("done", realize1(instantiate(stage, registry=registry), observer=Talking()), flush=True)
"""


def start(folder: Path, seed: int) -> subprocess.Popen[str]:
    """Run the program with a hash seed of its own."""
    places = (folder / name for name in ("store", "runs", "gate"))
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, places)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a program and return what it still had to say."""
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def line(process: subprocess.Popen[str]) -> str:
    """Wait for one line of a program."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_the_second_process_waits_and_is_told(tmp_path: Path) -> None:
    """While one process realizes a stage another waits, is told for whom, and then takes it."""
    first = start(tmp_path, 1)
    assert line(first) == "running data"
    second = start(tmp_path, 2)
    told = line(second)
    assert told.startswith(f"said waiting for process {first.pid} on ")
    assert told.endswith("-data")
    (tmp_path / "gate").touch()
    results = {finish(process)[-1] for process in (first, second)}
    assert len(results) == 1
    assert sorted((tmp_path / "runs").read_text().splitlines()) == ["data", "model"]
    assert list(verify(Store(tmp_path / "store"))) == []


def test_a_killed_builder_is_succeeded(tmp_path: Path) -> None:
    """When the process that realizes is killed, the one that waits does it instead."""
    first = start(tmp_path, 1)
    assert line(first) == "running data"
    second = start(tmp_path, 2)
    assert line(second).startswith("said waiting")
    first.kill()
    first.communicate()
    assert line(second) == "running data"
    (tmp_path / "gate").touch()
    assert finish(second)[-1].startswith("done rref:")
    assert (tmp_path / "runs").read_text().splitlines() == ["data", "data", "model"]
    assert list(verify(Store(tmp_path / "store"))) == []


def test_many_processes_build_once(tmp_path: Path) -> None:
    """Processes with different hash seeds that start together on no store at all build once."""
    (tmp_path / "gate").touch()
    processes = [start(tmp_path, seed) for seed in range(6)]
    results = {finish(process)[-1] for process in processes}
    assert len(results) == 1
    assert (tmp_path / "runs").read_text().splitlines() == ["data", "model"]
    store = Store(tmp_path / "store")
    assert list(verify(store)) == []
    assert list(Path(store.layout.tmp).iterdir()) == []
