"""Roots: the links that keep realizations from garbage collection.

A root is a symbolic link to a realization. A *direct* one lies below `gcroots/` in the store. An
*indirect* one lies anywhere: `gcroots/auto/<hash>` points to the user's link, and that to the
realization, as Nix has it (Nix manual, "nix-store --add-root"). Who removes or moves the link
gives the root up; the registration is then stale, means nothing, and goes with the next `gc`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from plxnix.errors import StoreError
from plxnix.model import DRef, RRef
from plxnix.store.layout import Layout, dref_of
from plxnix.store.sharing import make_folder
from plxnix.store.store import Store


@dataclass(frozen=True)
class Root:
    """A link that keeps a realization: the `path` of the link, and the realization."""

    path: str
    rref: RRef


def add_root(store: Store, link: str | os.PathLike[str], rref: str) -> Path:
    """Make `link` a symbolic link to a realization's folder, and register it as a root.

    A link that is there already is replaced; it always leads somewhere. Returns its path, absolute
    and with the links in its folder's path resolved. A link right below `gcroots/` in the store is
    a direct root.

    Raises `NotInStore` if there is no such realization, `StoreError` if something other than a
    symbolic link is at `link`, or it cannot be made.
    """
    reference = RRef.parse(rref)
    place = _place(link)
    inside = _is_below(place, store.root)
    if inside and not _is_below(place, store.layout.gcroots):
        raise StoreError(
            f"a root cannot be inside the store: {place}", "put the link outside, or into gcroots/"
        )
    # Garbage collection waits, so it sees neither an unregistered link nor a lone registration.
    with store.keeping_all():
        target = store.path(reference)
        try:
            force_link(target, place)
            if not inside:
                make_folder(f"{store.layout.gcroots}/auto")
                force_link(place, _registration(store, place))
        except OSError as error:
            raise StoreError(
                f"cannot make the root {place}: {error.strerror}",
                "its folder has to exist and be writable, and so has the store",
            ) from error
    return Path(place)


def remove_root(store: Store, link: str | os.PathLike[str]) -> None:
    """Remove a root: the link, if it still leads into the store, and its registration.

    Raises `StoreError` if `link` is no root of this store.
    """
    place = _place(link)
    registration = _registration(store, place)
    direct = _is_below(place, store.layout.gcroots)
    if not (os.path.islink(place) if direct else os.path.islink(registration)):
        raise StoreError(
            f"{place} is no root of the store {store.root}", "`plxnix roots` lists the roots"
        )
    try:
        if direct or _into(store, place) is not None:
            os.unlink(place)
        if not direct:
            os.unlink(registration)
    except OSError as error:
        raise StoreError(
            f"cannot remove the root {place}: {error.strerror}",
            "are its folder and the store writable?",
        ) from error


def roots(store: Store) -> list[Root]:
    """Return all roots, sorted by path; stale registrations are passed over.

    Cost: two or three system calls a root. Raises `StoreError` if a link cannot be read for
    another reason than being gone: it might keep something.
    """
    found = {}
    for link in _links(store):
        place, rref = _follow(store, link)
        if rref is not None:
            found[place] = rref
    return [Root(path, found[path]) for path in sorted(found)]


def linked(store: Store, places: Iterable[str | os.PathLike[str]]) -> tuple[list[DRef], list[RRef]]:
    """Return what links in folders lead to in the store: derivations and realizations, sorted.

    A place is a link itself, or a folder, in which links are looked for at every depth; none is
    followed to look further. Links that lead elsewhere, or to what is gone, are passed over.
    Raises `StoreError` if a place is not there or cannot be listed: it might keep something.
    """
    drefs: set[DRef] = set()
    rrefs: set[RRef] = set()
    for place in places:
        path = os.path.abspath(os.fspath(place))
        if not os.path.islink(path) and not os.path.isdir(path):
            raise StoreError(f"{path!r} is no folder and no link", "name folders that hold links")
        for link in [path] if os.path.islink(path) else _links_below(path):
            rref = _into(store, link)
            if rref is not None:
                if os.path.isdir(store.layout.realization(rref)):
                    rrefs.add(rref)
                continue
            real = os.path.realpath(link)
            folder, entry = os.path.split(real)
            dref = dref_of(entry) if folder == os.path.realpath(store.layout.store) else None
            if dref is not None and os.path.isdir(real):
                drefs.add(dref)
    return sorted(drefs), sorted(rrefs)


def remove_stale(store: Store) -> list[str]:
    """Remove the registrations whose links are gone or lead elsewhere; return those links' paths.

    The caller holds `deleting`. Raises what `roots` raises, and then removes nothing more.
    """
    removed = []
    automatic = f"{store.layout.gcroots}/auto"
    for registration in list(_links(store)):
        if os.path.dirname(registration) != automatic:
            continue
        place, rref = _follow(store, registration)
        if rref is None:
            with suppress(FileNotFoundError):  # Who removed the link was about to do so.
                os.unlink(registration)
            removed.append(place)
    return removed


def _links(store: Store) -> Iterator[str]:
    return _links_below(store.layout.gcroots)


def _links_below(top: str) -> Iterator[str]:
    """Yield all symbolic links below a folder, without following any."""

    def fail(error: OSError) -> None:
        # A link that is removed while this looks is walked into as if it had been a folder.
        if not isinstance(error, FileNotFoundError) or error.filename == top:
            _raise(error)

    for folder, folders, files in os.walk(top, onerror=fail):
        for name in (*folders, *files):
            path = f"{folder}/{name}"
            if os.path.islink(path):
                yield path


def _raise(error: OSError) -> None:
    raise StoreError(
        f"cannot list the roots: {error}", "garbage collection needs to see them all"
    ) from error


def _follow(store: Store, link: str) -> tuple[str, RRef | None]:
    """Return the root that a link below `gcroots/` stands for: its path, and what it keeps."""
    target = _target(link)
    rref = _within(store, target)
    if rref is None:
        link, rref = target, _into(store, target)
    kept = rref is not None and os.path.isdir(store.layout.realization(rref))
    return link, rref if kept else None


def _into(store: Store, link: str) -> RRef | None:
    """Return the realization that a link leads to, at once or through further links."""
    target = _target(link)
    return _within(store, target) or _within(store, os.path.realpath(target)) if target else None


def _within(store: Store, path: str) -> RRef | None:
    """Return the realization that `path` is in, whether it exists or not."""
    if not path:
        return None
    # The store itself may be reached through links.
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return store.layout.rref_of(path) or Layout(os.path.realpath(store.root)).rref_of(real)


def _target(link: str) -> str:
    """Return where a symbolic link points, as an absolute path; empty if it is none or is gone."""
    try:
        target = os.readlink(link)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
            return ""
        raise StoreError(
            f"cannot read the root {link}: {error.strerror}",
            "become its owner, or remove its registration in gcroots/auto by hand",
        ) from error
    return os.path.join(os.path.realpath(os.path.dirname(link)), target)


def _place(link: str | os.PathLike[str]) -> str:
    """Return the absolute path of a link; those in its folder's path are resolved, not itself."""
    path = os.path.abspath(os.fspath(link))
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.realpath(folder) + "/")


def _registration(store: Store, place: str) -> str:
    digest = sha256(os.fsencode(place)).hexdigest()[:32]
    return f"{store.layout.gcroots}/auto/{digest}"


def force_link(target: str, place: str) -> None:
    """Make a symbolic link, replacing one atomically.

    Raises `StoreError` if anything else is there, `OSError`.
    """
    try:
        os.symlink(target, place)
        return
    except FileExistsError:
        if not os.path.islink(place):
            raise StoreError(
                f"{place} is there already and is no symbolic link",
                "choose another place for the root, or move what is there",
            ) from None
    temporary = os.path.join(os.path.dirname(place), f".{os.urandom(8).hex()}.plxnix")
    os.symlink(target, temporary)
    try:
        os.rename(temporary, place)
    except OSError:
        os.unlink(temporary)
        raise
