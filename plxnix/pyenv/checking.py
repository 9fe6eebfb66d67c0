"""Checking an environment: do its files agree with its wheels' lists, and does it import?

An environment is a folder like a virtual one: `bin/python`, `lib/pythonX.Y/site-packages`. Its code
is run only by its own interpreter, in processes of their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plxnix.errors import InvalidValue, MissingExtra
from plxnix.pyenv import import_worker
from plxnix.pyenv.elf import System, scan
from plxnix.pyenv.installed import (
    Installed,
    canonical,
    installed,
    interpreter,
    site_packages,
    top_modules,
)

#: Libraries that come with the driver of a device and not with a system.
DRIVERS = ("libcuda.so", "libnvidia-", "libnvcuvid.so", "libcudadebugger.so", "libhsa-")

#: The name in a requirement; empty if it is none.
_NAME = re.compile(r"[\w.-]*")

#: How long the modules of one distribution may take to import, in seconds.
TIMEOUT = 120.0


@dataclass(frozen=True)
class Problem:
    """Something wrong with an environment.

    `kind` is `import`, `metadata`, `record` or `library`; `distribution` is empty if none is to
    blame. What is not `fatal` may never matter, such as a library that only a plugin needs.
    """

    kind: str
    distribution: str
    text: str
    fatal: bool = True


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


@dataclass(frozen=True)
class Checkup:
    """All that was found: distributions, modules, and problems with the fatal ones first."""

    distributions: tuple[Installed, ...]
    modules: tuple[Module, ...]
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is fatal."""
        return not any(problem.fatal for problem in self.problems)


def check_environment(
    tree: str | os.PathLike[str], imports: bool = True, jobs: int | None = None
) -> Checkup:
    """Check an environment; without `imports` none of its code is run.

    RECORD is compared with the files, requirements with what is installed, needed shared libraries
    with those that there are, and each top-level module is imported, a process for each
    distribution, `jobs` at a time. Raises `InvalidValue` if the folder is no environment, and
    `MissingExtra`. Cost: every file is read once.
    """
    place = os.path.abspath(os.fspath(tree))
    site, python = site_packages(place), interpreter(place)
    facts = _ask(python)
    found = installed(place, site)
    problems = [*_records(place, site, found), *_consistency(found, facts["markers"])]
    problems += _libraries(place, found, os.path.realpath(python))
    modules = _import(place, site, python, found, jobs) if imports else []
    problems += [
        Problem(
            "import",
            module.distribution,
            f"import {module.name}: {module.reason}",
            fatal=module.status == "failed",
        )
        for module in modules
        if module.status in ("failed", "lacking")
    ]
    problems.sort(key=lambda one: not one.fatal)
    return Checkup(tuple(found), tuple(modules), tuple(problems))


# -- RECORD ----------------------------------------------------------------------------------------


def _records(tree: str, site: str, found: Sequence[Installed]) -> list[Problem]:
    problems = []
    owners: dict[str, list[str]] = {}
    for one in found:
        texts = list(one.faults)
        for path, (digest, size) in one.files.items():
            owners.setdefault(path, []).append(one.name)
            fault = _fault(f"{tree}/{path}", digest, size)
            if fault:
                texts.append(f"{path} {fault}")
        problems += [Problem("record", one.name, text) for text in texts]
    strays = []
    for folder, folders, names in os.walk(site):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        for name in sorted(names):
            path = os.path.relpath(f"{folder}/{name}", tree)
            if path not in owners:
                strays.append(path)
    if strays:
        shown = ", ".join(strays[:5]) + (", ..." if len(strays) > 5 else "")
        text = f"{len(strays)} files are in no distribution's RECORD: {shown}"
        problems.append(Problem("record", "", text, fatal=False))
    return problems


def _fault(path: str, digest: str, size: str) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        # Wheels may list bytecode that nobody has written.
        return "" if path.endswith(".pyc") else f"cannot be read: {error.strerror}"
    if size and size != str(len(data)):
        return f"has {len(data)} bytes, RECORD says {size}"
    if not digest:
        return ""
    kind, _, value = digest.partition("=")
    if kind not in ("sha256", "sha384", "sha512"):
        return f"has a hash of an unknown kind in RECORD: {digest!r}"
    computed = base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).decode().rstrip("=")
    return (
        "" if computed == value.rstrip("=") else f"has the {kind} {computed}, RECORD says {value}"
    )


# -- metadata --------------------------------------------------------------------------------------

_FACTS = """
import json, os, platform, sys
version = sys.implementation.version
full = "%d.%d.%d" % version[:3]
full += version.releaselevel[0] + str(version.serial) if version.releaselevel != "final" else ""
print(json.dumps({"markers": {
    "implementation_name": sys.implementation.name, "implementation_version": full,
    "os_name": os.name, "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_release": platform.release(), "platform_system": platform.system(),
    "platform_version": platform.version(), "python_full_version": platform.python_version(),
    "python_version": ".".join(platform.python_version_tuple()[:2]),
    "sys_platform": sys.platform}}))
"""


