"""What it takes to build a distribution from sources: its build requirements, locked."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from plxnix.errors import InvalidValue, ResolutionFailed, ToolFailed
from plxnix.nix import tools
from plxnix.pyenv import uv
from plxnix.pyenv.distribution import Distribution
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.toml import loads

__all__ = ["build_tables", "package_tables"]

#: What PEP 518 and PEP 517 say of a project that says nothing.
_LEGACY: Final = ("setuptools>=40.8.0", "wheel")
_LEGACY_BACKEND: Final = "setuptools.build_meta:__legacy__"

#: Backends that need nothing beyond what the project lists.
_MODEST: Final = ("flit_core.buildapi", "poetry.core.masonry.api")

#: Asks the backend for more requirements; it may print, so the answer goes to a file.
_HOOK: Final = """
import importlib, json, os, sys
folder, backend, places, answer = sys.argv[1:]
os.chdir(folder)
sys.path[:0] = [os.path.join(folder, one) for one in json.loads(places)]
module, _, attributes = backend.partition(":")
found = importlib.import_module(module)
for one in filter(None, attributes.split(".")):
    found = getattr(found, one)
hook = getattr(found, "get_requires_for_build_wheel", None)
wanted = list(hook({})) if hook else []
with open(answer, "w") as file:
    json.dump(wanted, file)
"""


@dataclass(frozen=True)
class _Project:
    """What a project's `[build-system]` says."""

    requires: tuple[str, ...]
    backend: str
    places: tuple[str, ...]


def build_tables(one: Distribution, folder: Path, inputs: Inputs) -> list[dict[str, Any]]:
    """Lock what builds `one`, a distribution of the lock in `folder`; return its packages.

    The sources are fetched, and their backend is asked in an environment of its own what more it
    needs (`get_requires_for_build_wheel`): that runs code of theirs, as resolving does too, with
    no program of this machine on PATH if it can. Raises `ResolutionFailed`, `FetchError`,
    `ArchiveError`, `InvalidValue`.
    """
    with tempfile.TemporaryDirectory(prefix="plxnix-") as place:
        top = Path(place)
        sources = obtained(one, folder, top)
        project = _project(sources, one.name)
        if not project.requires and project.backend in _MODEST:
            return []
        indexes, options, base = inputs.indexes(folder), inputs.surroundings(), inputs.base(folder)

        def resolved(requires: Sequence[str]) -> list[dict[str, Any]]:
            text = "".join((indexes, *(f"{one}\n" for one in requires)))
            return package_tables(uv.printed(base, ["-"], *options, text=text), one.name, folder)

        found = resolved(project.requires)
        if project.backend not in _MODEST:
            pinned = indexes + "".join(f"{_pin(one)}\n" for one in found)
            if more := _asked(base, top, sources, project, pinned, one.name):
                found = resolved((*project.requires, *more))
        return found


def obtained(one: Distribution, folder: Path, top: Path) -> Path:
    """Return the folder of the sources of a distribution, unpacked below `top` if need be."""
    from plxnix.builders.archive import unpack
    from plxnix.builders.download import download
    from plxnix.pyenv.commits import copy_tree
    from plxnix.pyenv.snapshot import copy_sources

    unpacked = top / "sources"
    if one.kind == "directory":
        copy_sources(folder / one.path, unpacked)
    elif one.kind == "vcs":
        copy_tree(one, unpacked)
    else:
        if one.path:
            file = folder / one.path
        else:
            file = top / one.filename
            download([one.url], file, one.sha256, hashed_mirrors=())
        unpack(file, unpacked)
        inner = list(unpacked.iterdir())
        if len(inner) == 1 and inner[0].is_dir() and not inner[0].is_symlink():
            unpacked = inner[0]
    found = unpacked / one.subdirectory
    if not found.is_dir():
        raise InvalidValue(f"{one.name}: its sources have no folder {one.subdirectory!r}")
    return found


def package_tables(text: str, what: str, folder: Path) -> list[dict[str, Any]]:
    """Return the packages of a lock that uv wrote, with what is read of them again, no more.

    Paths are as seen from `folder`.
    """
    found = []
    for package in loads(text, f"the lock of {what}").get("packages", ()):
        kept = {key: package[key] for key in ("name", "version", "marker") if key in package}
        if package.get("wheels"):
            kept["wheels"] = [_file(wheel, folder) for wheel in package["wheels"]]
        elif "sdist" in package:
            kept["sdist"] = _file(package["sdist"], folder)
        else:
            raise InvalidValue(
                f"{what} is built with {package.get('name')} from a URL or a folder",
                "what builds a package is taken from an index",
            )
        found.append(kept)
    return found


def _file(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: table[key] for key in ("name", "url", "path", "hashes") if key in table
    }
    if "path" in found:
        found["path"] = os.path.relpath(found["path"], folder)
    return found


def _project(sources: Path, name: str) -> _Project:
    path = sources / "pyproject.toml"
    table: Any = {}
    if path.is_file() and not path.is_symlink():
        table = loads(path.read_text(errors="replace"), f"pyproject.toml of {name}")
        table = table.get("build-system", {})
    said = table if isinstance(table, dict) else {}
    requires: Any = said.get("requires", list(_LEGACY))
    backend = said.get("build-backend", _LEGACY_BACKEND)
    places: Any = said.get("backend-path", [])
    if said is not table or not (_texts(requires) and isinstance(backend, str) and _texts(places)):
        raise InvalidValue(f"[build-system] of {name} is not as PEP 518 has it: {table!r:.200}")
    return _Project(tuple(requires), backend, tuple(places))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _asked(
    base: Path, top: Path, sources: Path, project: _Project, requirements: str, name: str
) -> list[str]:
    """Return what the backend wants beyond what the project lists, which is installed for it."""
    venv, answer = top / "venv", top / "answer.json"
    python = os.fspath(venv / "bin" / "python")
    uv.run("venv", "--quiet", "--python", sys.executable, os.fspath(venv), folder=top)
    uv.run(
        *("pip", "install", "--quiet", "--no-deps", "--python", python, "-r", "-"),
        folder=base,
        text=requirements,
    )
    command = ["-I", "-B", "-c", _HOOK, os.fspath(sources), project.backend]
    command += [json.dumps(project.places), os.fspath(answer)]
    # Some backends want cmake or the like only if this machine has none: they must always say so.
    for path in (os.fspath(venv / "bin"), f"{venv / 'bin'}:{os.environ.get('PATH', '')}"):
        try:
            tools.run(python, *command, env={"PATH": path})
            break
        except ToolFailed as error:
            failure = error
    else:
        raise ResolutionFailed(
            f"{name} does not say what it is built with: {failure.stderr.strip()[-2000:]}",
            "take a version that has a wheel",
        )
    wanted = json.loads(answer.read_text())
    if not _texts(wanted):
        raise InvalidValue(f"{name} asks for {wanted!r:.200} to be built")
    return sorted(set(wanted))


def _pin(package: dict[str, Any]) -> str:
    marker = f" ; {package['marker']}" if "marker" in package else ""
    return f"{package['name']}=={package['version']}{marker}"
