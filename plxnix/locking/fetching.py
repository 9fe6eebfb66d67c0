"""Fetching what is not known by a hash yet, and leaving it where builds look for it.

Nothing that is here already has a say in it: no hashed mirror, no partial download, no store. So a
hash that is right only for what an old URL had is found out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plxnix.builders.download import Progress, download
from plxnix.builders.partial import leave
from plxnix.config import Config
from plxnix.errors import HashMismatch
from plxnix.model import RRef
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import hash_of, nar_hash
from plxnix.realize.matchers import match_only
from plxnix.realize.realizing import realize1
from plxnix.realize.registry import Realizer, Registry, instantiate, mkdrv
from plxnix.realize.run import Observer
from plxnix.recipes.shared import add
from plxnix.recipes.tree import unpack_tree
from plxnix.store import Store


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the `file`, its `size` in bytes, and the `hash` of it or of its tree.

    For a tree, `archive` is the hash of the file and `tree` the folder; else both are None.
    """

    file: Path
    size: int
    hash: Hash
    url: str
    archive: Hash | None = None
    tree: Path | None = None


def fetch(
    urls: Sequence[str],
    folder: Path,
    file_name: str,
    algorithm: str = "sha256",
    unpack: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Download a file into an empty folder, and unpack it there on request; one request if it can.

    Raises what `download` and `unpack_tree` raise.
    """
    result = download(urls, folder / file_name, None, hashed_mirrors=(), progress=progress)
    found = result.hash
    if algorithm != found.algorithm:
        found = Hash.of_file(result.path, algorithm)
    if not unpack:
        return Fetched(result.path, result.size, found, result.url)
    tree = unpack_tree(result.path, folder / "unpacked")
    return Fetched(result.path, result.size, nar_hash(tree)[0], result.url, result.hash, tree)


def land(
    store: Store, config: Config, recipe: Realizer, file: Path, url: str, observer: Observer
) -> RRef:
    """Realize a fetch with a file that is here, without asking anybody; return the result.

    `file` is on the store's file system and is copied. Raises what `realize` raises.
    """
    registry = Registry(store)
    closure = instantiate(mkdrv, config, match_only(), recipe, registry=registry)
    if not store.realizations(closure.dref):
        copy = Path(store.session().file(file.name))
        shutil.copyfile(file, copy)
        leave(copy, Path(store.layout.download(closure.dref)), url)
    return realize1(closure, observer=observer)


def add_to_nix(name: str, fetched: Fetched) -> tuple[str, bool]:
    """Put what was fetched into the Nix store; return its path, and whether it was not there.

    Raises `ExportError` if Nix puts it elsewhere, `ToolMissing`, `ToolFailed`.
    """
    recursive = fetched.tree is not None
    return add(fetched.tree or fetched.file, name, fetched.hash, recursive)


def check_contents(path: str, digest: Hash, recursive: bool) -> None:
    """Raise `HashMismatch` unless a file, or a tree if `recursive`, has this hash."""
    if not recursive and (os.path.islink(path) or not os.path.isfile(path)):
        raise HashMismatch(f"{path} is no file", "", digest.sri, "no file")
    found = hash_of(path, digest.algorithm, recursive)
    if found != digest:
        raise HashMismatch(f"{path} has another hash", "", digest.sri, found.sri)
