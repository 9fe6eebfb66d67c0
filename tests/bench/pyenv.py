"""Measure how long an environment takes, beside `uv pip install` of the same lock.

    python tests/bench/pyenv.py [--packages jupyterlab] [--repeat 5] [--check] [--folder DIR]

Both have everything at hand: uv its unpacked cache, plxnix a store in which another environment of
the same wheels has been realized. Each run makes a new environment in a new process, by turns; the
times are of whole processes, and the ratio that of their medians. uv links its files and hashes
nothing; plxnix links them, too, hashes the tree, and flushes what it wrote (`PLXNIX_FSYNC=data`, or
as that variable says). With `--check` the exit status is 1 if the ratio is above 1.5.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plxnix.nix.nar import nar_hash
from plxnix.pyenv import uv
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.resolving import resolve
from plxnix.pyenv.stage import Interpreter

LIMIT = 1.5

PROGRAM = """
import sys
from plxnix import Registry, current_registry, fsinit, instantiate, python_env, realize, Store
registry = Registry(Store.init(sys.argv[1]))
with current_registry(registry):
    stage = python_env(sys.argv[2], name=sys.argv[3])
print(registry.store.path(realize(instantiate(stage, registry=registry))))
"""


def timed(command: list[str], **variables: str) -> tuple[float, str]:
    """Run a command, and return how long it took, and what it printed last."""
    started = time.perf_counter()
    environment = {**os.environ, **variables}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return time.perf_counter() - started, result.stdout.strip().rpartition("\n")[2]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", nargs="+", default=["jupyterlab"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        interpreter = Interpreter.of()
        lock = resolve(
            Inputs(requirements=tuple(given.packages), python=interpreter.version), folder
        )
        path = folder / "pylock.toml"
        path.write_text(lock.text)
        program, store, venv = uv.find(), str(folder / "store"), str(folder / "venv")
        ours: list[float] = []
        theirs: list[float] = []
        place = ""
        for number in range(given.repeat + 1):
            shutil.rmtree(venv, ignore_errors=True)
            create = [program, "venv", "-q", "-p", f"/usr/bin/python{interpreter.version}", venv]
            subprocess.run(create, check=True)
            install = [program, "pip", "install", "-q", "-r", str(path)]
            theirs.append(timed(install, VIRTUAL_ENV=venv)[0])
            command = [sys.executable, "-c", PROGRAM, store, str(path), f"env-{number}"]
            seconds, place = timed(command)
            ours.append(seconds)
        files = sum(len(one) for _, _, one in os.walk(place))
        _, size = nar_hash(place)
        print(f"{len(lock.pylock.packages)} packages, {files} files, {size >> 20} MiB")
        for what, times in (("uv pip install", theirs), ("plxnix", ours)):
            first, *warm = times
            print(
                f"{what:16} cold {first:6.2f} s   warm {statistics.median(warm):6.2f} s "
                f"({min(warm):.2f} to {max(warm):.2f})"
            )
        ratio = statistics.median(ours[1:]) / statistics.median(theirs[1:])
        print(f"ratio {ratio:.2f} (limit {LIMIT})")
    return 1 if given.check and ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
