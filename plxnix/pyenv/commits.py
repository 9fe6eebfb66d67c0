"""Trees of commits of git, which a lock pins by their hash."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from plxnix.errors import HashMismatch, InvalidValue
from plxnix.nix.hashes import Hash
from plxnix.pyenv.distribution import Distribution

__all__ = ["copy_tree", "tree_hash"]

#: No tree has it: so the fetch tells the right one.
_UNKNOWN: Final = Hash("sha256", bytes(32))


def tree_hash(url: str, commit: str) -> tuple[Hash, bool]:
    """Return the NAR hash of a commit's tree, as `fetchgit` gives it with its submodules, and
    whether it has any; fetches it twice.

    Raises `FetchError`, and `InvalidValue` for a URL that cannot be fetched.
    """
    whole = _found(url, commit, True)
    return whole, whole != _found(url, commit, False)


def _found(url: str, commit: str, submodules: bool) -> Hash:
    try:
        with _fetched(url, commit, _UNKNOWN, submodules):
            raise InvalidValue(f"commit {commit} of {url} has a tree that cannot be")
    except HashMismatch as error:
        return Hash.parse(error.found, "sha256")


def copy_tree(one: Distribution, destination: Path) -> None:
    """Copy a commit's tree into `destination`, which is made; raise what `fetchgit` raises."""
    with _fetched(one.url, one.commit, one.sha256, one.submodules) as tree:
        shutil.copytree(tree, destination, symlinks=True, copy_function=shutil.copy)
        # A store is read-only, and a build writes beside its sources.
        for path in (destination, *destination.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o200)


@contextmanager
def _fetched(url: str, commit: str, digest: Hash, submodules: bool) -> Iterator[Path]:
    """Fetch a commit into a store of its own, and give its folder for the block."""
    from plxnix.realize.realizing import realize1
    from plxnix.realize.registry import Registry, instantiate
    from plxnix.recipes.git import fetchgit
    from plxnix.store import Store, tree

    place = tempfile.mkdtemp(prefix="plxnix-")
    try:
        store = Store.init(Path(place) / "store")
        registry = Registry(store)
        known: dict[str, Any] = {"submodules": submodules, "via": "native", "registry": registry}
        closure = instantiate(fetchgit, url, commit, digest.sri, **known)
        yield Path(store.layout.realization(realize1(closure)))
    finally:
        tree.remove(place)
