"""Which store of plxnix is meant by settings of Pylightnix, and which are current."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from plxnix import store as native
from plxnix.compat.pylightnix.errors import door, refuse
from plxnix.compat.pylightnix.types import Path, Registry, StorageSettings
from plxnix.errors import NoRegistry, StoreError, StoreNotFound
from plxnix.store import Store, tree
from plxnix.store.layout import FORMAT, Layout
from plxnix.store.settings import default_root
from plxnix.store.versions import read_version

PYLIGHTNIX_STORE_VERSION = FORMAT

#: What this thread has set: `registry` and `storage`.
TL = threading.local()

#: Stores that are open, by their folders, with the file by which one is known to be the same.
_opened: dict[str, tuple[tuple[int, int], Store]] = {}


def tlregistry(M: Registry | None) -> Registry | None:
    """Return `M`, else the current registry."""
    return M if M is not None else getattr(TL, "registry", None)


def needed_registry(r: Registry | None) -> Registry:
    """Return `r`, else the current registry; raise `NoRegistry` if there is none."""
    found = tlregistry(r)
    if found is None:
        refuse("no registry is current", "pass one, or use current_registry", NoRegistry)
    return found


def tlstorage(S: StorageSettings | None) -> StorageSettings | None:
    """Return `S`, else the current settings, else those of the current registry."""
    registry = tlregistry(None)
    current: StorageSettings | None = S or getattr(TL, "storage", None)
    return current or (registry.S if registry is not None else None)


def setstorage(S: StorageSettings | None) -> StorageSettings | None:
    """Make settings current in this thread and return those that were."""
    old = getattr(TL, "storage", None)
    TL.storage = S
    return old


def setregistry(r: Registry | None) -> Registry | None:
    """Make a registry current in this thread and return the one that was."""
    old = getattr(TL, "registry", None)
    TL.registry = r
    return old


def storagename() -> str:
    """Return the name of the folder with derivations, below the root."""
    return f"store-v{FORMAT}"


def fsroot(S: StorageSettings | None = None) -> Path:
    """Return the root of a store.

    It is `S.root`, else the folder that holds `S.storage` (or `S.storage` itself, if that is not
    called `storagename()`), else `$PYLIGHTNIX_ROOT`, else plxnix's current store.
    """
    S = tlstorage(S)
    if S is not None and S.root is not None:
        return Path(S.root)
    given: str | None = S.storage if S is not None else None
    storage = given or os.environ.get("PYLIGHTNIX_STORAGE")
    if storage:
        head, tail = os.path.split(os.path.abspath(storage))
        return Path(head if tail == storagename() else storage)
    if os.environ.get("PYLIGHTNIX_ROOT"):
        return Path(os.environ["PYLIGHTNIX_ROOT"])
    try:
        return Path(native.current_store().root)
    except StoreNotFound:
        return Path(default_root())


def fsstorage(S: StorageSettings | None = None) -> Path:
    """Return the folder with derivations."""
    return Path(os.path.join(fsroot(S), storagename()))


@door()
def fstmpdir(S: StorageSettings | None = None) -> Path:
    """Return a folder for temporary files: `S.tmpdir`, `$PYLIGHTNIX_TMP`, or one in the store.

    That in the store is this process's own, on the file system of the store, and goes with it.
    """
    S = tlstorage(S)
    given: str | None = S.tmpdir if S is not None else None
    folder = given or os.environ.get("PYLIGHTNIX_TMP")
    if folder:
        return Path(folder)
    folder = os.path.join(store_of(S).session().path, "pylightnix")
    os.makedirs(folder, exist_ok=True)
    return Path(folder)


@door()
def store_of(S: StorageSettings | None = None) -> Store:
    """Return the store that settings stand for, opened; raise `StoreNotFound`.

    A store that was removed and made anew under the same path is opened anew.
    """
    root = os.path.abspath(fsroot(S))
    if tlstorage(S) is None:
        try:
            current = native.current_store()
            if current.root == root:
                return current
        except StoreNotFound:
            pass
    try:
        found = os.stat(os.path.join(root, "version"))
    except OSError:
        return Store(root)  # raises StoreNotFound
    same = (found.st_ino, found.st_mtime_ns)
    known = _opened.get(root)
    if known is None or known[0] != same:
        known = _opened[root] = (same, Store(root))
    return known[1]


@door()
def fsinit(
    ss: str | StorageSettings | None = None,
    check_not_exist: bool = False,
    remove_existing: bool = False,
    use_as_default: bool = True,
) -> None:
    """Make a store if there is none; a path that is given gets `_pylightnix` at its end."""
    name = "_pylightnix"
    if isinstance(ss, str):
        settings: StorageSettings | None = mkSS(ss if ss.endswith(name) else os.path.join(ss, name))
    else:
        settings = ss
    root = fsroot(settings)
    if remove_existing:
        _remove(Layout(os.path.abspath(root)))
    elif check_not_exist and os.path.isdir(fsstorage(settings)):
        refuse(f"{root} exists already", "choose another place", StoreError)
    store = Store.init(root)
    found = os.stat(store.layout.version)
    _opened[store.root] = ((found.st_ino, found.st_mtime_ns), store)
    if use_as_default:
        setstorage(settings)
        native.fsinit(store)
    if settings is not None and settings.tmpdir is not None:
        os.makedirs(settings.tmpdir, exist_ok=True)
    assert_valid_storage(settings)


def _remove(layout: Layout) -> None:
    """Remove what is a store's own in a folder, if that is a store, and leave the rest."""
    with suppress(StoreNotFound):
        read_version(layout)
        for path in (*layout.folders(), *layout.later_folders(), layout.version):
            tree.remove(path)


