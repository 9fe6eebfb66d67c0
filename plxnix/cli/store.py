"""`store`: what is done with a store as a whole."""

from __future__ import annotations

import click

from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.store.settings import default_root
from plxnix.store.versions import migrate as migrate_store
from plxnix.store.versions import plan_migration


@command(
    "migrate",
    "plxnix store migrate --dry-run",
    "plxnix store migrate /mnt/backup/plxnix",
)
@click.argument("folder", metavar="[FOLDER]", required=False)
@click.option("-n", "--dry-run", is_flag=True, help="Only show the formats it would go through.")
@json_option
@pass_session
def migrate(session: Session, folder: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring the store at FOLDER (default: the one that is meant) to the newest format.

    Nothing in it is lost, and an interruption is no harm: run it again. A store that a newer plxnix
    has written is refused. Waits until nobody uses the store.
    """
    place = folder or session.place or default_root()
    numbers = plan_migration(place)
    if not dry_run:
        numbers = migrate_store(place, waiting=session.console.say)
    if as_json:
        session.console.json({"store": place, "formats": numbers, "migrated": not dry_run})
        return
    session.console.lines(map(str, numbers))
    said = "would be brought" if dry_run else "was brought"
    session.console.say(
        f"{place} {said} to format {numbers[-1]}"
        if numbers
        else f"{place} has the newest format already"
    )
