"""`rm`: delete realizations and derivations that were named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import click

from plxnix.cli.places import readable
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import counted, size_text
from plxnix.errors import CorruptEntry, NotInStore, StoreError
from plxnix.model import DRef, RRef
from plxnix.references import resolve_one
from plxnix.store import Store
from plxnix.store.roots import roots


@command(
    "rm",
    "Delete realizations or derivations.",
    examples=(
        "plxnix rm 5c4de0aa               a realization",
        "plxnix rm train --recursive      a derivation, its realizations, and what needs them",
        "plxnix rm train --dry-run",
    ),
)
@reference_argument("references", "REF...", many=True)
@click.option("-r", "--recursive", is_flag=True, help="Delete what depends on it too.")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def rm(
    session: Session,
    references: tuple[str, ...],
    recursive: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete realizations; for a derivation, it and all its realizations.

    Nothing is deleted that something else depends on, except with --recursive, nor what a root
    keeps. Damaged entries can be deleted too. Asks first if there is a terminal.
    """
    store = session.store()
    named = [resolve_one(store, text) for text in references]
    removal = _removal(store, named, recursive)
    if not dry_run:
        if not yes and not as_json:
            _show_removal(session, removal)
            session.confirm(f"delete {removal.counted}, {size_text(removal.size)}?")
        with store.deleting(session.console.say):
            if _removal(store, named, recursive) != removal:
                raise StoreError("the store has changed meanwhile", "look again, and say it again")
            store.remove(removal.rrefs, removal.drefs)
    if as_json:
        session.console.json(
            {
                "deleted": not dry_run,
                "rrefs": removal.rrefs,
                "drefs": removal.drefs,
                "size": removal.size,
            }
        )
        return
    if dry_run or yes:
        _show_removal(session, removal)
    session.console.say(
        f"{'would delete' if dry_run else 'deleted'} {removal.counted}, {size_text(removal.size)}"
    )


@dataclass(frozen=True)
class _Removal:
    """What `rm` removes: realizations, those made from others first, and whole derivations."""

    rrefs: list[RRef]
    drefs: list[DRef]
    size: int

    @property
    def counted(self) -> str:
        return (
            f"{counted(len(self.rrefs), 'realization')} and "
            f"{counted(len(self.drefs), 'derivation')}"
        )


def _removal(store: Store, named: Iterable[DRef | RRef], recursive: bool) -> _Removal:
    """Find what goes with what is named; raise `StoreError` where that is not allowed."""
    made_from, needed_by = _dependents(store)
    chosen: dict[DRef | RRef, None] = {}
    waiting = list(named)
    while waiting:
        one = waiting.pop()
        if one in chosen:
            continue
        chosen[one] = None
        waiting.extend(needed_by.get(one, ()) if recursive else ())
        waiting.extend(store.realizations(one) if isinstance(one, DRef) else ())
    for one in chosen:
        left = [other for other in needed_by.get(one, ()) if other not in chosen]
        if left:
            raise StoreError(
                f"{one} is needed by {', '.join(left[:5])}"
                + (f" and {len(left) - 5} more" if len(left) > 5 else ""),
                "with --recursive they are deleted too",
            )
    for root in roots(store):
        if root.rref in chosen:
            raise StoreError(
                f"{root.rref} is kept by the root {root.path}", "remove that link first"
            )
    rrefs = _ordered([one for one in chosen if isinstance(one, RRef)], made_from)
    records = (readable(store, rref) for rref in rrefs)
    size = sum(record.nar_size for record in records if record is not None)
    return _Removal(rrefs, sorted(one for one in chosen if isinstance(one, DRef)), size)


def _dependents(
    store: Store,
) -> tuple[dict[RRef, list[RRef]], dict[DRef | RRef, list[DRef | RRef]]]:
    """Return what each realization was made from, and what needs each reference; reads all."""
    made_from: dict[RRef, list[RRef]] = {}
    needed_by: dict[DRef | RRef, list[DRef | RRef]] = {}
    for dref in store.derivations():
        try:
            for dependency in store.config(dref).dependencies:
                needed_by.setdefault(dependency, []).append(dref)
        except (CorruptEntry, NotInStore):
            pass
        for rref in store.realizations(dref):
            record = readable(store, rref)
            below = [] if record is None else [o for some in record.context.values() for o in some]
            made_from[rref] = below
            for one in below:
                needed_by.setdefault(one, []).append(rref)
    return made_from, needed_by


def _ordered(rrefs: list[RRef], made_from: dict[RRef, list[RRef]]) -> list[RRef]:
    """Sort realizations so that each comes before what it was made from."""
    counts = dict.fromkeys(rrefs, 0)
    for rref in rrefs:
        for one in made_from.get(rref, ()):
            if one in counts:
                counts[one] += 1
    order = [rref for rref in rrefs if counts[rref] == 0]
    for rref in order:  # grows while it is walked
        for one in made_from.get(rref, ()):
            if one in counts:
                counts[one] -= 1
                if counts[one] == 0:
                    order.append(one)
    return order


def _show_removal(session: Session, removal: _Removal) -> None:
    session.console.lines([*removal.rrefs, *removal.drefs])


__all__ = ["rm"]
