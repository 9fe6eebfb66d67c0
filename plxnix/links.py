"""Links to realizations and derivations, named by their stages."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from plxnix.errors import InvalidValue, StoreError
from plxnix.model import DRef, rref_list
from plxnix.store import Store, current_store
from plxnix.store.roots import add_root, force_link

#: How links are named unless they are told otherwise: `%(T)s` is the time when the realizer was
#: started, `%(N)s` the name of the stage.
LINK_FORMAT = "_rref_%(T)s_%(N)s"
DREF_LINK_FORMAT = "_rref_%(N)s"


def linkrref(
    rref: str,
    destdir: str | os.PathLike[str] | None = None,
    format: str = LINK_FORMAT,  # noqa: A002 (Pylightnix calls it that)
    store: Store | None = None,
) -> Path:
    """Make a link to a realization in the folder `destdir` (default: here) and return its path.

    It keeps the realization from garbage collection, as a root. In `format`, `%(T)s` becomes the
    time when the realizer was started, as 20260131T235959Z, and `%(N)s` the stage's name. A link
    that is there already is replaced. Raises `NotInStore`, `InvalidValue` for a format that is
    none, `StoreError` if the link cannot be made.
    """
    return linkrrefs([rref], destdir, format, store)[0]


def linkrrefs(
    rrefs: Iterable[str],
    destdir: str | os.PathLike[str] | None = None,
    format: str = LINK_FORMAT,  # noqa: A002
    store: Store | None = None,
) -> list[Path]:
    """Make links as `linkrref` does; further ones of the same name get -2, -3, ..."""
    opened = current_store(store)
    taken: set[str] = set()
    found = []
    for reference in rref_list(rrefs):
        opened.path(reference)
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(opened.record(reference).started))
        first = _link_name(format, {"T": when, "N": reference.name})
        name, number = first, 1
        while name in taken:
            number += 1
            name = f"{first}-{number}"
        taken.add(name)
        found.append(add_root(opened, _folder(destdir) / name, reference))
    return found


def linkdref(
    dref: str,
    destdir: str | os.PathLike[str] | None = None,
    format: str = DREF_LINK_FORMAT,  # noqa: A002
    store: Store | None = None,
) -> Path:
    """Make a link to the folder of a derivation; `%(N)s` in `format` becomes the stage's name.

    It is no root, but `plxnix gc --links` sees it. Raises what `linkrref` does.
    """
    opened = current_store(store)
    reference = DRef.parse(dref)
    opened.config(reference)
    place = _folder(destdir) / _link_name(format, {"N": reference.name})
    try:
        force_link(opened.layout.derivation(reference), str(place))
    except OSError as error:
        raise StoreError(
            f"cannot make the link {place}: {error.strerror}", "is its folder writable?"
        ) from error
    return place


def _folder(destdir: str | os.PathLike[str] | None) -> Path:
    folder = Path("." if destdir is None else destdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {folder}: {error.strerror}", "choose another place for links"
        ) from error
    return folder.absolute()


def _link_name(form: str, values: Mapping[str, str]) -> str:
    try:
        name = form % values
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"{form!r} is no format for the name of a link: {error}",
            f"it may have {' and '.join(f'%({key})s' for key in values)}",
        ) from None
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InvalidValue(f"{name!r} is no name for a link", "give the folder as destdir")
    return name
