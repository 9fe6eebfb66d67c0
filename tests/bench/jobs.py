"""Measure many stages at once: what eight jobs gain, and what the scheduler costs a stage.

    python tests/bench/jobs.py [--stages 40] [--n 10000] [--rounds 3]

Sleeping work: stages that sleep for a second, as Python code in processes and as commands. CPU
work: stages that compute for about a second; the gain is limited by the CPUs of the machine.

The overhead is time of the whole process at two jobs in threads above that at one job, for each
stage of `graph.py` at N, CPU time and time on the wall; and for a graph that is cached. It is
measured in memory (/dev/shm), as the time that a disk takes differs more from run to run; medians
of several rounds. CPUs that others use hide it: threads that have to wait for a CPU do not wait for
each other. So look at it on a machine that has nothing else to do (or below `chrt --rr 10`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from plxnix import Registry, Store, autostage, execute, instantiate, realize, selfref
from plxnix.store import Fsync
from tests.bench.graph import below


def sleeping(out: Any, number: int) -> None:
    """Sleep for a second."""
    time.sleep(1)
    out.write_text(str(number))


def computing(out: Any, number: int, rounds: int) -> None:
    """Compute for as many rounds as take a second on this machine."""
    total = 0
    for one in range(rounds):
        total = (total + one * one) % 1_000_003
    out.write_text(f"{number} {total}")


def loops() -> int:
    """Return how many rounds take a second."""
    count = 1_000_000
    started = time.process_time()
    total = 0
    for one in range(count):
        total = (total + one * one) % 1_000_003
    return int(count / (time.process_time() - started))


def seconds(folder: str, stages: Any, jobs: int) -> float:
    """Return how long the stages take in a new store."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        registry = Registry(Store.init(f"{place}/store", Fsync.NONE))
        closure = instantiate(stages, registry=registry)
        started = time.monotonic()
        realize(closure, jobs=jobs)
        return time.monotonic() - started


def gains(folder: str, count: int) -> None:
    """Print what eight jobs gain over one."""
    length = loops()

    def sleepers() -> list[Any]:
        return [autostage(out=[selfref, "out"])(sleeping)(number=n) for n in range(count)]

    def commands() -> list[Any]:
        return [
            execute(name=f"sleep-{n}", command="sleep 1; echo > $out", deterministic=False)
            for n in range(count)
        ]

    def computers() -> list[Any]:
        stage = autostage(out=[selfref, "out"])(computing)
        return [stage(number=n, rounds=length) for n in range(count // 4)]

    print(f"{count} stages that sleep, {count // 4} that compute; seconds\n")
    print("| work | 1 job | 8 jobs | gain |")
    print("| --- | --- | --- | --- |")
    works = (("sleeping code", sleepers), ("sleeping command", commands), ("CPU", computers))
    for title, work in works:
        # Sleep does not depend on the machine's load, so one job takes what the stages say.
        alone = seconds(folder, work, 1) if work is computers else float(count)
        many = seconds(folder, work, 8)
        print(f"| {title} | {alone:.1f} | {many:.1f} | x{alone / many:.2f} |")
        sys.stdout.flush()


def overhead(folder: str, n: int, rounds: int) -> None:
    """Print what the scheduler costs a stage."""

    def make(build: Any) -> None:
        Path(build.outpaths[0], "out").write_text(str(build.config["number"]))

    from plxnix import build_wrapper, match_only, mkdrv

    def graph(registry: Any) -> list[Any]:
        matcher, realizer = match_only(), build_wrapper(make)
        drefs: list[Any] = []
        for number in range(n):
            some = [drefs[one] for one in below(number)]
            config = {"name": f"stage-{number}", "number": number, "below": some}
            drefs.append(mkdrv(config, matcher, realizer, registry=registry))
        return drefs

    kinds: dict[str, dict[str, Any]] = {
        "1 job": {},
        "2 jobs, threads": {"jobs": 2, "executor": "threads"},
        "2 jobs, processes": {"jobs": 2},
    }
    costs: dict[str, list[tuple[float, ...]]] = {title: [] for title in kinds}
    for _ in range(rounds):
        for title, options in kinds.items():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                registry = Registry(Store.init(f"{place}/store", Fsync.NONE))
                closure = instantiate(graph, registry=registry)
                costs[title].append((*spent(closure, options, n), *spent(closure, options, n)))
    print(f"\nn = {n}, milliseconds a stage\n")
    print("| | first run, CPU | wall | cached, CPU | wall |")
    print("| --- | --- | --- | --- | --- |")
    found = {
        title: [median(kind) for kind in zip(*rows, strict=True)] for title, rows in costs.items()
    }
    for title, row in found.items():
        print(f"| {title} | " + " | ".join(f"{one:.3f}" for one in row) + " |")
    base = found["1 job"]
    extra = [many - alone for many, alone in zip(found["2 jobs, threads"], base, strict=True)]
    print("| overhead of the scheduler | " + " | ".join(f"{one:.3f}" for one in extra) + " |")
    sys.stdout.flush()


def spent(closure: Any, options: dict[str, Any], n: int) -> tuple[float, float]:
    """Realize a closure of n stages; return milliseconds of CPU time and on the wall for each."""
    cpu, wall = time.process_time(), time.monotonic()
    realize(closure, **options)
    return 1000 * (time.process_time() - cpu) / n, 1000 * (time.monotonic() - wall) / n


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--stages", type=int, default=40, help="how many stages sleep")
    parser.add_argument("--n", type=int, default=10000, help="size of the graph")
    parser.add_argument("--rounds", type=int, default=3, help="how often the overhead is measured")
    options = parser.parse_args()
    os.environ["PLXNIX_FSYNC"] = "none"
    folder = tempfile.gettempdir()
    if options.n:
        memory = "/dev/shm"
        overhead(memory if os.path.isdir(memory) else folder, options.n, options.rounds)
    if options.stages:
        gains(folder, options.stages)


if __name__ == "__main__":
    main()
