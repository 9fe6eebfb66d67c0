"""`gc`: delete what nothing keeps."""

from __future__ import annotations

from typing import Any

import click

from plxnix.cli.cells import age_cell, size_cell
from plxnix.cli.console import Cell
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted, parse_size, size_text
from plxnix.cli.values import duration, read_by
from plxnix.collecting import collect_garbage
from plxnix.model import RRef, isrref
from plxnix.store import Store
from plxnix.store.gc import GcPlan, collect

#: How many of the realizations that stay a dry run names if it is not told.
KEPT = 20


def _read_bests(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    """Read `FILE:N`, N not 0."""
    found = []
    for value in values:
        file, _, count = value.rpartition(":")
        if not file or not count.removeprefix("-").isdecimal() or int(count) == 0:
            message = f"not a file and a number: {value!r}; write it like accuracy.txt:3"
            raise click.BadParameter(message, context, parameter)
        found.append((file, int(count)))
    return tuple(found)


def _show_kept(session: Session, store: Store, plan: GcPlan) -> None:
    """Say what stays and why; without --verbose, the first of them."""
    limit = len(plan.kept) if session.console.verbose else KEPT
    for rref in list(plan.kept)[:limit]:
        record = store.readable_record(rref)
        size = "damaged" if record is None else size_text(record.nar_size)
        shown = rref if session.console.verbose else f"{rref.name} {rref.short}"
        session.console.say(f"kept {shown}, {size}: {_reason(session, plan.kept[rref])}")
    if len(plan.kept) > limit:
        session.console.say(f"... and {len(plan.kept) - limit} more (--verbose shows all)")


def _reason(session: Session, reason: str) -> str:
    """Shorten the reference that a reason may end with."""
    head, _, last = reason.rpartition(" ")
    if session.console.verbose or not isrref(last):
        return reason
    return f"{head} {RRef(last).name} {RRef(last).short}"


@command(
    "gc",
    "plxnix gc --dry-run",
    "plxnix gc --older-than 30d",
    "plxnix gc --max-size 10G --keep train",
    "plxnix gc --keep-latest 3 --keep-best accuracy.txt:2     of every stage",
    "plxnix gc --links ~/results      keep what the links in that folder lead to",
    "plxnix gc --dry-run --verbose    all that is kept, and why",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option(
    "--older-than",
    metavar="AGE",
    callback=duration,
    help="Only what was not used for that long: 12h, 30d, 2w.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=read_by(parse_size),
    help="Only the oldest, until the store is not greater: 500M, 10G.",
)
@click.option("--keep", metavar="REF", multiple=True, help="Keep this too. May be repeated.")
@click.option(
    "--keep-latest",
    metavar="N",
    type=click.IntRange(1),
    help="Keep the N realizations of each stage that were started last.",
)
@click.option(
    "--keep-best",
    metavar="FILE:N",
    multiple=True,
    callback=_read_bests,
    help="Keep the N of each stage with the greatest number in FILE; with FILE:-N, the smallest. "
    "May be repeated.",
)
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
    keep_latest: int | None,
    keep_best: tuple[tuple[str, int], ...],
    links: tuple[str, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete the realizations that no root reaches, and derivations that nothing needs.

    A root is a link that `plxnix realize --out-link` or `plxnix link` made; with it goes all that
    its realization was made from. `plxnix roots` lists them, and `plxnix why` says which of them
    keeps something. Logs of failures and interrupted downloads go with their stages, or, with
    --older-than, with their age. What running processes work with stays.
    """
    store = session.store()
    plan = collect_garbage(
        store,
        dry_run=True,
        keep=keep,
        keep_latest=keep_latest,
        keep_best=keep_best,
        links=links,
        older_than=older_than,
        max_size=max_size,
        everything=everything,
    )
    if not (plan.kept or plan.refused or dry_run or yes) and plan.deleted:
        count = counted(len(plan.deleted), "realization")
        session.confirm(f"delete all of {store.root}, {count}?")
    if not dry_run:
        plan = collect(store, plan, session.console.say)
    if as_json:
        session.console.json(_plan_value(plan, dry_run))
        return
    if dry_run:
        _show_kept(session, store, plan)
    else:
        for rref, reason in plan.kept.items():
            session.console.detail(f"kept {rref}: {reason}")
    session.console.table(
        ["NAME", "REALIZATION", "SIZE>", "LAST USED"],
        [
            (
                garbage.rref.name,
                Cell(garbage.rref.short, garbage.rref),
                size_cell(garbage.size),
                age_cell(garbage.used),
            )
            for garbage in plan.deleted
        ],
    )
    swept = sum(one.size for one in plan.litter)
    if plan.litter:
        session.console.say(
            f"{'would sweep' if dry_run else 'swept'} {counted(len(plan.litter), 'leftover')} of "
            f"failures, downloads and dead processes, {size_text(swept)}"
        )
    session.console.say(
        f"{'would free' if dry_run else 'freed'} {size_text(plan.freed)}: "
        f"{counted(len(plan.deleted), 'realization')}, {counted(len(plan.drefs), 'derivation')}; "
        f"{len(plan.kept)} kept"
    )
    if plan.refused:
        session.console.warn(
            "nothing keeps any of this: without --dry-run it is refused, unless you say --all"
        )


def _plan_value(plan: GcPlan, dry_run: bool) -> dict[str, Any]:
    return {
        "deleted": not dry_run,
        "realizations": [one._asdict() for one in plan.deleted],
        "drefs": plan.drefs,
        "freed": plan.freed,
        "litter": [one._asdict() for one in plan.litter],
        "kept": dict(plan.kept),
        "refused": plan.refused,
    }
