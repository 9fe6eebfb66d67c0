"""Copies of local projects and files beside a lock, for Nix and for other machines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plxnix.errors import ExportError, HashMismatch, InvalidValue, NixFormatError
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.pyenv.distribution import Reader, around
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.snapshot import copy_sources

__all__ = ["COPIES", "has", "local_sources", "write_copy"]

#: Where they are, relative to the lock: folders by the names of packages, files by their own.
COPIES: Final = "plxnix/sources"


def local_sources(lock: EnvironmentLock) -> Mapping[str, tuple[Path, Hash]]:
    """Return for what is to be copied where it is, and the hash that it is locked by.

    These are projects (the hash is that of the NAR), and files that are not in the lock's folder.
    Raises `InvalidLock` for a project that holds that folder: a copy would be part of itself.
    """
    found = {}
    home = lock.folder.resolve()
    for package in lock.pylock.packages:
        for file in (package.archive, package.sdist, *(package.wheels or ())):
            if file is not None and os.path.normpath(file.path or "").startswith(".."):
                one = Reader(lock.where).file(package, file)
                if one.path:
                    found[one.filename] = lock.folder / one.path, one.sha256
        name = str(package.name)
        if package.directory is None or name not in lock.plxnix.get("sources", {}):
            continue
        folder = lock.folder / package.directory.path
        if home.is_relative_to(folder.resolve()):
            raise around(lock.where, name, package.directory.path)
        found[name] = folder, Hash.parse(lock.plxnix["sources"][name], "sha256")
    return found


def has(place: Path, digest: str) -> bool:
    """Tell whether a copy is there and has a hash; costs a read of all of it."""
    try:
        return not place.is_symlink() and _hash(place).sri == digest
    except (NixFormatError, OSError):
        return False


def write_copy(name: str, source: Path, digest: Hash, place: Path) -> None:
    """Put a copy of a project, or of a file, at `place`, in the stead of what is there.

    Nothing is replaced before all is copied and has the hash. Raises `InvalidValue` if the source
    cannot be read, `HashMismatch` if it is not as it was locked, `ExportError`.
    """
    import tempfile

    if not source.is_dir() and not source.is_file():
        raise InvalidValue(f"{name} cannot be copied: there is no file or folder {source}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=place.parent))
    except OSError as error:
        raise ExportError(f"cannot write {place}: {error.strerror}") from error
    try:
        try:
            copy = copy_sources if source.is_dir() else shutil.copyfile
            copy(source, work / "new")
        except OSError as error:
            raise InvalidValue(f"{name}: {source} cannot be copied: {error}") from None
        found = _hash(work / "new")
        if found != digest:
            raise HashMismatch(
                f"the sources of {name} in {source} are not those of the lock:\n"
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


def _hash(place: Path) -> Hash:
    return nar_hash(place)[0] if place.is_dir() else Hash.of_file(place)
