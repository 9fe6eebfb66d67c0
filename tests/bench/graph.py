"""The measured work: a graph of small stages, defined and realized with one tool in one process.

Layers of 100 stages; each stage depends on 3 of the layer before and writes one small file. It is
called as `graph.py TOOL OPERATION N FOLDER` and prints nothing; `run.py` measures the process.

Operations: `define` registers all stages; `run` realizes them; `change` does so with another
parameter of one stage, on which about a tenth of the others depend.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

LAYER = 100


def below(number: int) -> list[int]:
    """Return the three stages of the layer before that stage `number` depends on."""
    if number < LAYER:
        return []
    first = (number // LAYER - 1) * LAYER
    return sorted(first + (7 * number + step) % LAYER for step in (0, 13, 57))


def text(number: int, parameter: int) -> str:
    """Return what a stage writes."""
    return f"stage {number} {parameter}\n"


def parameter(number: int, operation: str, n: int) -> int:
    """Return the parameter of a stage: 0, and 1 for the changed one.

    About a tenth of the graph is above that: in each layer three times as many as in the one
    before, until in the fifth it is nearly all.
    """
    return int(operation == "change" and number == max(0, n - n // 10 - 4 * LAYER))


def floor(operation: str, n: int, folder: Path) -> None:
    """Do the same work in plain Python: a JSON config hashed for each stage, a file written."""
    configs: dict[int, str] = {}
    store = folder / "floor"
    store.mkdir(exist_ok=True)
    existing = set(os.listdir(store))
    for number in range(n):
        config = {"number": number, "parameter": parameter(number, operation, n)}
        config |= {"below": [configs[index] for index in below(number)]}  # type: ignore[dict-item]
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:32]
        configs[number] = digest
        if operation != "define" and digest not in existing:
            work = f"{store}/{digest}.tmp"
            os.mkdir(work)
            with open(f"{work}/out", "w") as file:
                file.write(text(number, config["parameter"]))
            os.rename(work, f"{store}/{digest}")


def plxnix(operation: str, n: int, folder: Path) -> None:
    """Do it with plxnix and stages of one function."""
    from plxnix import (
        DRef,
        Registry,
        Store,
        build_wrapper,
        instantiate,
        match_only,
        mkdrv,
        realize,
    )

    def make(build: Any) -> None:
        number, changed = build.config["number"], build.config["parameter"]
        with open(f"{build.outpaths[0]}/out", "w") as file:
            file.write(text(number, changed))

    def graph(registry: Registry) -> list[DRef]:
        matcher, realizer = match_only(), build_wrapper(make)
        drefs: list[DRef] = []
        for number in range(n):
            config = {
                "name": f"stage-{number}",
                "number": number,
                "parameter": parameter(number, operation, n),
                "below": [drefs[index] for index in below(number)],
            }
            drefs.append(mkdrv(config, matcher, realizer, registry=registry))
        return drefs

    closure = instantiate(graph, store=Store.init(folder / "plxnix"))
    if operation != "define":
        realize(closure)


def pylightnix(operation: str, n: int, folder: Path) -> None:
    """Do it with Pylightnix 0.3.0, the version that pip installs."""
    import pylightnix as p

    def make(build: Any) -> None:
        config = p.build_cattrs(build)
        with open(f"{p.build_outpath(build)}/out", "w") as file:
            file.write(text(config.number, config.parameter))

    def graph(r: Any) -> Any:
        drefs: list[Any] = []
        for number in range(n):
            config = {
                "name": f"stage-{number}",
                "number": number,
                "parameter": parameter(number, operation, n),
                "below": [drefs[index] for index in below(number)],
            }
            realizer = p.build_wrapper(make)
            drefs.append(p.mkdrv(p.mkconfig(config), p.match_latest(), realizer, r))
        return drefs

    storage = p.mkSS(str(folder / "pylightnix"))
    p.fsinit(storage)
    closure = p.instantiate(graph, S=storage)
    if operation != "define":
        p.realize(closure)


def joblib(operation: str, n: int, folder: Path) -> None:
    """Do it with `joblib.Memory`, which has no graph: each stage is a cached call."""
    from joblib import Memory  # type: ignore[import-untyped]

    memory = Memory(folder / "joblib", verbose=0)
    stage = memory.cache(_joblib_stage)
    results: list[str] = []
    for number in range(n if operation != "define" else 0):
        inputs = [results[index] for index in below(number)]
        results.append(stage(number, parameter(number, operation, n), inputs))


def _joblib_stage(number: int, changed: int, inputs: list[str]) -> str:
    del inputs
    return text(number, changed)


TOOLS = {"floor": floor, "plxnix": plxnix, "pylightnix": pylightnix, "joblib": joblib}

if __name__ == "__main__":
    TOOLS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