def _ask(python: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-B", "-c", _FACTS],
            capture_output=True,
            check=True,
            timeout=TIMEOUT,
        )
        facts: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise InvalidValue(
            f"the interpreter {python!r} does not run: {error}",
            "make the environment again with a Python of this machine",
        ) from error
    return facts


def _consistency(found: Sequence[Installed], markers: dict[str, str]) -> list[Problem]:
    try:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        raise MissingExtra("packaging", "env") from None
    problems = []
    versions: dict[str, str] = {}
    for one in found:
        key = canonical(one.name)
        if key in versions:
            text = f"there are two versions, {versions[key]} and {one.version}"
            problems.append(Problem("metadata", one.name, text))
        versions[key] = one.version
    for one in found:
        texts = []
        try:
            allowed = SpecifierSet(one.requires_python)
            if not allowed.contains(markers["python_full_version"], prereleases=True):
                texts.append(f"needs Python {allowed}; this is {markers['python_full_version']}")
        except InvalidSpecifier:
            texts.append(f"Requires-Python is {one.requires_python!r}")
        for line in one.requires:
            try:
                wanted = Requirement(line)
            except InvalidRequirement:
                texts.append(f"Requires-Dist is {line!r}")
                continue
            if wanted.marker is not None and not wanted.marker.evaluate({**markers, "extra": ""}):
                continue
            version = versions.get(canonical(wanted.name))
            if version is None:
                texts.append(f"needs {wanted.name}{wanted.specifier}, which is not installed")
            elif not wanted.specifier.contains(version, prereleases=True):
                texts.append(f"needs {wanted.name}{wanted.specifier}; installed is {version}")
        problems += [Problem("metadata", one.name, text) for text in texts]
    return problems


# -- shared libraries ------------------------------------------------------------------------------


def _libraries(tree: str, found: Sequence[Installed], python: str) -> list[Problem]:
    owners = {path: one.name for one in found for path in one.files}
    needed: dict[tuple[str, str], list[str]] = {}
    for missing in scan(tree, System(), python)[1]:
        owner = owners.get(missing.needed_by, "")
        needed.setdefault((owner, missing.library), []).append(missing.needed_by)
    problems = []
    for (owner, library), files in sorted(needed.items()):
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        text = f"{files[0]}{more} needs {library}, which neither the wheel nor this machine has"
        if library.startswith(DRIVERS):
            text += " (it comes with a device's driver)"
        # Whether it matters shows when the modules are imported.
        problems.append(Problem("library", owner, text, fatal=False))
    return problems


# -- imports ---------------------------------------------------------------------------------------


def _import(
    tree: str, site: str, python: str, found: Sequence[Installed], jobs: int | None
) -> list[Module]:
    below = os.path.relpath(site, tree)
    modules = {one.name: top_modules(one.files, below) for one in found}
    there = {name.split(".")[0] for names in modules.values() for name in names}
    task = {"modules": modules, "jobs": jobs or os.cpu_count() or 1, "timeout": TIMEOUT}
    with tempfile.TemporaryDirectory(prefix="plxnix-check-") as home:
        done = subprocess.run(
            [python, "-I", "-B", import_worker.__file__],
            input=json.dumps(task).encode(),
            capture_output=True,
            check=False,
            cwd=home,
            env=_surroundings(home),
        )
        try:
            answers = json.loads(done.stdout)
        except ValueError:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise InvalidValue(
                f"the interpreter {python!r} cannot import: {said[-1] if said else 'it ended'}",
                "make the environment again",
            ) from None
    needed = {canonical("".join(_NAME.findall(line)[:1])) for one in found for line in one.requires}
    results = []
    for name in modules:
        imported = any(answer["error"] == "" for answer in answers[name])
        for answer in answers[name]:
            status, reason = _judged(answer, imported, canonical(name) in needed, there)
            seconds = round(answer["seconds"], 3)
            results.append(Module(answer["module"], name, status, reason, seconds))
    return results


def _surroundings(home: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    kept.update(HOME=home, TMPDIR=home, LC_ALL="C.UTF-8", MPLBACKEND="agg", MPLCONFIGDIR=home)
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
    lacking = answer["lacking"].split(".")[0]
    if lacking and lacking not in there and imported:
        return "skipped", f"it is for {lacking}, which is not installed"
    if lacking and lacking not in there and needed:
        return "lacking", f"it needs {lacking}, which no package has"
    lowered = error.lower()
    if not os.environ.get("DISPLAY") and ("display" in lowered or "x connection" in lowered):
        return "skipped", f"it needs a display: {error}"
    if error.startswith("NotImplementedError") and ("linux" in lowered or "platform" in lowered):
        return "skipped", f"it is not for this platform: {error}"
    if any(driver in error for driver in DRIVERS):
        return "skipped", f"it needs a device's driver: {error}"
    return "failed", error
