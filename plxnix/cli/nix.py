"""`nix`: what passes between the native store and the Nix store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.out_links import check_link, numbered, out_link_option
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.targets import arguments_option, command_line, load_closure, targets_argument
from plxnix.cli.units import counted
from plxnix.errors import NotInStore
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import Handed, add_graph
from plxnix.export.handover import add as add_realization
from plxnix.export.importing import import_graph, import_realizations
from plxnix.export.status import VALID, Status
from plxnix.export.status import status as find_status
from plxnix.model import RRef
from plxnix.nix import tools
from plxnix.references import resolve_reference
from plxnix.store import Store

_targets_option = click.option(
    "-t",
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    help="All that an export of TARGET needs. May be repeated.",
)


def _results_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what says which results go into the Nix store."""
    link = out_link_option("the result in the Nix store", "Nix's garbage collection")
    named = reference_argument("references", "[REF]...", required=False, many=True)
    for option in (json_option, link, arguments_option, _targets_option, named):
        function = option(function)
    return function


@command("add", "plxnix nix add --target experiment.py:plot", "plxnix nix add 3fa9c1")
@_results_options
@pass_session
def add(
    session: Session,
    references: tuple[str, ...],
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    out_link: str | None,
    as_json: bool,
) -> None:
    """Put realizations into the Nix store, at the paths where an export looks for them.

    That is the path of the fetch for a fetched file, and the path of its pin for all else.

    With --target, that is all pins which the export of TARGET needs, and its fetches as far as they
    are realized. Prints the store paths.
    """
    _check(references, targets, out_link)
    store = session.store()
    handed = [add_realization(store, rref) for rref in _realizations(session, store, references)]
    if targets:
        handed += add_graph(ExportGraph(load_closure(session, targets, arguments)))
    _finish(session, handed, [one.path for one in handed], out_link, as_json)


@command(
    "import",
    "plxnix nix import --target package.py:hello",
    "plxnix nix import 3fa9c1 --out-link hello",
)
@_results_options
@pass_session
def import_(
    session: Session,
    references: tuple[str, ...],
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    out_link: str | None,
    as_json: bool,
) -> None:
    """Put built results into the Nix store, at the paths where Nix would build them.

    A REF goes with all that it refers to. With --target, that is all that TARGET was made from, its
    derivations, fetches and pins too, so that `nix-build` of its export builds nothing.

    Only results which are claimed to have the bytes of Nix are taken: those made in the sandbox of
    such. Where Nix has a daemon, it has to trust you. Prints the store paths.
    """
    _check(references, targets, out_link)
    store = session.store()
    rrefs = _realizations(session, store, references)
    handed = import_realizations(store, rrefs) if rrefs else []
    tops = [one.path for one in handed if one.rref in rrefs]
    if targets:
        graph = ExportGraph(load_closure(session, targets, arguments))
        handed += import_graph(graph)
        tops += [
            graph.instantiation.path(item.node, output)
            for items in graph.targets.values()
            for item in items
            for output in item.node.outputs
        ]
    _finish(session, handed, tops, out_link, as_json)


@command("status", "plxnix nix status package.py:hello")
@targets_argument
@arguments_option
@json_option
@pass_session
def status(
    session: Session, targets: tuple[str, ...], arguments: dict[str, Any], as_json: bool
) -> None:
    """Show for each stage of TARGET what exists in the native store and in the Nix store.

    The paths are those of an export with the toolchain host. REALIZED says how many results are
    selected, of how many where those are more; IDENTICAL says whether the result has the bytes of
    Nix, as far as plxnix claims it, and NEXT what brings it into the Nix store.
    """
    overview = find_status(
        load_closure(session, targets, arguments), command_line(targets, arguments)
    )
    if as_json:
        session.console.json(
            [{**asdict(one), "name": one.dref.name, "state": one.state} for one in overview.stages]
        )
    else:
        session.console.table(
            ["STAGE", "KIND", "REALIZED>", "NIX PATH", "IN NIX", "IDENTICAL", "NEXT"],
            [_status_row(one) for one in overview.stages],
        )
    if overview.without_nix:
        session.console.say(f"Nix cannot be asked: {overview.without_nix}")
        return
    there = sum(one.state == VALID for one in overview.stages)
    count = len(overview.stages)
    verb = "is" if count == 1 else "are"
    session.console.say(f"{there} of {counted(count, 'stage')} {verb} in the Nix store")


def _status_row(one: Status) -> list[str | Cell]:
    count = str(one.realized)
    if one.realized and len(one.selected) != one.realized:
        count = f"{len(one.selected)} of {count}"
    paths = [place.path for place in one.places]
    # The folder is always the same, and so is the end of the name: that of the stage.
    more = f" +{len(paths) - 1}" if len(paths) > 1 else ""
    short = paths[0].rpartition("/")[2][:12] + more if paths else ""
    return [
        Cell(one.dref.name, one.dref),
        one.kind,
        Cell(count, str(one.realized)),
        Cell(short, " ".join(paths)),
        one.state,
        "" if one.identical is None else "yes" if one.identical else "no",
        one.next,
    ]


def _check(references: tuple[str, ...], targets: tuple[str, ...], out_link: str | None) -> None:
    if not references and not targets:
        raise click.UsageError("name a realization, or a --target")
    check_link(out_link)


def _realizations(session: Session, store: Store, references: tuple[str, ...]) -> list[RRef]:
    """Return what is named, which stays there until the command ends."""
    found = []
    for text in references:
        for one in resolve_reference(store, text):
            if not isinstance(one, RRef):
                raise NotInStore(
                    f"{one} is a derivation, not a realization", "`plxnix ls` lists realizations"
                )
            found.append(one)
    session.keep(store, {rref.dref for rref in found})
    return found


def _finish(
    session: Session, handed: list[Handed], tops: list[str], out_link: str | None, as_json: bool
) -> None:
    """Make links to the `tops`, print what is there now and say how much is new."""
    for link, path in numbered(out_link, dict.fromkeys(tops)):
        tools.add_root(path, link)
    if as_json:
        session.console.json(
            [
                {"rref": one.rref, "path": one.path, "added": one.fresh, "other": one.other}
                for one in handed
            ]
        )
    else:
        session.console.lines(dict.fromkeys(one.path for one in handed))
    for one in handed:
        if one.other:
            session.console.warn(
                f"Nix has built {one.path} itself, with other bytes than {one.rref}: "
                f"`plxnix check` shows what is not the same each time"
            )
    paths = {one.path: one.fresh for one in handed}
    fresh = sum(paths.values())
    if not fresh:
        session.console.say(f"all {counted(len(paths), 'path')} were in the Nix store")
    else:
        session.console.say(f"added {fresh} to the Nix store, {len(paths) - fresh} were there")
