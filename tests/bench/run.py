"""Measure plxnix beside plain Python and its peers, and print a table of seconds and ratios.

    python tests/bench/run.py [--n 1000 10000] [--peers] [--check] [--folder DIR] [--repeat 1]

Every operation runs in a fresh process; the whole process is measured, as wall time and as CPU time
(user and system). W1 defines the graph of `graph.py`, W2 realizes it for the first time, W3 again
with nothing to do, W4 after a change that makes a tenth of it stale. `floor` is the same work
in plain Python; ratios are of wall times against it. Noise is up to twofold, so a ratio below 2
means nothing.

With `--check` the exit status is 1 if time grows more than 13 times from one n to ten times n, if
hashing a file of 2 GiB takes 64 MiB of memory, or if something of `STARTS` takes more CPU time than
it may. With `--peers` Pylightnix and joblib are installed into an environment in the user's cache
folder and measured too (needs the network the first time; Pylightnix up to n=1000, as its third
operation grows faster than n squared).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GRAPH = Path(__file__).with_name("graph.py")

#: The operations in their order; each builds on what those before it left on the disk.
WORK = {"W1 define": "define", "W2 first run": "run", "W3 no-op": "run", "W4 one changed": "change"}

#: Upper bounds that `--check` holds: an order of magnitude is a defect, less may be noise.
GROWTH, HASH_MEMORY = 13.0, 64 << 20

#: What is started, with the arguments of Python, and how many seconds of CPU time above a bare
#: interpreter it may take. The second is what nearly each script imports.
STARTS = {
    "import plxnix": (("-c", "import plxnix"), 0.060),
    "import of the core": (
        ("-c", "from plxnix import autostage, instantiate, mklens, realize, selfref"),
        0.120,
    ),
    "plxnix --help": (("-m", "plxnix", "--help"), 0.120),
}

#: How often each is started. By turns: a machine with other work slows all of them down alike.
TURNS = 15

#: A factor is checked only above this many seconds: below, the start of Python is what is measured.
MEASURABLE = 0.05


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds on the wall, seconds of CPU, and bytes of memory at most."""

    wall: float
    cpu: float
    memory: int = 0


@dataclass(frozen=True)
class Tool:
    """A column of the table; `limit` is the greatest n that is tried beyond W1."""

    title: str
    name: str
    python: str
    environment: Mapping[str, str]
    limit: int = 1 << 60


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command and return its cost; exit if it fails."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # a package that is installed has its bytecode
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """Return the medians of walls, CPU times and memories."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        int(statistics.median(cost.memory for cost in costs)),
    )


def graph_costs(tool: Tool, n: int, folder: Path, repeat: int) -> dict[str, Cost | None]:
    """Measure the operations of one tool, each time in a new store."""
    costs: dict[str, list[Cost]] = {title: [] for title in WORK}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
            for title, operation in WORK.items():
                if operation == "define" or n <= tool.limit:
                    command = [tool.python, str(GRAPH), tool.name, operation, str(n), place]
                    costs[title].append(measure(command, tool.environment))
            thaw(place)
    return {title: median(found) if found else None for title, found in costs.items()}


def thaw(folder: str) -> None:
    """Make the folders below writable, so that they can be removed."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)


