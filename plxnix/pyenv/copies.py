"""Copies of local projects and files beside a lock, for Nix and for other machines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plxnix.errors import ExportError, HashMismatch, InvalidLock, InvalidValue, NixFormatError
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import hash_of
from plxnix.pyenv.distribution import around
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.snapshot import copy_sources

__all__ = ["COPIES", "copy_locked", "has", "local_sources", "located", "write_copy"]

#: Where they are, relative to the lock: folders by the names of packages, files by their own.
COPIES: Final = "plxnix/sources"


def local_sources(lock: EnvironmentLock) -> Mapping[str, tuple[Path, Hash]]:
    """Return for what is to be copied where it is, and the hash that it is locked by.

    These are projects (the hash is that of the NAR), and files that are not in the lock's folder.
    Raises `InvalidLock` for a project that holds that folder, as a copy would be part of itself,
    and for two files of one name.
    """
    found: dict[str, tuple[Path, Hash]] = {}
    home = lock.folder.resolve()
    for one in lock.files():
        if os.path.normpath(one.path).startswith(".."):
            other, digest = found.setdefault(one.filename, (lock.folder / one.path, one.sha256))
            if digest != one.sha256:
                raise InvalidLock(
                    f"{lock.where}: {one.name} has another file at {one.path!r} than at "
                    f"{os.path.relpath(other, lock.folder)!r}, and copies are of one name",
                    "leave one of them out, or give it another version",
                    one.name,
                )
    for package in lock.pylock.packages:
        name = str(package.name)
        if package.directory is None or name not in lock.plxnix.get("sources", {}):
            continue
        folder = lock.folder / package.directory.path
        if home.is_relative_to(folder.resolve()):
            raise around(lock.where, name, package.directory.path)
        found[name] = folder, Hash.parse(lock.plxnix["sources"][name], "sha256")
    return found


def located(home: Path, path: str, name: str) -> Path:
    """Return where a project or a file of the lock in `home` is, as far as it is there.

    On another machine there is only what was copied beside the lock.
    """
    place, copy = home / path, home / COPIES / name
    return copy if copy.exists() and not place.exists() else place


def has(place: Path, digest: str) -> bool:
    """Tell whether a copy is there and has a hash; costs a read of all of it."""
    try:
        return not place.is_symlink() and hash_of(place, recursive=place.is_dir()).sri == digest
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
        copy_locked(name, source, digest, work / "new")
        try:
            if os.path.lexists(place):
                place.rename(work / "old")
            (work / "new").rename(place)
        except OSError as error:
            raise ExportError(f"cannot write {place}: {error.strerror}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def copy_locked(
    name: str, source: Path, digest: Hash, destination: Path, by_git: bool = True
) -> None:
    """Copy a project, or a file, to `destination`, which is made; `by_git` as for `copy_sources`.

    Raises `InvalidValue` if it cannot be read, `HashMismatch` if it is not as it was locked.
    """
    try:
        if source.is_dir():
            copy_sources(source, destination, by_git)
        else:
            shutil.copyfile(source, destination)
    except OSError as error:
        raise InvalidValue(f"{name}: {source} cannot be copied: {error}") from None
    found = hash_of(destination, recursive=destination.is_dir())
    if found != digest:
        raise HashMismatch(
            f"the sources of {name} in {source} are not those of the lock:\n"
            f"  specified: {digest.sri}\n  got:       {found.sri}",
            "lock them as they are: plxnix env update",
            digest.sri,
            found.sri,
        )
