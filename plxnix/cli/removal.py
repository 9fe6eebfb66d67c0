"""`rm`: delete realizations and derivations that were named."""

from __future__ import annotations

import click

from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import counted, size_text
from plxnix.references import resolve_one
from plxnix.store.removal import Removal, plan_removal, remove


@command(
    "rm",
    "plxnix rm 5c4de0aa               a realization",
    "plxnix rm train --recursive      a derivation, its realizations, and what needs them",
    "plxnix rm train --dry-run",
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
    removal = plan_removal(store, named, recursive)
    told = (
        f"{counted(len(removal.rrefs), 'realization')} and "
        f"{counted(len(removal.drefs), 'derivation')}, {size_text(removal.size)}"
    )
    if not dry_run:
        if not yes and not as_json:
            _show_removal(session, removal)
            session.confirm(f"delete {told}?")
        remove(store, named, recursive, agreed=removal, waiting=session.console.say)
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
    session.console.say(f"{'would delete' if dry_run else 'deleted'} {told}")


def _show_removal(session: Session, removal: Removal) -> None:
    session.console.lines([*removal.rrefs, *removal.drefs])
