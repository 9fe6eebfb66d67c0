"""Roots in the Nix store: what realizations link to there stays for as long as they do.

A realization whose record names a `root`, a path of the Nix store, has the link
`nixroots/<rhash>-<dhash>-<name>` to it, which Nix knows as an indirect root. The link is made
before the realization gets its name, and removed after it has lost it: so there may be a link too
many, which the next `gc` removes, and never one too few. A hard link needs none: it outlives Nix's
own name.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from hashlib import sha1

from plxnix.errors import NixFormatError
from plxnix.model import DRef, RRef
from plxnix.nix import base32
from plxnix.nix.paths import split
from plxnix.store.layout import Layout
from plxnix.store.record import Record
from plxnix.store.sharing import make_folder
from plxnix.store.store import Store

#: Where Nix notes indirect roots, unless it was told otherwise: links named by the hash of theirs.
_REGISTRATIONS = "/nix/var/nix/gcroots/auto"


def add(store: Store, rref: RRef, record: Record) -> None:
    """Keep what the record names as its `root` from Nix's garbage collection; again is no matter.

    Without a root in the record nothing happens. Raises `ToolMissing`, `ToolFailed`, `OSError`.
    """
    path = _path(record)
    if path is None:
        return
    from plxnix.nix import tools

    make_folder(store.layout.nixroots)
    tools.add_root(path, store.layout.nix_root(rref))


def _path(record: Record) -> str | None:
    """Return the root in a record, which may be another's, if it is a store path."""
    path = record.nix.get("root")
    try:
        split(path)  # type: ignore[arg-type]  # it raises for what is no text, too
    except NixFormatError:
        return None
    return str(path)


def remove_stale(store: Store, used: Container[DRef] = ()) -> list[str]:
    """Remove the roots of realizations that are gone, and return their links.

    Those of `used` derivations stay: who publishes may have a root already and its realization not
    yet. The caller holds `deleting`.
    """
    gone = [
        path
        for path, rref in _links(store.layout)
        if rref.dref not in used and not os.path.isdir(store.layout.realization(rref))
    ]
    for path in gone:
        os.unlink(path)
    return gone


def _links(layout: Layout) -> Iterator[tuple[str, RRef]]:
    """Yield the links below `nixroots/`, each with its realization."""
    try:
        names = sorted(os.listdir(layout.nixroots))
    except FileNotFoundError:
        return
    for name in names:
        rref = layout.rref_of_root(name)
        if rref is not None:
            yield f"{layout.nixroots}/{name}", rref


def faults(store: Store, rref: RRef, record: Record) -> Iterator[tuple[str, str]]:
    """Yield pairs of a place and a sentence: what a realization links to, or its root, is gone."""
    path = _path(record) if record.nix.get("linked") else None
    if path is None:
        return
    link = store.layout.nix_root(rref)
    repair = f"`plxnix rm {rref}` and realizing again builds and links it anew"
    if not os.path.lexists(path):
        yield path, f"{rref} links to {path}, which is gone from the Nix store; {repair}"
        return
    try:
        found = os.readlink(link)
    except OSError:
        found = ""
    if found != path:
        yield link, f"nothing keeps {path} from Nix's garbage collection, for {rref}; {repair}"
        return
    if os.path.isdir(_REGISTRATIONS) and not os.path.lexists(_registration(link)):
        yield link, f"Nix does not know {link} as a root any more; {repair}"


def _registration(link: str) -> str:
    digest = sha1(os.fsencode(link), usedforsecurity=False).digest()
    return f"{_REGISTRATIONS}/{base32.encode(digest)}"
