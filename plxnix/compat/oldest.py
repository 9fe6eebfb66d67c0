"""The names that scripts of 2020 import, over plxnix's own functions.

They keep one registry for the process, so that a script need not pass one around.
"""

from __future__ import annotations

from typing import Any

from plxnix.model import DRef, RRef
from plxnix.realize.realizing import realize1
from plxnix.realize.registry import Registry, call_stage, current_registry, instantiate
from plxnix.store import Store, fsinit

#: What `Registry` was called.
Manager = Registry

_registry: Registry | None = None


def store_initialize(custom_store: str | None = None, check_not_exist: bool = False) -> Store:
    """Make the default store, or one at a path, if there is none: `fsinit`."""
    return fsinit(custom_store, check_not_exist)


def inplace_registry() -> Registry:
    """Return the registry of the process, which is over the current store."""
    global _registry
    fresh = Registry()
    if _registry is None or _registry.store.root != fresh.store.root:
        _registry = fresh
    return _registry


def instantiate_inplace(stage: Any, *args: Any, **kwargs: Any) -> DRef:
    """Call a stage with the registry of the process and return its reference.

    Raises what the stage and `mkdrv` do.
    """
    registry = inplace_registry()
    with current_registry(registry):
        return DRef.parse(call_stage(stage, registry, args, kwargs))


def realize_inplace(dref: DRef, *args: Any, **kwargs: Any) -> RRef:
    """Realize a reference that `instantiate_inplace` returned; arguments are those of `realize`."""
    return realize1(instantiate(dref, registry=inplace_registry()), *args, **kwargs)
