"""`link` and `roots`: ways from the file system to realizations."""

from __future__ import annotations

import click

from plxnix.cli.cells import size_cell
from plxnix.cli.console import Cell
from plxnix.cli.session import (
    Session,
    command,
    json_option,
    latest_option,
    pass_session,
    reference_argument,
)
from plxnix.references import resolve_realization
from plxnix.shell_functions import LINK_FORMAT, linkrrefs
from plxnix.store.roots import roots as find_roots


@command(
    "link",
    "plxnix link report plot results/",
    "plxnix link train --latest --time results/",
    "plxnix link $(plxnix find 'plot*' --newer 1d) plots/",
)
@reference_argument("references", "REF...", many=True)
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False))
@click.option("--time", "withtime", is_flag=True, help="Put the time of the start into names.")
@latest_option
@json_option
@pass_session
def link(
    session: Session,
    references: tuple[str, ...],
    folder: str,
    withtime: bool,
    latest: bool,
    as_json: bool,
) -> None:
    """Make a link to each realization in FOLDER, named by its stage, and print the links.

    They are roots: they keep the realizations from `plxnix gc` until they are removed. A link of
    the same name is replaced.
    """
    store = session.store()
    rrefs = list(dict.fromkeys(resolve_realization(store, text, latest) for text in references))
    links = linkrrefs(rrefs, folder, LINK_FORMAT if withtime else "%(N)s", store)
    if as_json:
        session.console.json(
            [{"link": str(one), "rref": rref} for one, rref in zip(links, rrefs, strict=True)]
        )
    else:
        session.console.lines(map(str, links))


@command("roots", "plxnix roots", "plxnix roots --json")
@json_option
@pass_session
def roots(session: Session, as_json: bool) -> None:
    """List the roots: the links that keep realizations from `plxnix gc`, and what they keep."""
    store = session.store()
    found = [(root, store.readable_record(root.rref)) for root in find_roots(store)]
    if as_json:
        session.console.json(
            [
                {"link": root.path, "rref": root.rref, "size": record.nar_size if record else None}
                for root, record in found
            ]
        )
        return
    session.console.table(
        ["NAME", "REALIZATION", "SIZE>", "LINK"],
        [
            (
                root.rref.name,
                Cell(root.rref.short, root.rref),
                size_cell(record.nar_size) if record else "",
                root.path,
            )
            for root, record in found
        ],
    )
    if not found:
        session.console.say("there are no roots: `plxnix link` makes them")
