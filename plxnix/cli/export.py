"""`export`: from targets to Nix."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.progress import Progress, talking
from plxnix.cli.realize import arguments_option, joined, load_targets, targets_argument
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted
from plxnix.export.forms import FORMS, Request, place, render
from plxnix.export.graph import ExportGraph
from plxnix.export.output import write_files


@command(
    "export",
    "Write stages as Nix.",
    examples=(
        "plxnix export experiment.py:plot -o default.nix && nix-build",
        "plxnix export experiment.py:plot --explain",
    ),
)
@targets_argument
@arguments_option
@click.option(
    "-f", "--format", "form", type=click.Choice(list(FORMS)), default="nix", help="What to write."
)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A file; or, with a slash at the end, a folder. Default: standard output.",
)
@click.option("--explain", is_flag=True, help="Only show how each stage is exported, and why.")
@json_option
@pass_session
def export(
    session: Session,
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    form: str,
    output: str | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Write each TARGET, with all that it depends on, as a Nix expression.

    Fetches become fixed-output derivations, commands derivations; what only plxnix can make becomes
    a pin and has to be realized first. The Nix store gets pins by `plxnix nix add`.
    """
    graph = load_graph(session, targets, arguments)
    if explain:
        _explain(session, graph, as_json)
        return
    files = render(form, graph, Request(said_command(targets, arguments, form, output)))
    if output is None:
        if len(files) != 1:
            raise click.UsageError(f"{form} has several files: give a folder, -o FOLDER/")
        session.console.text(*files.values())
        return
    written = place(files, output)
    write_files(written)
    names = ", ".join(map(str, written))
    session.console.say(f"wrote {names}: {counted(len(graph.items), 'derivation')}")


def load_graph(
    session: Session, targets: tuple[str, ...], arguments: dict[str, Any]
) -> ExportGraph:
    """Import the targets and lower them for export."""
    progress = Progress(session.console)
    with talking(session.console, progress):
        closures = load_targets(session, session.store(create=True), targets, arguments)
    return ExportGraph(joined(closures))


def said_command(
    targets: tuple[str, ...], arguments: dict[str, Any], form: str, output: str | None
) -> str:
    """Return the command line that makes the same export again."""
    words = ["plxnix", "export", *targets]
    for name, value in arguments.items():
        words += ["-a", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if form != "nix":
        words += ["--format", form]
    return shlex.join([*words, *(["-o", output] if output else [])])


def _explain(session: Session, graph: ExportGraph, as_json: bool) -> None:
    rows = graph.explain()
    if as_json:
        session.console.json(
            [
                {"dref": row.dref, "kind": row.kind, "reason": row.reason, "rrefs": row.rrefs}
                for row in rows
            ]
        )
        return
    session.console.table(
        ["STAGE", "HASH", "IN NIX", "WHY"],
        [
            (
                row.dref.name,
                Cell(row.dref.dhash[:12], row.dref),
                _kind(row.kind, len(row.rrefs)),
                row.reason,
            )
            for row in rows
        ],
    )


def _kind(kind: str, count: int) -> str:
    return f"{count} pins" if count > 1 else kind
