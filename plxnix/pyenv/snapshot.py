"""Snapshots of the sources of local projects: what of a folder counts, and its hash."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash

__all__ = ["IGNORED", "copy_sources", "sources_hash"]

#: Names that are no sources, wherever they are: they come from building, running and versioning.
IGNORED: Final = (
    ".git",
    ".hg",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    "__pycache__",
    "node_modules",
)

#: Lists what git tracks or would add, and runs no program that a project names.
_LIST: Final = ("git", "-c", "core.fsmonitor=false", "ls-files", "-coz", "--exclude-standard")

#: What git tells its hooks: it is about the repository of the hook, and maybe not of the project.
_OF_HOOKS: Final = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")


def copy_sources(folder: Path, destination: Path, by_git: bool = True) -> None:
    """Copy a project into `destination`, which is made, without what is `IGNORED`,
    `*.pyc` and `*.egg-info`.

    In a work tree of git, what git ignores and empty folders are left out too, so that a clone is
    the same; not `by_git`, or if git cannot tell, or ignores the whole project. Links are copied as
    links. Raises `OSError`.
    """
    shutil.copytree(folder, destination, symlinks=True, ignore=_ignoring(folder, by_git))


def sources_hash(folder: Path) -> Hash:
    """Return the NAR hash of what `copy_sources` would copy; reads and writes all of it once."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="plxnix-") as place:
        copied = Path(place) / "source"
        copy_sources(folder, copied)
        return nar_hash(copied)[0]


def _ignoring(top: Path, by_git: bool) -> Callable[[str, list[str]], Iterable[str]]:
    """Return what tells `copytree` which names of a folder to leave out."""
    known: dict[str, set[str]] = {}  # what counts, by folder

    def ignored(folder: str, names: list[str]) -> set[str]:
        # Inside of a work tree there may be others: submodules.
        if by_git and (folder == os.fspath(top) or ".git" in names):
            for path in _listed(folder):
                while path:
                    path, name = os.path.split(path)
                    known.setdefault(os.path.join(folder, path).rstrip("/"), set()).add(name)
        residue = {one for one in names if one in IGNORED or one.endswith((".pyc", ".egg-info"))}
        return residue | (set(names) - known[folder] if folder in known else set())

    return ignored


def _listed(folder: str) -> Sequence[str]:
    """Return the paths of what git counts in a folder; none if it cannot tell."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    try:
        printed = subprocess.run(
            _LIST, cwd=folder, env=environment, check=True, capture_output=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    # A repository inside of it is a folder, with a slash behind its name.
    return [os.fsdecode(one).rstrip("/") for one in printed.split(b"\0")]
