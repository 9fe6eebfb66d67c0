"""Inject faults, count what came of them, print a table; exit 1 if any count is not as it must be.

python tests/faults/run.py                    all parts, in full
python tests/faults/run.py --short            the part of it that `make test` has
python tests/faults/run.py --only kills --seed 7 --count 100
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":  # Run as a program, it finds its neighbours from the top.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from plxnix.store import tree
from tests.faults import errors, hostile, jobs, kills, many, mutations, power_cuts, surroundings
from tests.faults.children import STRACE
from tests.faults.counting import Row, Scale

PARTS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "kills": kills.kills,
    "random-kills": kills.random_kills,
    "errors": errors.errors,
    "jobs": jobs.jobs,
    "power": power_cuts.power_cuts,
    "many": many.many,
    "race": many.race,
    "mutations": mutations.mutations,
    "names": hostile.names,
    "archives": hostile.archives,
    "surroundings": surroundings.surroundings,
}

#: Those that need strace.
TRACED = {"kills", "errors", "jobs", "power"}


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, metavar="NAME", default=[])
    parser.add_argument("--seed", type=int, help="default: another one each time; it is printed")
    parser.add_argument("--count", type=int, help="how many trials each row makes")
    parser.add_argument("--short", action="store_true", help="the part that `make test` has")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    for variable in [name for name in os.environ if name.startswith("PLXNIX_")]:
        del os.environ[variable]
    print(f"seed {seed}", flush=True)
    good = True
    for part in arguments.only or PARTS:
        if part in TRACED and STRACE is None:
            print(f"{part}: strace is not installed", flush=True)
            good = False
            continue
        good &= run(part, seed, arguments.count, arguments.short)
    print("all is as it must be" if good else "NOT all is as it must be")
    return 0 if good else 1


def run(part: str, seed: int, count: int | None, short: bool) -> bool:
    """Run one part in a folder of its own and print its rows."""
    good = True
    folder = os.path.realpath(tempfile.mkdtemp(prefix="plxnix-faults-"))
    os.chmod(folder, 0o755)  # One part works as another user.
    os.environ["HOME"] = folder
    try:
        begun = time.monotonic()
        for row in PARTS[part](Scale(folder, seed, count, short)):
            seconds = time.monotonic() - begun
            mark = "ok" if row.good else "WRONG"
            note = f"  ({row.note})" if row.note else ""
            print(
                f"{mark:5} {row.part:13} {row.what:58} {row.tried:6} tried {len(row.wrong):4} wrong"
                f" {seconds:7.1f} s{note}",
                flush=True,
            )
            for line in row.wrong[:20]:
                print(f"      {line}", flush=True)
            good &= row.good
            begun = time.monotonic()
    finally:
        tree.remove(folder)
    return good


if __name__ == "__main__":
    sys.exit(main())
