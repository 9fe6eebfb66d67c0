"""`nix`: what passes between the native store and the Nix store."""

from __future__ import annotations

from typing import Any

import click

from plxnix.cli.export import load_closure
from plxnix.cli.realize import arguments_option
from plxnix.cli.session import Command, Session, json_option, pass_session
from plxnix.errors import NotInStore
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import Handed, add_graph
from plxnix.export.handover import add as add_realization
from plxnix.model import RRef
from plxnix.references import resolve_reference


@click.group("nix", short_help="Pass results to the Nix store.")
def nix() -> None:
    """Pass results to the Nix store."""


@nix.command(
    "add",
    cls=Command,
    short_help="Put results into the Nix store.",
    examples=("plxnix nix add --target experiment.py:plot", "plxnix nix add 3fa9c1"),
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option(
    "-t", "--target", "targets", metavar="TARGET", multiple=True, help="All that an export needs."
)
@arguments_option
@json_option
@pass_session
def add(
    session: Session,
    references: tuple[str, ...],
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    as_json: bool,
) -> None:
    """Put realizations into the Nix store, at the paths where an export looks for them.

    That is the path of the fetch for a fetched file, and the path of its pin for all else.

    With --target, that is all pins which the export of TARGET needs, and its fetches as far as they
    are realized. Prints the store paths.
    """
    if not references and not targets:
        raise click.UsageError("name a realization, or a --target")
    handed: list[Handed] = []
    store = session.store()
    for text in references:
        for found in resolve_reference(store, text):
            if not isinstance(found, RRef):
                raise NotInStore(
                    f"{found} is a derivation, not a realization", "`plxnix ls` lists realizations"
                )
            handed.append(add_realization(store, found))
    if targets:
        handed += add_graph(ExportGraph(load_closure(session, targets, arguments)))
    if as_json:
        session.console.json(
            [{"rref": one.rref, "path": one.path, "added": one.fresh} for one in handed]
        )
    else:
        session.console.lines(dict.fromkeys(one.path for one in handed))
    fresh = sum(one.fresh for one in handed)
    session.console.say(f"added {fresh} to the Nix store, {len(handed) - fresh} were there")
