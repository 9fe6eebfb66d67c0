"""The current store: which one is meant where none is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from plxnix.errors import InvalidValue, StoreError
from plxnix.model import path_text
from plxnix.store import tree
from plxnix.store.settings import default_root
from plxnix.store.store import Store

_scoped: ContextVar[Store | None] = ContextVar("plxnix_store", default=None)
_default: Store | None = None
_opened: dict[str, Store] = {}


def fsinit(
    root: str | os.PathLike[str] | Store | None = None,
    check_not_exist: bool = False,
    remove_existing: bool = False,
    use_as_default: bool = True,
) -> Store:
    """Make a store at `root` (default: see `default_root`) if there is none, and open it.

    With `use_as_default` it is the current store of this process from now on. `check_not_exist`
    makes an existing store an error, `remove_existing` removes it first. Raises `StoreError`.
    """
    global _default
    if isinstance(root, Store):
        place = root.root
    else:
        folder = default_root() if root is None else path_text(root, "the store's folder")
        place = os.path.abspath(folder)
    if remove_existing and os.path.isdir(place) and os.listdir(place):
        _check_removable(Store(place))
        tree.remove(place)
    if check_not_exist and os.path.exists(place):
        raise StoreError(
            f"{place} exists already", "choose another place, or open it without the check"
        )
    store = Store.init(place)
    _opened[place] = store
    if use_as_default:
        _default = store
    return store


def _check_removable(store: Store) -> None:
    """Raise `StoreError` if the folder of a store holds what is not the store's."""
    layout = store.layout
    parts = (*layout.folders(), *layout.later_folders(), layout.version)
    ours = {os.path.basename(path) for path in parts}
    strangers = sorted(set(os.listdir(store.root)) - ours)
    if strangers:
        raise StoreError(
            f"{store.root} is not removed: it holds {', '.join(strangers[:5])}, which is no part "
            "of a store",
            "move that away first, or remove the store by hand",
        )


@contextmanager
def current_storage(store: Store | str | os.PathLike[str] | None) -> Iterator[Store | None]:
    """Make `store`, or the store at a path, the current one for the block (in this thread)."""
    opened = store if isinstance(store, Store) or store is None else Store(store)
    token = _scoped.set(opened)
    try:
        yield opened
    finally:
        _scoped.reset(token)


def current_store(store: Store | None = None, create: bool = False) -> Store:
    """Return `store`, else that of `current_storage`, else that of `fsinit`, else the default one.

    The default store is made if it does not exist and `create` is true; otherwise `StoreNotFound`.
    """
    if store is not None and not isinstance(store, Store):
        raise InvalidValue(f"the store is {store!r:.80}", "give a Store: Store('/path')")
    found = store or _scoped.get() or _default
    if found is None:
        place = default_root()
        found = _opened.get(place)
        if found is None:
            found = _opened[place] = Store.init(place) if create else Store(place)
    return found
