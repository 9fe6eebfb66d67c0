"""Snapshots of the sources of local projects: what of a folder counts, and its hash."""

from __future__ import annotations

import os
import shutil
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


def copy_sources(folder: Path, destination: Path) -> None:
    """Copy a project into `destination`, which is made, without what is `IGNORED`,
    `*.pyc` and `*.egg-info`.

    Links are copied as links. Raises `OSError`.
    """
    shutil.copytree(folder, destination, symlinks=True, ignore=_ignored)


def sources_hash(folder: Path) -> Hash:
    """Return the NAR hash of what `copy_sources` would copy; reads and writes all of it once."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="plxnix-") as place:
        copied = Path(place) / "source"
        copy_sources(folder, copied)
        return nar_hash(copied)[0]


def _ignored(folder: str | os.PathLike[str], names: list[str]) -> set[str]:
    del folder
    return {name for name in names if name in IGNORED or name.endswith((".pyc", ".egg-info"))}
