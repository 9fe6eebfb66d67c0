"""Checking an environment: do its files agree with its wheels' lists, and does it import?

An environment is a folder like a virtual one: `bin/python`, `lib/pythonX.Y/site-packages`. Its code
is run only by its own interpreter, in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plxnix.builders.package_index import normalized
from plxnix.errors import InvalidValue, MissingExtra
from plxnix.pyenv.builder import HASHES, digest_of
from plxnix.pyenv.importing import DRIVERS, TIMEOUT, Module, import_modules
from plxnix.pyenv.installed import (
    Installed,
    installed,
    interpreter,
    site_packages,
)
from plxnix.pyenv.libraries import System, scan


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
    found = installed(place, site)
    problems = [*_records(place, site, found), *_consistency(found, _markers(python))]
    problems += _libraries(place, found, os.path.realpath(python))
    modules = import_modules(place, site, python, found, jobs) if imports else []
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
    if kind not in HASHES:
        return f"has a hash of an unknown kind in RECORD: {digest!r}"
    computed = digest_of(kind, data).partition("=")[2]
    return (
        "" if computed == value.rstrip("=") else f"has the {kind} {computed}, RECORD says {value}"
    )


# -- metadata --------------------------------------------------------------------------------------

_MARKERS = """
import json, os, platform, sys
version = sys.implementation.version
full = "%d.%d.%d" % version[:3]
full += version.releaselevel[0] + str(version.serial) if version.releaselevel != "final" else ""
print(json.dumps({
    "implementation_name": sys.implementation.name, "implementation_version": full,
    "os_name": os.name, "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_release": platform.release(), "platform_system": platform.system(),
    "platform_version": platform.version(), "python_full_version": platform.python_version(),
    "python_version": ".".join(platform.python_version_tuple()[:2]),
    "sys_platform": sys.platform}))
"""


def _markers(python: str) -> dict[str, str]:
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-B", "-c", _MARKERS],
            capture_output=True,
            check=True,
            timeout=TIMEOUT,
        )
        markers: dict[str, str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise InvalidValue(
            f"the interpreter {python!r} does not run: {error}",
            "make the environment again with a Python of this machine",
        ) from error
    return markers


def _consistency(found: Sequence[Installed], markers: dict[str, str]) -> list[Problem]:
    try:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        raise MissingExtra("packaging", "env") from None
    problems = []
    versions: dict[str, str] = {}
    for one in found:
        key = normalized(one.name)
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
            version = versions.get(normalized(wanted.name))
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
