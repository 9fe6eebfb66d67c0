"""`gc` and `verify`: keep the store in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import age_text, counted, parse_duration, parse_size, size_text
from plxnix.cli.watching import Watch
from plxnix.errors import InvalidValue
from plxnix.model import RRef
from plxnix.references import resolve_reference
from plxnix.store import Store
from plxnix.store.gc import GcPlan, collect, plan_gc
from plxnix.store.roots import linked
from plxnix.store.verify import Damage
from plxnix.store.verify import verify as find_damage


def _read_by(parse: Callable[[str], Any]) -> Callable[[Any, click.Parameter, Any], Any]:
    def callback(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(value)
        except InvalidValue as error:
            raise click.BadParameter(f"{error.message}; {error.hint}", context, parameter) from None

    return callback


@command(
    "gc",
    "Delete what no root keeps.",
    examples=(
        "plxnix gc --dry-run",
        "plxnix gc --older-than 30d",
        "plxnix gc --max-size 10G --keep train",
        "plxnix gc --links ~/results      keep what the links in that folder lead to",
        "plxnix gc --dry-run --verbose     what is kept, and why",
    ),
)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option(
    "--older-than",
    metavar="AGE",
    callback=_read_by(parse_duration),
    help="Only what was not used for that long: 12h, 30d, 2w.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=_read_by(parse_size),
    help="Only the oldest, until the store is not greater: 500M, 10G.",
)
@click.option("--keep", metavar="REF", multiple=True, help="Keep this too. May be repeated.")
@click.option(
    "--links",
    metavar="FOLDER",
    multiple=True,
    help="Keep what links in this folder, or below it, lead to. May be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Go on if nothing at all is kept.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before deleting everything.")
@json_option
@pass_session
def gc(
    session: Session,
    dry_run: bool,
    older_than: float | None,
    max_size: int | None,
    keep: tuple[str, ...],
    links: tuple[str, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete the realizations that no root reaches, and derivations that nothing needs.

    A root is a link that `plxnix realize --out-link` or `plxnix link` made; with it goes all that
    its realization was made from. `plxnix roots` lists them. Waits until nobody realizes anything
    in the store.
    """
    store = session.store()
    drefs, kept = linked(store, links)
    kept += [rref for text in keep for rref in _rrefs(store, text)]
    plan = plan_gc(store, kept, older_than, max_size, everything, drefs)
    if not plan.kept and plan.deleted and not dry_run and not yes:
        count = counted(len(plan.deleted), "realization")
        session.confirm(f"delete all of {store.root}, {count}?")
    if not dry_run:
        plan = collect(store, plan, session.console.say)
    if as_json:
        session.console.json(_plan_value(plan, dry_run))
        return
    for rref, reason in plan.kept.items():
        session.console.detail(f"kept {rref}: {reason}")
    session.console.table(
        ["NAME", "REALIZATION", "SIZE>", "LAST USED"],
        [
            (
                garbage.rref.name,
                Cell(garbage.rref.rhash[:12], garbage.rref),
                Cell(size_text(garbage.size), str(garbage.size)),
                age_text(garbage.used),
            )
            for garbage in plan.deleted
        ],
    )
    session.console.say(
        f"{'would free' if dry_run else 'freed'} {size_text(plan.freed)}: "
        f"{counted(len(plan.deleted), 'realization')}, {counted(len(plan.drefs), 'derivation')}; "
        f"{len(plan.kept)} kept"
    )


@command(
    "verify",
    "Find damage in the store.",
    examples=(
        "plxnix verify",
        "plxnix verify report train",
    ),
)
@reference_argument("references", "[REF...]", required=False, many=True)
@json_option
@pass_session
def verify(session: Session, references: tuple[str, ...], as_json: bool) -> None:
    """Read everything in the store again and print a line for each damage; change nothing.

    With REF only these realizations are read. The exit status is 1 if anything is damaged.
    """
    store = session.store()
    rrefs = None
    if references:
        rrefs = list(dict.fromkeys(rref for text in references for rref in _rrefs(store, text)))
    with Watch(session, "verifying") as watch:
        damages = list(find_damage(store, rrefs, watch))
    if as_json:
        session.console.json([_damage_value(damage) for damage in damages])
    else:
        session.console.lines(f"{damage.kind}: {damage.message}" for damage in damages)
    serious = sum(not damage.harmless for damage in damages)
    session.console.say(
        f"checked {counted(watch.total, 'realization')}: "
        + (f"{serious} damaged" if serious else "no damage")
    )
    if serious:
        raise click.exceptions.Exit(1)


def _rrefs(store: Store, text: str) -> list[RRef]:
    """Return the realizations that a reference stands for, all of those of a derivation."""
    return [
        rref
        for found in resolve_reference(store, text)
        for rref in ([found] if isinstance(found, RRef) else store.realizations(found))
    ]


def _plan_value(plan: GcPlan, dry_run: bool) -> dict[str, Any]:
    return {
        "deleted": not dry_run,
        "realizations": [
            {"rref": one.rref, "size": one.size, "used": one.used} for one in plan.deleted
        ],
        "drefs": plan.drefs,
        "freed": plan.freed,
        "kept": dict(plan.kept),
    }


def _damage_value(damage: Damage) -> dict[str, Any]:
    return {
        "kind": damage.kind,
        "path": damage.path,
        "message": damage.message,
        "dref": damage.dref,
        "rref": damage.rref,
        "harmless": damage.harmless,
    }


__all__ = ["gc", "verify"]
