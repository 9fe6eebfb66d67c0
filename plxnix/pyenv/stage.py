"""`python_env`: a stage that is the environment of a lock, the same here and in Nix.

Each distribution is a fetch of its own, which Nix shares; what has no wheel is built by a stage of
its own, in its own locked environment (see `sdist.py`). The tree is made by `builder.py`.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plxnix.builders.namespaces import HOST_PATHS
from plxnix.config import Config
from plxnix.errors import InvalidLock, InvalidValue
from plxnix.model import DRef, isdref
from plxnix.pyenv.copies import copy_locked, located
from plxnix.pyenv.linking import LinkedEnvironment, builder_text
from plxnix.pyenv.lock import Distribution, EnvironmentLock
from plxnix.pyenv.locked_file import file_stage
from plxnix.pyenv.providers import Providers
from plxnix.pyenv.target import Target
from plxnix.realize.build import Build, build_wrapper
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.recipes.git import fetchgit
from plxnix.recipes.pyenv import environment_stage
from plxnix.recipes.toolchain import Host

__all__ = ["Interpreter", "environment", "python_env", "source_stage"]

#: What is asked of an interpreter of this machine: its version, itself, and where it is installed.
_ASK = (
    "import sys, os\n"
    "print('%d.%d' % sys.version_info[:2] + ('t' if 't' in getattr(sys, 'abiflags', '') else ''))\n"
    "real = sys.prefix == sys.base_prefix\n"
    "print(sys.executable if real else os.path.realpath(sys._base_executable))\n"
    "print(sys.base_prefix)\n"
)

#: What may be said of a package in `overrides`.
OVERRIDES = ("build", "environment", "patches", "settings", "tools")


@dataclass(frozen=True)
class Interpreter:
    """The Python of an environment: its version, and where it is unless the toolchain says so.

    `shown` are the folders that a sandbox has to show for it.
    """

    version: str
    place: DRef | str | None = None
    shown: tuple[str, ...] = ()

    @classmethod
    def of(cls, python: object = None, version: str | None = None) -> Interpreter:
        """Find an interpreter: see `python_env`, of which these are arguments.

        Raises `InvalidValue` for what is none. Costs a run of the interpreter, once a process.
        """
        if python is None:
            return cls(Target(version or _asked(_host_python())[0]).series)
        if not isinstance(python, str | os.PathLike):
            raise InvalidValue(f"python is {python!r:.80}", "give a path, a version or a stage")
        text = os.fspath(python)
        if isdref(text):
            if version is None:
                raise InvalidValue(
                    f"the version of {text} is not known before it is realized",
                    'say it: python_version="3.11"',
                )
            return cls(Target(version).series, DRef(text))
        if "/" not in text:
            return cls(Target(text).series)
        if not os.path.isabs(text):
            raise InvalidValue(f"python is {text!r}", "give an absolute path, or a version")
        found, place, prefix = _asked(text)
        if version is not None and Target(version).series != found:
            raise InvalidValue(f"{text} is Python {found}, not {version}")
        shown: list[str] = []
        for folder in (prefix, os.path.dirname(place)):
            if not _below(folder, (*HOST_PATHS, *shown)):
                shown.append(folder)
        return cls(found, place, tuple(shown))


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{folder}/") for folder in folders)


def _host_python() -> str:
    """Return the `python3` that the toolchain `host` has."""
    for folder in Host.folders:
        if os.access(f"{folder}/python3", os.X_OK):
            return f"{folder}/python3"
    raise InvalidValue(
        f"there is no python3 in {', '.join(Host.folders)}",
        "install one, or say which: python='/path/to/python3', or python='3.11' for Nix alone",
    )


@functools.cache
def _asked(program: str) -> tuple[str, str, str]:
    try:
        found = subprocess.run(
            [program, "-I", "-c", _ASK], check=True, capture_output=True, text=True, timeout=60
        ).stdout.splitlines()
        version, place, prefix = found
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or "").strip().splitlines()
        status = getattr(error, "returncode", None)
        why = said[-1] if said else str(error) if status is None else f"exit status {status}"
        raise InvalidValue(
            f"{program!r} is no Python that runs here: {why}", "say which: python='/path/to/python'"
        ) from None
    return version, place, prefix


@takes_registry
def python_env(
    lock: str | os.PathLike[str] | EnvironmentLock,
    python: str | os.PathLike[str] | DRef | None = None,
    *,
    extras: Collection[str] = (),
    groups: Collection[str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    providers: Providers | None = None,
    collisions: Sequence[str] | None = None,
    name: str = "python-env",
    python_version: str | None = None,
    platform: str | None = None,
    registry: Registry | None = None,
) -> DRef:
    """Register a stage that is the Python environment of a lock, and return its reference.

    The stage is a folder that can be moved, as a virtual environment: `bin/python`, scripts in
    `bin`, packages in `lib/pythonX.Y/site-packages`. `lock` is the path of a `pylock.toml`, its
    text (which has line ends), or one that was read.

    `python` is a version, such as `"3.12"` (a `python3.12` of the toolchain; in nixpkgs the package
    `python312`), the absolute path of an interpreter of this machine, whose folder the sandbox then
    shows, too, or a stage with `bin/python3`, whose version is then given as `python_version`. By
    default it is the version of this machine's `python3`. `platform` is another than this machine's
    (see `Target`), for exports.

    `extras` and `groups` choose among those of the lock, `providers` between wheels and sources, as
    for `EnvironmentLock.select`. `overrides` say for a package that is built from sources, by name:
    `build`, further stages that are wheels to build it with; `environment`, variables; `patches`,
    files or stages; `settings`, the configuration settings of its build backend; `tools`,
    attributes of nixpkgs. `collisions` are patterns of paths (`"lib/*/site-packages/tests/*"`) that
    several packages may own: the first by name has its way; None for those of the lock.

    Raises `InvalidLock`, `NoDistribution` if a package has nothing for this Python and platform,
    `InvalidValue`; while realizing `HashMismatch`, and `BuildFailed` for wheels that lie.
    """
    del registry
    read = _read(lock)
    interpreter = Interpreter.of(python, python_version)
    locked = read.plxnix.get("python", interpreter.version)
    if Target(locked).series != interpreter.version:
        locked = interpreter.version
    target = Target(locked, platform or Target.here().platform)
    chosen = read.select(target, extras, groups, providers)
    if collisions is None:
        collisions = read.inputs.collisions if "inputs" in read.plxnix else ()
    return environment(
        chosen, read, interpreter, name=name, overrides=overrides or {}, collisions=collisions
    )


def _read(lock: str | os.PathLike[str] | EnvironmentLock) -> EnvironmentLock:
    if isinstance(lock, EnvironmentLock):
        return lock
    if isinstance(lock, str) and "\n" in lock:
        return EnvironmentLock.parse(lock)
    return EnvironmentLock.read(lock)


def environment(
    distributions: Sequence[Distribution],
    lock: EnvironmentLock,
    interpreter: Interpreter,
    name: str = "python-env",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    collisions: Sequence[str] = (),
    wheels: Sequence[object] = (),
) -> DRef:
    """Register the environment of distributions that were selected; `wheels` are further ones.

    Arguments are as for `python_env`; raises what that does.
    """
    installer = lock.installer
    if installer is None:
        raise InvalidLock(
            f"{lock.where} does not say which `installer` installs its wheels",
            "let plxnix add it: plxnix env lock",
        )
    overrides = _checked(overrides or {}, {one.name for one in distributions})
    entries: list[dict[str, Any]] = []
    for one in distributions:
        if one.kind == "wheel":
            stage = source_stage(one, lock)
            entry: dict[str, Any] = {"filename": one.filename, "file": [stage, one.filename]}
        else:
            from plxnix.pyenv.sdist import wheel_stage

            stage = wheel_stage(one, lock, interpreter, overrides.get(one.name, {}))
            entry = {"filename": one.filename, "file": stage}
        if one.direct:
            entry["direct_url"] = _direct_url(one)
        entries.append(entry)
    for item in wheels:
        filename = item[-1] if isinstance(item, list) else "a wheel"
        entries.append({"filename": filename, "file": item})
    return environment_stage(
        name,
        builder_text(),
        interpreter.version,
        entries,
        [source_stage(installer, lock), installer.filename],
        interpreter.place,
        interpreter.shown,
        collisions,
        LinkedEnvironment(),
    )


def source_stage(one: Distribution, lock: EnvironmentLock) -> DRef:
    """Register the fetch of a distribution: its file, under its own name, or a tree of sources."""
    if one.kind == "vcs":
        return fetchgit(one.url, one.commit, one.sha256.sri, submodules=one.submodules)
    if one.kind == "directory":
        return _directory(one, lock.folder)
    return file_stage(one, lock.folder)


def _directory(one: Distribution, home: Path) -> DRef:
    """Register a local project: Nix is handed what was copied, by its hash."""
    folder = located(home, one.path, one.name)

    def copy(build: Build) -> None:
        (place,) = build.outpaths
        place.rmdir()
        copy_locked(one.name, folder, one.sha256, place, by_git=folder == home / one.path)

    config = {"name": f"{one.name}-source", "hash": one.sha256.sri}
    return mkdrv(Config(config), match_only(), build_wrapper(copy))


def _direct_url(one: Distribution) -> dict[str, Any]:
    """Return what PEP 610 says of it; where a local file is, is no part of a result."""
    found: dict[str, Any] = {"url": one.url or f"file:///{one.filename}"}
    if one.kind == "vcs":
        found["vcs_info"] = {"commit_id": one.commit, "vcs": "git"}
    elif one.kind == "directory":
        found["dir_info"] = {}
    else:
        found["archive_info"] = {"hashes": {"sha256": one.sha256.hex}}
    return {**found, "subdirectory": one.subdirectory} if one.subdirectory else found


def _checked(
    overrides: Mapping[str, Mapping[str, Any]], names: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    from packaging.utils import canonicalize_name

    found: dict[str, Mapping[str, Any]] = {}
    for name, given in overrides.items():
        for key in given:
            if key not in OVERRIDES:
                raise InvalidValue(
                    f"the overrides of {name} have {key!r}", f"there are {', '.join(OVERRIDES)}"
                )
        if canonicalize_name(name) not in names:
            raise InvalidValue(f"overrides name {name!r}, which is not in the environment")
        found[canonicalize_name(name)] = given
    return found
