"""Contents by their hashes: which realization holds what a fetch is known by.

`fixed/<algorithm>-<hex>` (with `-tree` for the hash of a NAR) is a link to a file or folder of a
realization. So another fetch of the same contents, from another URL or under another name, has
nothing to download. It is a hint: a link may lead nowhere, and what it leads to is hashed again by
who uses it. The last one written stands; `gc` removes those that lead nowhere. Cost: one system
call to look, three to write.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from plxnix.model import RRef
from plxnix.nix.hashes import Hash
from plxnix.store.record import Record
from plxnix.store.sharing import make_folder
from plxnix.store.store import Store

_KEY = re.compile(r"[a-z0-9]+-[0-9a-f]+(-tree)?")


def said(digest: Hash, recursive: bool = False, file: str = "") -> dict[str, str]:
    """Return what the record of a fetch says of it, below `fixed`.

    `file` is the name of the file in the realization, or empty if the whole is meant.
    """
    return {"key": _key(digest, recursive), "file": file}


def note(store: Store, rref: RRef, record: Record) -> None:
    """Write down where the contents are that a record tells of, if the disk lets us."""
    told = record.nix.get("fixed")
    key, file = (told.get("key"), told.get("file")) if isinstance(told, dict) else (None, None)
    # The record may be another's, so what it says may lead anywhere.
    if not (isinstance(key, str) and isinstance(file, str) and _KEY.fullmatch(key)):
        return
    if "/" in file or "\0" in file or file in (".", ".."):
        return
    place = f"{store.layout.fixed}/{key}"
    target = os.path.join(store.layout.realization(rref), file).rstrip("/")
    relative = os.path.relpath(target, store.layout.fixed)  # the store may be moved
    temporary = store.session().file("fixed")
    with suppress(OSError):  # The realization is there; a hint less is a download more.
        make_folder(store.layout.fixed)
        os.symlink(relative, temporary)
        os.rename(temporary, place)


def find(store: Store, digest: Hash, recursive: bool = False) -> str | None:
    """Return where contents with this hash should be, or None."""
    place = f"{store.layout.fixed}/{_key(digest, recursive)}"
    return os.path.realpath(place) if os.path.exists(place) else None


def remove_stale(store: Store) -> None:
    """Remove links that lead nowhere; the caller holds `deleting`."""
    try:
        names = os.listdir(store.layout.fixed)
    except FileNotFoundError:
        return
    for name in names:
        place = f"{store.layout.fixed}/{name}"
        if not os.path.exists(place):
            os.unlink(place)


def _key(digest: Hash, recursive: bool) -> str:
    return f"{digest.algorithm}-{digest.hex}{'-tree' if recursive else ''}"
