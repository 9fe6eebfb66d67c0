"""Copies of local projects beside a lock, for Nix and for other machines: each has its hash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plxnix.errors import ExportError, HashMismatch, InvalidValue, NixFormatError
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.pyenv.distribution import around
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.snapshot import copy_sources

__all__ = ["COPIES", "has", "projects", "write_copy"]

#: Where they are, relative to the lock: one folder for each package, by name.
COPIES: Final = "plxnix/sources"


def projects(lock: EnvironmentLock) -> Mapping[str, tuple[Path, Hash]]:
    """Return for each local project of a lock where it is, and the hash that it is locked by.

    Raises `InvalidLock` for a project that holds the lock's own folder: a copy would be part of
    itself.
    """
    found = {}
    home = lock.folder.resolve()
    for package in lock.pylock.packages:
        name = str(package.name)
        if package.directory is None or name not in lock.plxnix.get("sources", {}):
            continue
        folder = lock.folder / package.directory.path
        if home.is_relative_to(folder.resolve()):
            raise around(lock.where, name, package.directory.path)
        found[name] = folder, Hash.parse(lock.plxnix["sources"][name], "sha256")
    return found


def has(place: Path, digest: str) -> bool:
    """Tell whether a folder is there and has a NAR hash; costs a read of all of it."""
    try:
        return not place.is_symlink() and place.is_dir() and nar_hash(place)[0].sri == digest
    except (NixFormatError, OSError):
        return False


def write_copy(name: str, folder: Path, digest: Hash, place: Path) -> None:
    """Put a copy of the project `folder` at `place`, in the stead of what is there.

    Nothing is replaced before all is copied and has the hash. Raises `InvalidValue` if the project
    cannot be read, `HashMismatch` if it is not as it was locked, `ExportError`.
    """
    import tempfile

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=place.parent))
    except OSError as error:
        raise ExportError(f"cannot write {place}: {error.strerror}") from error
    try:
        try:
            copy_sources(folder, work / "new")
        except OSError as error:
            raise InvalidValue(f"{name}: {folder} cannot be copied: {error}") from None
        found, _ = nar_hash(work / "new")
        if found != digest:
            raise HashMismatch(
                f"the sources of {name} in {folder} are not those of the lock:\n"
                f"  specified: {digest.sri}\n  got:       {found.sri}",
                "lock them as they are: plxnix env update",
                digest.sri,
                found.sri,
            )
        try:
            if os.path.lexists(place):
                place.rename(work / "old")
            (work / "new").rename(place)
        except OSError as error:
            raise ExportError(f"cannot write {place}: {error.strerror}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
