"""`fetchlock`: a source of a lock as a stage, so that Python and Nix read one file."""

from __future__ import annotations

import os
from typing import Any

from plxnix.locking.file import LOCK, LockFile
from plxnix.model import DRef
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.recipes.fetch import Fetch
from plxnix.recipes.tree import Tree


@takes_registry
def fetchlock(
    name: str,
    lock: str | os.PathLike[str] = LOCK,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is a source of a lock, and return its reference.

    `name` is what the lock calls it, and `lock` the file. The stage is the file that the hash in
    the lock is of, as `fetchurl(..., mode="")` gives it, or with `unpack` there the tree, as
    `fetchtree` gives it. With `mode="unpack,remove"` the file is unpacked as by `fetchurl`.
    Further `fields` go into the config.

    In Nix the stage has the path of `(fromLock { ... }).sources.<name>`. Raises `UnknownSource`,
    and what `LockFile` raises; while realizing what `fetchurl` and `fetchtree` raise.
    """
    del registry
    source = LockFile(lock)[name]
    recipe = Tree() if source.unpack else Fetch()
    return mkdrv(source.config(fields), match_only(), recipe)
