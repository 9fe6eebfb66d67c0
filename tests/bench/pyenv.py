"""Measure how long an environment takes, beside `uv pip install` of the same lock.

    python tests/bench/pyenv.py [--packages jupyterlab] [--repeat 5] [--check] [--folder DIR]

Each run makes a new environment in a new process, by turns; the times are of whole processes, and
the ratios those of their medians. At first both have everything at hand: uv its unpacked cache,
plxnix a store in which another environment of the same wheels has been realized. Then both have the
files of the wheels only: uv an empty cache, plxnix a store with the fetches. uv links its files and
hashes nothing; plxnix links them, too, hashes the tree, and flushes what it wrote
(`PLXNIX_FSYNC=data`, or as that variable says). With `--check` the exit status is 1 if the first
ratio is above 1.5.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # Run as a program, it finds its neighbours from the top.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from plxnix.nix.nar import nar_hash
from plxnix.pyenv import uv
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.resolving import resolve
from plxnix.pyenv.stage import Interpreter
from tests.bench.run import Cost, measure, median

LIMIT = 1.5

PROGRAM = """
import sys
from plxnix import Registry, current_registry, instantiate, python_env, realize, Store
store, lock, name, *only = sys.argv[1:]
registry = Registry(Store.init(store))
with current_registry(registry):
    stage = python_env(lock, name=name)
closure = instantiate(stage, registry=registry)
if only:
    for dref in closure.derivations:
        if dref != stage:
            realize(closure.part(dref))
else:
    realize(closure)
"""


class Bench:
    """One lock, and what it is installed with."""

    def __init__(self, folder: Path, packages: list[str]) -> None:
        self.folder = folder
        self.version = Interpreter.of().version
        self.lock = resolve(Inputs(requirements=tuple(packages), python=self.version), folder)
        self.path = folder / "pylock.toml"
        self.path.write_text(self.lock.text)
        self._uv = uv.find()
        self._venv = folder / "venv"
        self._fetched = folder / "fetched"
        self._wheels = folder / "wheels"

    def fetch(self) -> None:
        """Fetch the files that the lock names."""
        self._realize(self._fetched, "environment", "fetch")
        self._wheels.mkdir()
        for file in self._fetched.glob("store-v1/*/*/*.whl"):
            shutil.copy(file, self._wheels)

    def uv_linking(self, number: int) -> Cost:
        """Let uv install from its cache."""
        del number
        return self._install("-r", str(self.path))

    def uv_unpacking(self, number: int) -> Cost:
        """Let uv install from files of wheels."""
        wanted = [f"{one.name}=={one.version}" for one in self.lock.pylock.packages]
        cache = ("--cache-dir", str(self.folder / f"cache-{number}"))
        return self._install(
            "--offline", "--no-index", "--no-deps", "-f", str(self._wheels), *cache, *wanted
        )

    def linking(self, number: int) -> Cost:
        """Realize an environment in a store that has the wheels unpacked."""
        return self._realize(self.folder / "store", f"environment-{number}")

    def unpacking(self, number: int) -> Cost:
        """Realize an environment in a store that has the files of wheels."""
        store = self.folder / f"store-{number}"
        shutil.copytree(self._fetched, store, symlinks=True)
        os.sync()  # What is copied here has been written long ago.
        return self._realize(store, "environment")

    def tree(self) -> Path:
        """Return an environment that was realized."""
        return next((self.folder / "store").glob("store-v1/*-environment-0/*/bin")).parent

    def _install(self, *arguments: str) -> Cost:
        shutil.rmtree(self._venv, ignore_errors=True)
        python = f"/usr/bin/python{self.version}"
        subprocess.run([self._uv, "venv", "-q", "-p", python, str(self._venv)], check=True)
        command = [self._uv, "pip", "install", "-q", *arguments]
        return measure(command, {"VIRTUAL_ENV": str(self._venv)})

    def _realize(self, store: Path, *arguments: str) -> Cost:
        return measure([sys.executable, "-c", PROGRAM, str(store), str(self.path), *arguments])


def said(what: str, costs: list[Cost]) -> str:
    """Return a line on some runs, the first of which made ready what the others have at hand."""
    first, *warm = costs
    walls = [one.wall for one in warm]
    return (
        f"{what:26} first {first.wall:6.2f} s, then {statistics.median(walls):6.2f} s "
        f"({min(walls):.2f} to {max(walls):.2f}; {median(warm).cpu:.2f} of CPU)"
    )


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", nargs="+", default=["jupyterlab"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        bench = Bench(Path(name), given.packages)
        bench.fetch()
        rows: dict[str, tuple[Callable[[int], Cost], list[Cost]]] = {
            "uv, from its cache": (bench.uv_linking, []),
            "plxnix, wheels unpacked": (bench.linking, []),
            "uv, files of wheels": (bench.uv_unpacking, []),
            "plxnix, files of wheels": (bench.unpacking, []),
        }
        for number in range(given.repeat + 1):
            for run, costs in rows.values():
                costs.append(run(number))
        files = sum(len(one) for _, _, one in os.walk(bench.tree()))
        _, size = nar_hash(bench.tree())
        print(f"{len(bench.lock.pylock.packages)} packages, {files} files, {size >> 20} MiB")
        for what, (_, costs) in rows.items():
            print(said(what, costs))
        walls = [statistics.median(one.wall for one in costs[1:]) for _, costs in rows.values()]
        ratio = walls[1] / walls[0]
        print(f"ratios {ratio:.2f} (limit {LIMIT}), {walls[3] / walls[2]:.2f} from files")
        print(f"from files, as against uv from its cache: {walls[3] / walls[0]:.2f}")
    return 1 if given.check and ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
