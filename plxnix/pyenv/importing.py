"""Importing the modules of an environment, by its own interpreter, and what came of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plxnix.builders.package_index import normalized
from plxnix.errors import InvalidValue
from plxnix.pyenv import import_worker
from plxnix.pyenv.installed import Installed, top_modules

#: Libraries that come with the driver of a device and not with a system.
DRIVERS = ("libcuda.so", "libnvidia-", "libnvcuvid.so", "libcudadebugger.so", "libhsa-")

#: The name in a requirement; empty if it is none.
_NAME = re.compile(r"[\w.-]*")

#: How long the modules of one distribution may take to import, in seconds.
TIMEOUT = 120.0


@dataclass(frozen=True)
class Module:
    """What came of importing a module: `imported`, `skipped`, `lacking` or `failed`, and why.

    `lacking` is what needs a module that no package of the environment has, and is needed itself by
    another package: that one may do without, and is imported on its own.
    """

    name: str
    distribution: str
    status: str
    reason: str = ""
    seconds: float = 0.0


def import_modules(
    tree: str, site: str, python: str, found: Sequence[Installed], jobs: int | None
) -> list[Module]:
    """Import each top-level module, a process for each distribution, `jobs` at a time.

    Such a process has imported nothing but some of what the distribution requires; where that
    fails, another one says what came of it, which has imported nothing. Raises `InvalidValue` if
    the interpreter does not run.
    """
    below = os.path.relpath(site, tree)
    modules = {one.name: top_modules(one.files, below) for one in found}
    there = {name for names in modules.values() for name in names}
    task = {
        "modules": modules,
        "bases": _bases(found),
        "jobs": jobs or os.cpu_count() or 1,
        "timeout": TIMEOUT,
    }
    # What a module has left running may write there while it is removed.
    with tempfile.TemporaryDirectory(prefix="plxnix-check-", ignore_cleanup_errors=True) as home:
        done = subprocess.run(
            # Each process needs what others have compiled, and the store is not to be written to.
            [python, "-I", "-X", f"pycache_prefix={home}/bytecode", import_worker.__file__],
            input=json.dumps(task).encode(),
            capture_output=True,
            check=False,
            cwd=home,
            env=_surroundings(home),
        )
        try:
            # What runs when the interpreter starts (`*.pth`) may print, too.
            answers = json.loads(done.stdout.rpartition(b"\n")[2])
        except ValueError:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise InvalidValue(
                f"the interpreter {python!r} cannot import: {said[-1] if said else 'it ended'}",
                "make the environment again",
            ) from None
    needed = {_required(line) for one in found for line in one.requires}
    results = []
    for name in modules:
        imported = any(answer["error"] == "" for answer in answers[name])
        for answer in answers[name]:
            status, reason = _judged(answer, imported, normalized(name) in needed, there)
            seconds = round(answer["seconds"], 3)
            results.append(Module(answer["module"], name, status, reason, seconds))
    return results


def _required(line: str) -> str:
    return normalized("".join(_NAME.findall(line)[:1]))


def _bases(found: Sequence[Installed]) -> dict[str, str]:
    """Return for each distribution that of its requirements with the most requirements itself."""
    names = {normalized(one.name): one.name for one in found}
    needs = {
        normalized(one.name): {_required(line) for line in one.requires if "extra" not in line}
        & names.keys()
        for one in found
    }
    below = {name: _reached(name, needs) for name in needs}
    bases = {}
    for name, required in needs.items():
        # In a circle nothing can be the first.
        fit = [(len(below[one]), one) for one in required if name not in below[one]]
        if fit:
            bases[names[name]] = names[max(fit)[1]]
    return bases


def _reached(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    found, left = {name}, [name]
    while left:
        new = needs[left.pop()] - found
        found |= new
        left += new
    return found


def _surroundings(home: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    kept.update(HOME=home, TMPDIR=home, LC_ALL="C.UTF-8", MPLBACKEND="agg", MPLCONFIGDIR=home)
    # Processes are forked from those that have imported numpy: no threads.
    kept.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        kept[f"XDG_{name}_HOME"] = home
    return kept


def _judged(
    answer: dict[str, Any], imported: bool, needed: bool, there: set[str]
) -> tuple[str, str]:
    """Return what an answer means.

    `imported`: another module of the distribution could be; `needed`: another distribution asks for
    this one.
    """
    error = answer["error"]
    if not error:
        return "imported", ""
    lacking = _absent(answer["lacking"], there)
    if lacking and imported:
        return "skipped", f"it is for {lacking}, which is not installed"
    if lacking and needed:
        return "lacking", f"it needs {lacking}, which no package has"
    lowered = error.lower()
    if not os.environ.get("DISPLAY") and ("display" in lowered or "x connection" in lowered):
        return "skipped", f"it needs a display: {error}"
    if error.startswith("NotImplementedError") and ("linux" in lowered or "platform" in lowered):
        return "skipped", f"it is not for this platform: {error}"
    if any(driver in error for driver in DRIVERS):
        return "skipped", f"it needs a device's driver: {error}"
    return "failed", error


def _absent(lacking: str, there: set[str]) -> str:
    """Return the package that a module would be of which was not found; "" if it is there."""
    parts = lacking.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        if name in there:
            return ""
        if not any(one.startswith(f"{name}.") for one in there):
            return name
    return ""
