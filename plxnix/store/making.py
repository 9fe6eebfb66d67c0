"""Making a store: its folders, and last its number."""

from __future__ import annotations

import os

from plxnix.errors import StoreError
from plxnix.store import sharing, tree, versions
from plxnix.store.layout import FORMAT, Layout
from plxnix.store.settings import Fsync


def make_store(layout: Layout, fsync: Fsync, group: str | None = None) -> None:
    """Make what a store has and this one lacks; two may do so at once.

    With `group`, a name or number, it is shared with that group. Raises `StoreError`.
    """
    try:
        os.makedirs(layout.root, 0o755, exist_ok=True)
        if group is not None:
            sharing.share_store(layout.root, group)
        for folder in layout.folders():
            sharing.make_folder(folder)
        if not os.path.exists(layout.version):
            versions.write_version(layout, FORMAT)
            if fsync is Fsync.FULL:
                tree.flush_file(layout.root)
                tree.flush_file(os.path.dirname(layout.root))
    except OSError as error:
        raise StoreError(
            f"cannot make a store at {layout.root}: {error.strerror}",
            "choose another place with PLXNIX_ROOT or `fsinit`",
        ) from error