def peers() -> list[Tool]:
    """Install the peers into an environment of their own and return those that can be imported."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "plxnix-bench")
    python = cache / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(cache)], check=True)
    for package in ("pylightnix", "joblib"):
        install = [str(python), "-m", "pip", "install", "-q", package]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            print(f"cannot install {package}; going on without it", file=sys.stderr)
    found = []
    for name, limit in (("pylightnix", 1000), ("joblib", 1 << 60)):
        script = f"import {name}; from importlib.metadata import version; print(version({name!r}))"
        asked = subprocess.run(
            [str(python), "-c", script], check=False, capture_output=True, text=True
        )
        if asked.returncode == 0:
            found.append(Tool(f"{name} {asked.stdout.strip()}", name, str(python), {}, limit))
    return found


def report(tools: Sequence[Tool], n: int, costs: Sequence[Mapping[str, Cost | None]]) -> None:
    """Print the table of one n: wall seconds, CPU seconds, and the ratio against the first tool."""
    print(f"\nn = {n}, seconds on the wall (CPU), times floor\n")
    print("| | " + " | ".join(tool.title for tool in tools) + " |")
    print("| --- |" + " --- |" * len(tools))
    for title in WORK:
        cells = []
        base = costs[0][title]
        for each in costs:
            cost = each[title]
            if cost is None or base is None:
                cells.append("-")
            else:
                ratio = "" if each is costs[0] else f", x{cost.wall / base.wall:.1f}"
                cells.append(f"{cost.wall:.2f} ({cost.cpu:.2f}){ratio}")
        print(f"| {title} | " + " | ".join(cells) + " |")
    sys.stdout.flush()


def growth(
    small: Mapping[str, Cost | None], large: Mapping[str, Cost | None], times: float, title: str
) -> list[str]:
    """Compare the CPU times of two sizes; return a complaint for each that grew too much."""
    found = []
    for work in WORK:
        before, after = small[work], large[work]
        if before and after:
            factor = after.cpu / max(before.cpu, MEASURABLE)
            print(f"{title}, {work}: {factor:.1f} times the CPU time for {times:.0f} times the n")
            if factor > GROWTH * times / 10:
                found.append(f"{title}, {work} grew {factor:.1f} times for {times:.0f} times the n")
    return found


def start_costs() -> tuple[Cost, dict[str, float]]:
    """Measure a bare interpreter, and the CPU time of each start above it; medians."""
    bare: list[Cost] = []
    costs: dict[str, list[Cost]] = {title: [] for title in STARTS}
    for _ in range(TURNS):
        bare.append(measure([sys.executable, "-c", "pass"]))
        for title, (arguments, _) in STARTS.items():
            costs[title].append(measure([sys.executable, *arguments]))
    floor = median(bare)
    return floor, {title: median(found).cpu - floor.cpu for title, found in costs.items()}


def hashing_cost(folder: Path) -> Cost:
    """Measure the NAR hash of a folder with one sparse file of 2 GiB."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        with open(Path(place, "big"), "wb") as file:
            file.truncate(2 << 30)
        script = "import sys; from plxnix.nix.nar import nar_hash; nar_hash(sys.argv[1])"
        return measure([sys.executable, "-c", script, place])


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--n", type=int, nargs="+", default=[1000, 10000], help="sizes of the graph"
    )
    parser.add_argument("--peers", action="store_true", help="measure Pylightnix and joblib too")
    parser.add_argument("--check", action="store_true", help="exit with 1 on an order of magnitude")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--repeat", type=int, default=1, help="measure so often, take the median")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and return the exit status."""
    options = arguments()
    folder = options.folder or Path(tempfile.gettempdir())
    python = sys.executable
    tools = [
        Tool("floor", "floor", python, {}),
        Tool("plxnix", "plxnix", python, {"PLXNIX_FSYNC": "none"}),
        Tool("plxnix, fsync data", "plxnix", python, {"PLXNIX_FSYNC": "data"}),
        *(peers() if options.peers else []),
    ]
    complaints: list[str] = []
    before: list[dict[str, Cost | None]] | None = None
    sizes = sorted(options.n)
    for position, n in enumerate(sizes):
        costs = [graph_costs(tool, n, folder, options.repeat) for tool in tools]
        report(tools, n, costs)
        if before is not None:
            print()
            times = n / sizes[position - 1]
            complaints += growth(before[1], costs[1], times, tools[1].title)
        before = costs
    print()
    bare, starts = start_costs()
    for title, extra in starts.items():
        print(f"{title}: {1000 * extra:.0f} ms of CPU time above a bare interpreter")
        if extra > STARTS[title][1]:
            complaints.append(f"{title} takes {1000 * extra:.0f} ms of CPU time")
    hashing = hashing_cost(folder)
    print(
        f"hash of 2 GiB: {hashing.wall:.1f} s, "
        f"{hashing.memory / 2**20:.0f} MiB of memory at most (bare: {bare.memory / 2**20:.0f})"
    )
    if hashing.memory > HASH_MEMORY:
        complaints.append(f"hashing 2 GiB took {hashing.memory / 2**20:.0f} MiB of memory")
    for complaint in complaints:
        print(f"too much: {complaint}", file=sys.stderr)
    return int(bool(complaints) and options.check)


if __name__ == "__main__":
    sys.exit(main())
