"""Versions of the format of a store: which one it has, and how an older one becomes the newest.

`version` holds the number. A store without that file, as a copy may lack it, has the number 0. A
step takes a store from one number to the next; it is written so that it may be done again where it
was interrupted, and the number is written after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType

from plxnix.errors import CorruptEntry, StoreError, StoreNotFound, StoreVersionError
from plxnix.store import locks, sharing, temproots, tree
from plxnix.store.layout import FORMAT, Layout, dref_of
from plxnix.store.locks import Waiting
from plxnix.store.session import session

#: Takes a store from the number that it is filed under to the next one.
Step = Callable[[Layout], None]


def read_version(layout: Layout) -> int:
    """Return the number of a store's format; raise `StoreNotFound`, `CorruptEntry`."""
    try:
        with tree.open_file(layout.version) as file:
            text = file.read(64)
    except (FileNotFoundError, NotADirectoryError):
        if is_nameless(layout):
            return 0
        raise StoreNotFound(
            f"there is no store at {layout.root}",
            "make one with `plxnix init` or `fsinit(...)`, or set PLXNIX_ROOT",
        ) from None
    except OSError as error:
        raise StoreError(
            f"cannot read {layout.version}: {error.strerror}", "is it another user's store?"
        ) from error
    if not text.strip().isdigit():
        raise CorruptEntry(
            f"{layout.version} holds {text!r}, not a number",
            f"if this is a store of format {FORMAT}, write {FORMAT} into it",
            layout.version,
        )
    return int(text)


def is_nameless(layout: Layout) -> bool:
    """Tell whether there are derivations and no number."""
    if os.path.lexists(layout.version):
        return False
    try:
        return any(dref_of(entry) is not None for entry in os.listdir(layout.store))
    except OSError:
        return False


def check_version(layout: Layout) -> None:
    """Raise `StoreVersionError` for a store of another format; else what `read_version` raises."""
    found = read_version(layout)
    if found > FORMAT:
        raise StoreVersionError(
            f"the store {layout.root} has format {found}; this plxnix knows {FORMAT}",
            "use the plxnix that wrote it, or a newer one",
        )
    if found < FORMAT:
        raise StoreVersionError(
            f"the store {layout.root} has format {found}; this plxnix writes {FORMAT}",
            f"`plxnix store migrate {layout.root}` brings it to that, and keeps all that is in it",
        )


def write_version(layout: Layout, number: int) -> None:
    """Write the number, by one rename; raise `OSError`."""
    temporary = session(layout.tmp).file("version")
    tree.write_file(temporary, f"{number}\n".encode())
    tree.flush_file(temporary)
    os.rename(temporary, layout.version)


def _name(layout: Layout) -> None:
    """From 0 to 1: nothing is another but that the number and some folders are missing."""
    for folder in layout.folders():
        sharing.make_folder(folder)


STEPS: Mapping[int, Step] = MappingProxyType({0: _name})


def plan_migration(
    root: str | os.PathLike[str], steps: Mapping[int, Step] = STEPS, target: int = FORMAT
) -> list[int]:
    """Return the numbers that a store has yet to be brought to, in their order.

    Raises what `read_version` raises, and `StoreVersionError` for a store that is newer than
    `target`, or from whose number no steps lead there.
    """
    layout = Layout(os.path.abspath(os.fspath(root)))
    found = read_version(layout)
    if found > target:
        raise StoreVersionError(
            f"the store {layout.root} has format {found}; this plxnix knows {target}",
            "use the plxnix that wrote it, or a newer one: there is no way back",
        )
    for number in range(found, target):
        if number not in steps:
            raise StoreVersionError(
                f"no step leads from format {number} of {layout.root} to {number + 1}",
                "migrate it with an older plxnix first",
            )
    return list(range(found + 1, target + 1))


def migrate(
    root: str | os.PathLike[str],
    steps: Mapping[int, Step] = STEPS,
    target: int = FORMAT,
    waiting: Waiting | None = None,
) -> list[int]:
    """Bring a store to the newest format and return the numbers that it went through.

    An interruption leaves the store at a number whose next step is done again. Raises what
    `plan_migration` raises, and `StoreError` if the store cannot be written, or is in use.
    """
    layout = Layout(os.path.abspath(os.fspath(root)))
    if not plan_migration(layout.root, steps, target):
        return []
    try:
        for folder in (layout.tmp, layout.locks):
            sharing.make_folder(folder)
        with locks.alone(layout.store_lock(), waiting):
            temproots.check_unused(layout)
            todo = plan_migration(layout.root, steps, target)  # Another may have done it meanwhile.
            for number in todo:
                steps[number - 1](layout)
                write_version(layout, number)
    except OSError as error:
        raise StoreError(
            f"cannot migrate {layout.root}: {error}", "is the store read-only or full?"
        ) from error
    return todo
