"""Measure what the sandbox adds to a stage that does nothing.

    python tests/bench/sandbox.py [--n 50] [--check]

Each line has the wall time and the CPU time of the best of the stages, in milliseconds, of a plain
process and of the sandbox. With `--check` the exit status is 1 if the sandbox adds 20 ms of CPU
time or more.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).parents[2]))

from plxnix import Registry, Store, execute, instantiate, realize
from plxnix.builders import sandbox

#: What the sandbox may add to a stage, in milliseconds.
BOUND = 20.0


def seconds_of_cpu() -> float:
    """Return what this process and those that it waited for have taken."""
    found = (resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def cost(store: Store, number: int, setting: str) -> tuple[float, float]:
    """Realize one stage; return the milliseconds on the wall, and of CPU."""
    registry = Registry(store)
    closure = instantiate(
        lambda: execute(': > "$out"', name="nothing", number=number, setting=setting),
        registry=registry,
    )
    wall, cpu = time.perf_counter(), seconds_of_cpu()
    realize(closure, sandbox=setting)
    return (time.perf_counter() - wall) * 1000, (seconds_of_cpu() - cpu) * 1000


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=50, help="how many stages of each kind")
    parser.add_argument("--check", action="store_true", help="hold the bound")
    options = parser.parse_args()
    if sandbox.available() is None:
        print(f"there is no sandbox here: {sandbox.why_not()}")
        return 1
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store.init(Path(folder) / "store")
        for setting in ("off", "on"):
            costs = [cost(store, number, setting) for number in range(options.n + 1)][1:]
            best[setting] = min(one[0] for one in costs), min(one[1] for one in costs)
    print(f"{'':16}{'wall ms':>10}{'CPU ms':>10}")
    for title, setting in (("plain process", "off"), ("sandbox", "on")):
        print(f"{title:16}{best[setting][0]:10.1f}{best[setting][1]:10.1f}")
    added = [best["on"][kind] - best["off"][kind] for kind in (0, 1)]
    print(f"{'it adds':16}{added[0]:10.1f}{added[1]:10.1f}")
    return int(options.check and added[1] >= BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
