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
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":  # Run as a program, it finds its neighbours from the top.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from plxnix.store import tree
from tests.faults import errors, hostile, jobs, kills, many, mutations, power_cuts, surroundings
from tests.faults.children import STRACE
from tests.faults.counting import Row, Scale

#: What there is to try; the longest first, since several run at once.
PARTS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "jobs": jobs.jobs,
    "errors": errors.errors,
    "kills": kills.kills,
    "random-kills": kills.random_kills,
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
    parser.add_argument("-j", "--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    for variable in [name for name in os.environ if name.startswith("PLXNIX_")]:
        del os.environ[variable]
    # What is compiled and kept in one trial would not be in the next, whose calls are counted.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    print(f"seed {seed}", flush=True)
    good, running = True, 0
    for part in arguments.only or PARTS:
        if part in TRACED and STRACE is None:
            print(f"{part}: strace is not installed", flush=True)
            good = False
            continue
        if running >= arguments.jobs:
            good &= os.wait()[1] == 0
            running -= 1
        # Each in a process of its own: the parts do not meet each other's children.
        if os.fork() == 0:
            status = 1
            try:
                status = 0 if run(part, seed, arguments.count, arguments.short) else 1
            except BaseException:  # noqa: BLE001  # this process ends here
                traceback.print_exc()
            finally:
                os._exit(status)
        running += 1
    for _ in range(running):
        good &= os.wait()[1] == 0
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
