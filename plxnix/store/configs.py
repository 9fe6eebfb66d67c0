"""Configs on the disk: written when they are realized, and never used if they are damaged."""

from __future__ import annotations

import os

from plxnix.config import Config
from plxnix.errors import CorruptEntry, InvalidValue, NotInStore, StoreError, StoreUnreadable
from plxnix.model import DRef
from plxnix.store import sharing, tree
from plxnix.store.layout import Layout
from plxnix.store.session import Session


def read(layout: Layout, dref: DRef) -> Config:
    """Read the config of a derivation; raise `NotInStore`, `CorruptEntry`, `StoreUnreadable`."""
    path = layout.config(dref)
    try:
        config = Config.parse(tree.read_file(path))
    except (FileNotFoundError, NotADirectoryError):
        raise NotInStore(
            f"the store {layout.root} has no derivation {dref}",
            "instantiate its stage first; `plxnix ls` lists what there is",
            dref,
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
    except InvalidValue as error:
        raise _corrupt(path, error.message) from None
    if config.dref != dref:
        raise _corrupt(path, f"its hash is {config.dref}")
    return config


def is_same(layout: Layout, config: Config) -> bool:
    """Tell whether a config is on the disk, to the byte."""
    try:
        with tree.open_file(layout.config(config.dref)) as file:
            return file.read(len(config.canonical) + 1) == config.canonical
    except OSError:
        return False


def write(layout: Layout, work: Session, config: Config) -> None:
    """Write a config; atomic, and a damaged one is replaced. Raises `StoreError`."""
    target = layout.derivation(config.dref)
    try:
        folder = work.folder("config")
        tree.write_file(f"{folder}/config.json", config.canonical)
        if sharing.is_shared(layout.root):
            sharing.share(folder)
        try:
            os.rename(folder, target)
        except OSError:
            # The derivation is there already: another process was quicker, or its config was
            # damaged or lost and is now put right.
            if not os.path.isdir(target):
                raise
            os.rename(f"{folder}/config.json", layout.config(config.dref))
            os.rmdir(folder)
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror}", "is the store read-only or full?"
        ) from error


def unreadable(path: str, error: OSError) -> StoreUnreadable:
    """Return the error that says that the system cannot read something."""
    return StoreUnreadable(
        f"cannot read {path}: {error.strerror}", "is it another user's, or is the disk failing?"
    )


def _corrupt(path: str, said: str) -> CorruptEntry:
    return CorruptEntry(
        f"the config {path} is damaged: {said}",
        "`plxnix instantiate` of its stage writes it anew; `plxnix verify` finds all damage",
        path,
    )
