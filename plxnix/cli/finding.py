"""`find` and `diff`: choose among realizations, and compare two."""

from __future__ import annotations

from typing import Any

import click

from plxnix.cli.cells import name_cells
from plxnix.cli.console import Cell
from plxnix.cli.places import inside, open_inside
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import age_text, size_text
from plxnix.cli.values import duration, fields
from plxnix.comparison import MISSING, compare_references
from plxnix.errors import NotInStore
from plxnix.model import RRef
from plxnix.references import resolve_one, resolve_realization
from plxnix.shell_functions import find as find_realizations
from plxnix.store import Store


@command(
    "find",
    "plxnix find 'train*' --newer 2d",
    "plxnix find --field rate=0.1 --field model.layers=3",
    "plxnix find 'train*' --show accuracy.txt | sort -k2 -g",
    "plxnix find 'plot*' | xargs plxnix pack -o plots.tar.xz",
)
@click.argument("pattern", metavar="[PATTERN]", required=False)
@click.option("--newer", metavar="AGE", callback=duration, help="Started since then: 12h, 30d, 2w.")
@click.option("--older", metavar="AGE", callback=duration, help="Started before that.")
@click.option(
    "-f",
    "--field",
    "where",
    metavar="FIELD=VALUE",
    multiple=True,
    callback=fields,
    help="The config has this value, JSON or else text, as is 2.10. May be repeated.",
)
@click.option(
    "-s",
    "--show",
    "files",
    metavar="FILE",
    multiple=True,
    help="Show the first line of this file of each, such as its score. May be repeated.",
)
@json_option
@pass_session
def find(
    session: Session,
    pattern: str | None,
    newer: float | None,
    older: float | None,
    where: dict[str, Any],
    files: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the realizations that all criteria fit, in the order in which they were started.

    PATTERN is that of a name, with *, ? and [...]. Into a pipe go whole references, and behind tabs
    what --show asks for.
    """
    store = session.store()
    found = find_realizations(
        pattern, None if newer is None else -newer, None if older is None else -older, where, store
    )
    pairs = [(rref, store.readable_record(rref)) for rref in found]
    if as_json:
        session.console.json(
            [
                {
                    "rref": rref,
                    "path": store.layout.realization(rref),
                    "size": record.nar_size if record else None,
                    "started": record.started if record else None,
                    **(
                        {"files": {file: _head(store, rref, file) for file in files}}
                        if files
                        else {}
                    ),
                }
                for rref, record in pairs
            ]
        )
        return
    heads = {rref: [_head(store, rref, file) or "" for file in files] for rref in found}
    if not session.console.drawing:
        session.console.table([], [(rref, *heads[rref]) for rref in found])
        return
    names = name_cells(store, (rref.dref for rref in found), drawing=True)
    session.console.table(
        ["NAME", "REALIZATION", *files, "SIZE>", "REALIZED"],
        [
            (
                names[rref.dref],
                Cell(rref.short, rref),
                *heads[rref],
                size_text(record.nar_size) if record else "",
                age_text(record.started) if record else "damaged: see plxnix verify",
            )
            for rref, record in pairs
        ],
    )


def _head(store: Store, rref: RRef, file: str) -> str | None:
    """Return the first line of a file of a realization; None if there is no such file."""
    try:
        with open_inside(store, inside(store, rref, file)) as opened:
            lines = opened.read(1000).splitlines()
    except (NotInStore, OSError):
        return None
    return lines[0].decode(errors="surrogateescape") if lines else ""


@command(
    "diff",
    "plxnix diff 5c4de0aa 91d2aa07     configs, and files line by line",
    "plxnix diff train train2 --latest",
)
@reference_argument("before", "REF")
@reference_argument("after", "REF")
@click.option("--latest", is_flag=True, help="Compare the realizations that were started last.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference.")
@json_option
@pass_session
def diff(
    session: Session, before: str, after: str, latest: bool, exit_code: bool, as_json: bool
) -> None:
    """Print which fields of two configs differ, and for two realizations which files.

    A name stands for its derivation; with --latest for the last of its realizations.
    """
    store = session.store()
    found = compare_references(
        store,
        *(
            resolve_realization(store, text, True) if latest else resolve_one(store, text)
            for text in (before, after)
        ),
    )
    if as_json:
        session.console.json(
            {
                "before": found.before,
                "after": found.after,
                "fields": [
                    {
                        "path": field.path,
                        **({} if field.before is MISSING else {"before": field.before}),
                        **({} if field.after is MISSING else {"after": field.after}),
                    }
                    for field in found.fields
                ],
                "files": [
                    {"path": change.path, "kind": change.kind, "lines": list(lines)}
                    for change, lines in found.files
                ],
                "count": found.count,
            }
        )
    else:
        session.console.lines(found.lines())
        if not found:
            session.console.say("there is no difference")
    if exit_code and found:
        raise click.exceptions.Exit(1)
