"""Measure the upkeep of a store: planning a collection of 10,000 realizations, and verifying.

    python tests/bench/store.py [--n 10000] [--jobs 2]

Each line has the wall time and the CPU time of the best of three runs, in seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).parents[2]))

from plxnix.model import DRef, RRef
from plxnix.store import Fsync, Record, Store, tree
from plxnix.store.gc import plan_gc
from plxnix.store.record import rhash
from plxnix.store.roots import add_root
from plxnix.store.verify import verify
from tests.store_samples import build, derive

#: How many bytes the files that are verified have, great ones and small ones together.
GREAT, SMALL = 64 << 20, 2000


def graph(store: Store, count: int) -> None:
    """Write realizations of a fifth as many derivations, each made from up to three others."""
    chance = random.Random(1)  # noqa: S311 (no secret)
    rrefs: list[RRef] = []
    for number in range(count // 5):
        below: dict[DRef, tuple[RRef, ...]] = {
            one.dref: (one,) for one in chance.sample(rrefs, min(3, len(rrefs)))
        }
        dref = derive(store, f"n{number}", list(below))
        for run in range(5):
            record = Record(below, f"sha256-{run}", 100, started=float(number))
            rref = RRef.make(rhash(dref, below, record.nar_hash), dref)
            os.mkdir(store.layout.realization(rref), tree.FOLDER)
            Path(store.layout.record(rref)).write_bytes(record.text())
            rrefs.append(rref)
    for number, rref in enumerate(rrefs[::-97]):
        add_root(store, f"{store.layout.gcroots}/{number}", rref)


def measured(title: str, work: Callable[[], object]) -> None:
    """Print what the best of three runs takes."""
    best = (float("inf"), float("inf"))
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    print(f"{title:44} {best[0]:7.3f} {best[1]:7.3f}")


def main() -> None:
    """Make the stores and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wide = Store.init(f"{folder}/wide", Fsync.NONE)
        graph(wide, options.n)
        measured(f"plan a collection of {options.n}", lambda: plan_gc(Store(wide.root)))
        deep = Store.init(f"{folder}/deep", Fsync.NONE)
        great = os.urandom(GREAT)
        for number in range(4):
            build(deep, f"great{number}", entries={"file": great + bytes([number])})
            files = {f"{n % 10}/{n}": os.urandom(SMALL) for n in range(2500)}
            build(deep, f"small{number}", entries={**files})
        for jobs in (1, options.jobs):
            title = f"verify 256 MiB in 4 files and 10,000 files, -j {jobs}"
            measured(title, lambda jobs=jobs: list(verify(Store(deep.root), jobs=jobs)))  # type: ignore[misc]
        wide.session().close()
        deep.session().close()
        tree.remove(wide.root)
        tree.remove(deep.root)


if __name__ == "__main__":
    main()