@door()
def assert_valid_storage(S: StorageSettings | None = None) -> None:
    """Raise `StoreNotFound` if there is no store, `StoreError` if a folder of it is missing."""
    store_of(S)
    for folder in (fsstorage(S), fstmpdir(S)):
        if not os.path.isdir(folder):
            refuse(f"there is no folder {folder}", "call `fsinit` first", StoreNotFound)
    if os.lstat(fsstorage(S)).st_dev != os.lstat(fstmpdir(S)).st_dev:
        refuse(
            f"{fsstorage(S)} and {fstmpdir(S)} are on different file systems",
            "give a tmpdir on that of the store",
            StoreError,
        )


def mkSS(root: str, stordir: str | None = None, tmpdir: str | None = None) -> StorageSettings:
    """Return settings."""
    return StorageSettings(
        Path(root), Path(stordir) if stordir else None, Path(tmpdir) if tmpdir else None
    )


def mksettings(root: str, stordir: str | None = None, tmpdir: str | None = None) -> StorageSettings:
    """Return settings: `mkSS` under a readable name."""
    return mkSS(root, stordir, tmpdir)


def mkregistry(S: StorageSettings | None = None) -> Registry:
    """Return an empty registry over the current store, or that of `S`."""
    return Registry(tlstorage(S))


@contextmanager
def current_registry(r: Registry) -> Iterator[Registry]:
    """Make a registry and its store current for the block, for native stages as well."""
    from plxnix.realize import registry as native_registry

    old = setregistry(r)
    try:
        with current_storage(r.S), native_registry.current_registry(r):
            yield r
    finally:
        setregistry(old)


@contextmanager
def current_storage(S: StorageSettings | None) -> Iterator[StorageSettings | None]:
    """Make a store current for the block."""
    old = setstorage(S)
    try:
        with native.current_storage(store_of(S)):
            yield S
    finally:
        setstorage(old)


__all__ = [
    "PYLIGHTNIX_STORE_VERSION",
    "TL",
    "assert_valid_storage",
    "current_registry",
    "current_storage",
    "fsinit",
    "fsroot",
    "fsstorage",
    "fstmpdir",
    "mkSS",
    "mkregistry",
    "mksettings",
    "setregistry",
    "setstorage",
    "storagename",
    "store_of",
    "tlregistry",
    "tlstorage",
]
