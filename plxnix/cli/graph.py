"""`tree` and `du`: what was made from what, and how much space it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import TypeAlias, TypeVar

import click

from plxnix.cli.branches import branches
from plxnix.cli.cells import name_cells, size_cell
from plxnix.cli.console import Cell
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import age_text, counted, size_text
from plxnix.errors import CorruptEntry, NotInStore
from plxnix.model import DRef, RRef
from plxnix.references import Reference, resolve_one, resolve_reference
from plxnix.store import Store

T = TypeVar("T")

#: What each reference was made from, or would be: a realization where one was selected.
Edges: TypeAlias = dict[Reference, list[Reference]]

#: How many rows `du` shows if it is not told.
ROWS = 20


@command("tree", "plxnix tree", "plxnix tree report", "plxnix tree rref:5c4de0aa --depth 2")
@reference_argument(metavar="[REF]", required=False)
@click.option(
    "--depth", metavar="N", type=click.IntRange(0), help="How many levels below the top are drawn."
)
@json_option
@pass_session
def tree(session: Session, reference: str | None, depth: int | None, as_json: bool) -> None:
    """Draw which realizations a realization was made from, and those from which, and so on.

    For a derivation all its realizations are drawn; one that is not realized is drawn with what it
    depends on. Without REF it is the whole store. What was drawn before is marked (*) and not drawn
    again.
    """
    store = session.store()
    if reference is None:
        edges = _reached(_all(store), partial(_direct, store))
        tops = _tops(edges)
    else:
        tops = [one for found in resolve_reference(store, reference) for one in _runs(store, found)]
        edges = _reached(tops, partial(_direct, store))
    if as_json:
        # Not nested: a graph in which much is shared would grow without bounds.
        session.console.json({"tops": tops, "made_from": edges})
        return
    if not tops:
        session.console.say("there is nothing in the store")
    session.console.lines(branches(tops, edges, partial(_label, store), depth))


@command(
    "du",
    "plxnix du",
    "plxnix du report                 it, and all it was made from",
    "plxnix du --sort closure -n 0    all of them",
    "plxnix du --tree report          what it was made from, with sizes",
)
@reference_argument(metavar="[REF]", required=False)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["own", "closure"]),
    default="own",
    help="By own size, or by that with all below it (slow with many thousands).",
)
@click.option(
    "-n",
    "--rows",
    metavar="N",
    type=click.IntRange(0),
    default=ROWS,
    show_default=True,
    help="How many rows are printed; 0 for all.",
)
@click.option(
    "--tree",
    "as_tree",
    is_flag=True,
    help="Draw it as `plxnix tree` does, each with all below it, the greatest first.",
)
@json_option
@pass_session
def du(
    session: Session, reference: str | None, order: str, rows: int, as_tree: bool, as_json: bool
) -> None:
    """Show the size of realizations, the greatest first: their own, and with all below them.

    With REF only those are shown that it was made from, and itself. Sizes are those of NAR
    archives, as Nix counts them.
    """
    store = session.store()
    start = _all(store) if reference is None else _runs(store, resolve_one(store, reference))
    edges = {
        rref: [one for one in below if isinstance(one, RRef)]
        for rref, below in _reached(start, partial(_direct, store)).items()
        if isinstance(rref, RRef)
    }
    sizes = {
        rref: record.nar_size if (record := store.readable_record(rref)) is not None else 0
        for rref in edges
    }
    total = sum(sizes.values())
    said = f"{size_text(total)} in {counted(len(sizes), 'realization')}"

    @cache
    def closure(rref: RRef) -> int:
        return sum(sizes[one] for one in _reached([rref], edges.__getitem__))

    if as_tree and not as_json:
        session.console.lines(_sized(edges, sizes, closure))
        session.console.say(said)
        return
    weight = closure if order == "closure" else sizes.__getitem__
    shown = sorted(sizes, key=lambda rref: (-weight(rref), -sizes[rref], rref))[: rows or None]
    if as_json:
        session.console.json(
            {
                "total": total,
                "count": len(sizes),
                "realizations": [
                    {"rref": rref, "size": sizes[rref], "closure_size": closure(rref)}
                    for rref in shown
                ],
            }
        )
        return
    names = name_cells(store, (rref.dref for rref in shown), session.console.drawing)
    session.console.table(
        ["OWN>", "CLOSURE>", "NAME", "REALIZATION"],
        [
            (
                size_cell(sizes[rref]),
                size_cell(closure(rref)),
                names[rref.dref],
                Cell(rref.short, rref),
            )
            for rref in shown
        ],
    )
    left = len(sizes) - len(shown)
    session.console.say(said + (f"; {left} of them not shown (-n 0 shows all)" if left else ""))


def _sized(
    edges: Mapping[RRef, list[RRef]], sizes: Mapping[RRef, int], closure: Callable[[RRef], int]
) -> Iterator[str]:
    """Return the lines of a tree with sizes: of each with all below it, and its own."""

    def by_size(rrefs: Iterable[Reference]) -> list[Reference]:
        return sorted(rrefs, key=lambda one: (-closure(RRef(one)), one))

    def label(one: Reference) -> str:
        rref = RRef(one)
        size, own = size_text(closure(rref)), size_text(sizes[rref])
        return f"{rref.name}  {rref.short}  {size}, {own} of its own"

    ordered: Edges = {rref: by_size(below) for rref, below in edges.items()}
    return branches(by_size(_tops(ordered)), ordered, label)


def _runs(store: Store, found: Reference) -> list[Reference]:
    """Return the realizations that a reference stands for, or itself if there are none."""
    if isinstance(found, RRef):
        return [found]
    return [*store.realizations(found)] or [found]


def _all(store: Store) -> list[Reference]:
    return [one for dref in store.derivations() for one in _runs(store, dref)]


def _reached(start: Iterable[T], below: Callable[[T], list[T]]) -> dict[T, list[T]]:
    """Return the edges of all that is reached from `start`."""
    edges: dict[T, list[T]] = {}
    waiting = list(start)
    while waiting:
        one = waiting.pop()
        if one not in edges:
            edges[one] = below(one)
            waiting.extend(edges[one])
    return edges


def _direct(store: Store, one: Reference) -> list[Reference]:
    """Return what a reference was made from, or would be; nothing for a damaged entry."""
    try:
        if isinstance(one, RRef):
            context = store.record(one).context
            return [rref for dref in sorted(context, key=_by_name) for rref in context[dref]]
        return sorted(store.config(one).dependencies, key=_by_name)
    except (CorruptEntry, NotInStore):
        return []


def _by_name(one: Reference) -> tuple[str, str]:
    return one.name, one


def _tops(edges: Mapping[Reference, list[Reference]]) -> list[Reference]:
    below = {one for some in edges.values() for one in some}
    # A realized derivation is there only for what would be made from it.
    below |= {one.dref for one in edges if isinstance(one, RRef)}
    return sorted((one for one in edges if one not in below), key=_by_name)


def _label(store: Store, one: Reference) -> str:
    if isinstance(one, DRef):
        count = len(store.realizations(one))
        said = counted(count, "realization") if count else "not realized"
        return f"{one.name}  {one.short}  ({said})"
    record = store.readable_record(one)
    if record is None:
        return f"{one.name}  {one.short}  (damaged: see plxnix verify)"
    return f"{one.name}  {one.short}  {size_text(record.nar_size)}, {age_text(record.started)}"
