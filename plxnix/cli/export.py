"""`export`: from targets to Nix."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.targets import arguments_option, load_closure, targets_argument
from plxnix.cli.units import counted
from plxnix.export.forms import FORMS, Request, is_folder, place, render
from plxnix.export.graph import ExportGraph
from plxnix.export.output import write_files
from plxnix.export.toolchain_lock import locked_toolchain
from plxnix.realize.registry import Closure
from plxnix.recipes.toolchain import HOST, NIXPKGS, Toolchain


@command(
    "export",
    "plxnix export experiment.py:plot -o default.nix && nix-build",
    "plxnix export experiment.py:plot --explain",
)
@targets_argument
@arguments_option
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice([*FORMS, "drv"]),
    default="nix",
    help="What to write.",
)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A file; or, with a slash at the end, a folder. Default: standard output.",
)
@click.option(
    "--toolchain",
    type=click.Choice(["nixpkgs", "host", "locked"]),
    help="Where builders find their tools: in the `pkgs` that the export is called with, on this "
    "machine, or in packages that are evaluated now and written down. Default: nixpkgs; for drv "
    "and json, which need to know all paths, host.",
)
@click.option(
    "--nixpkgs", metavar="EXPRESSION", help="The package set to be locked; default: <nixpkgs>."
)
@click.option(
    "--toolchain-lock",
    metavar="FILE",
    default="plxnix.toolchain.json",
    help="The lock of the toolchain 'locked'; default: plxnix.toolchain.json.",
)
@click.option("--split", is_flag=True, help="Write a file for each stage (with -o FOLDER/).")
@click.option("--envrc", is_flag=True, help="Write an .envrc for direnv beside a shell.")
@click.option("--build", is_flag=True, help="Build what --format drv has registered.")
@click.option("--explain", is_flag=True, help="Only show how each stage is exported, and why.")
@json_option
@pass_session
def export(
    session: Session,
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    form: str,
    output: str | None,
    toolchain: str | None,
    nixpkgs: str | None,
    toolchain_lock: str,
    split: bool,
    envrc: bool,
    build: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Write each TARGET, with all that it depends on, as a Nix expression.

    Fetches become fixed-output derivations, commands derivations; what only plxnix can make becomes
    a pin and has to be realized first. The Nix store gets pins by `plxnix nix add`. With the format
    drv nothing is written: the derivations are put into the Nix store without being evaluated.
    """
    for flag, given, forms in (
        ("--split", split, ["nix"]),
        ("--envrc", envrc, ["shell", "flake"]),
        ("--build", build, ["drv"]),
        ("--output", output is not None, FORMS),
    ):
        if given and form not in forms:
            raise click.UsageError(f"{flag} means nothing to --format {form}")
    toolchain = toolchain or ("host" if form in ("drv", "json") else "nixpkgs")
    closure = load_closure(session, targets, arguments)
    chosen, lock = choose_toolchain(toolchain, nixpkgs, Path(toolchain_lock), closure)
    graph = ExportGraph(closure, chosen)
    if explain:
        _explain(session, graph, as_json)
        return
    if form == "drv":
        _register(session, graph, build, as_json)
        write_files(lock)
        return
    command = said_command(
        targets,
        arguments,
        {"--format": form, "-o": output, "--toolchain": toolchain},
        split=split,
        envrc=envrc,
    )
    single = output is None or not is_folder(output)
    if output is not None:
        graph.folder = os.path.abspath(output if not single else os.path.dirname(output))
    files = render(form, graph, Request(command, split, envrc, single))
    if output is None:
        if len(files) != 1:
            raise click.UsageError(f"{form} has several files: give a folder, -o FOLDER/")
        session.console.text(*files.values())
        return
    placed = place(files, output)
    if form == "lock":
        placed = keep_sources(placed)
    written = {**placed, **lock}
    write_files(written)
    names = ", ".join(map(str, written))
    session.console.say(f"wrote {names}: {counted(len(graph.items), 'derivation')}")


def keep_sources(files: dict[Path, str]) -> dict[Path, str]:
    """Return locks that are to be written, with the sources of those that they replace."""
    from plxnix.locking.file import merge_sources

    return {
        path: merge_sources(path.read_text("utf-8", "surrogateescape"), text)
        if path.is_file() and path.stat().st_size
        else text
        for path, text in files.items()
    }


def choose_toolchain(
    name: str, nixpkgs: str | None, path: Path, closure: Closure
) -> tuple[Toolchain, dict[Path, str]]:
    """Return a toolchain, and what has to be written so that it is the same next time."""
    if name != "locked":
        if nixpkgs is not None:
            raise click.UsageError("--nixpkgs is for --toolchain locked")
        return (HOST if name == "host" else NIXPKGS), {}
    toolchain, text = locked_toolchain(path, closure, nixpkgs)
    return toolchain, {path: text}


#: What need not be said, since it is the default.
_DEFAULTS = {"--format": "nix", "--toolchain": "nixpkgs"}


def said_command(
    targets: tuple[str, ...],
    arguments: dict[str, str],
    options: dict[str, str | None],
    **flags: bool,
) -> str:
    """Return the command line that makes the same export again."""
    words = ["plxnix", "export", *targets]
    for name, text in arguments.items():
        words += ["-a", f"{name}={text}"]
    for name, given in options.items():
        if given is not None and _DEFAULTS.get(name) != given:
            words += [name, given]
    return shlex.join([*words, *(f"--{name}" for name, said in flags.items() if said)])


def _register(session: Session, graph: ExportGraph, build: bool, as_json: bool) -> None:
    from plxnix.export import register
    from plxnix.nix import tools

    paths = register.register(graph)
    wanted = register.targets(graph, paths)
    built = tools.build(wanted) if build else []
    if as_json:
        session.console.json({"derivations": paths, "targets": wanted, "built": built})
    else:
        session.console.lines(built or wanted)
    session.console.say(f"registered {counted(len(paths), 'derivation')} in the Nix store")


def _explain(session: Session, graph: ExportGraph, as_json: bool) -> None:
    rows = graph.explain()
    if as_json:
        session.console.json([vars(row) for row in rows])
        return
    session.console.table(
        ["STAGE", "HASH", "IN NIX", "WHY"],
        [
            (
                row.dref.name,
                Cell(row.dref.short, row.dref),
                _kind(row.kind, len(row.rrefs)),
                row.reason,
            )
            for row in rows
        ],
    )


def _kind(kind: str, count: int) -> str:
    return f"{count} pins" if count > 1 else kind
