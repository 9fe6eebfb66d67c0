"""Trees of commits of git, which a lock pins by their hash."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from plxnix.errors import HashMismatch, InvalidValue
from plxnix.nix.hashes import Hash

__all__ = ["tree_hash"]

#: No tree has it: so the fetch tells the right one.
_UNKNOWN: Final = Hash("sha256", bytes(32))


def tree_hash(url: str, commit: str) -> Hash:
    """Return the NAR hash of a commit's tree, as `fetchgit` gives it; fetches it once.

    Raises `FetchError`, and `InvalidValue` for a URL that cannot be fetched.
    """
    from plxnix.realize.realizing import realize1
    from plxnix.realize.registry import Registry, instantiate
    from plxnix.recipes.git import fetchgit
    from plxnix.store import Store

    with tempfile.TemporaryDirectory(prefix="plxnix-") as place:
        registry = Registry(Store.init(Path(place) / "store"))
        closure = instantiate(fetchgit, url, commit, _UNKNOWN.sri, via="native", registry=registry)
        try:
            realize1(closure)
        except HashMismatch as error:
            return Hash.parse(error.found, "sha256")
    raise InvalidValue(f"commit {commit} of {url} has a tree that cannot be")
