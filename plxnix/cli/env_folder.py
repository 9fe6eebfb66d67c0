"""`env FOLDER` and `gen`: environments of Python packages for Nix."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from plxnix.cli.env_inputs import asked, input_options, inputs_of, say_sources
from plxnix.cli.session import Session, command, pass_session
from plxnix.cli.units import counted
from plxnix.pyenv.folder import LOCK, TOOLCHAINS, write_folder
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.lock import EnvironmentLock

_toolchain_option = click.option(
    "--toolchain",
    type=click.Choice(TOOLCHAINS),
    help="Where Nix finds Python: on this machine, or in nixpkgs. Default: as it was, else host.",
)


@command(
    "FOLDER",
    "plxnix env ./env -r requirements.txt",
    "plxnix env ./env -p numpy -p pandas --toolchain nixpkgs",
    "nix-shell ./env --run 'python -c \"import numpy\"'",
)
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False))
@input_options
@_toolchain_option
@click.option("--upgrade", is_flag=True, help="Take newer versions than those of its lock.")
@click.option("--force", is_flag=True, help="Write over files that were edited.")
@pass_session
def folder(
    session: Session,
    /,
    folder: str,
    toolchain: str | None,
    upgrade: bool,
    force: bool,
    **given: Any,
) -> None:
    """Resolve requirements and make FOLDER an environment of them.

    It holds a lock, and what `nix-shell`, `nix-build` and `nix develop` need, and can be copied to
    another machine. Versions that its lock has already stay, as far as they fit. Without
    requirements, those that the lock was made from are taken.
    """
    place = Path(folder)
    path = place / LOCK
    old = EnvironmentLock.read(path) if path.exists() else None
    if asked(given) or old is None:
        made = _resolved(session, inputs_of(place, **given), place, old, upgrade)
    else:
        made = _resolved(session, old.inputs, place, old, True) if upgrade else old
    written = write_folder(place, made, toolchain, force)
    for name in written.kept:
        session.console.warn(f"{place / name} was edited, and is kept: --force writes it anew")
    session.console.say(
        f"{place}: {counted(len(made.pylock.packages), 'package')}; "
        + (f"wrote {counted(len(written.changed), 'file')}" if written.changed else "as it was")
    )
    say_sources(session, made)


@command(
    "gen",
    "plxnix gen -r requirements.txt -o env.nix && nix-build env.nix",
    "plxnix gen -p requests --toolchain nixpkgs",
)
@input_options
@_toolchain_option
@click.option("-o", "--output", metavar="FILE", help="Default: standard output.")
@pass_session
def gen(session: Session, /, toolchain: str | None, output: str | None, **given: Any) -> None:
    """Resolve requirements and print the environment as one expression of Nix.

    It needs no other file. The result is at the path at which it is by `plxnix env`, if the
    toolchain is host.
    """
    from plxnix.export.forms import Request, render
    from plxnix.export.graph import ExportGraph
    from plxnix.export.output import write_files
    from plxnix.pyenv.stage import python_env
    from plxnix.realize.registry import Registry, instantiate
    from plxnix.recipes.toolchain import HOST, NIXPKGS

    here = Path()
    made = _resolved(session, inputs_of(here, **given), here, None, False)
    targets = made.inputs.targets
    if len(targets) > 1:
        raise click.UsageError("an expression is for one platform: `plxnix env` is for several")
    registry = Registry(session.store(create=True))

    def stage() -> Any:
        return python_env(made, targets[0].python, platform=targets[0].platform, registry=registry)

    chosen = NIXPKGS if toolchain == "nixpkgs" else HOST
    graph = ExportGraph(instantiate(stage, registry=registry), chosen)
    (text,) = render("nix", graph, Request(_said(given, chosen.name))).values()
    if output is None:
        session.console.text(text)
        return
    write_files({Path(output): text})
    session.console.say(f"wrote {output}: {counted(len(graph.items), 'derivation')}")
    say_sources(session, made)


def _resolved(
    session: Session, inputs: Inputs, place: Path, old: EnvironmentLock | None, upgrade: bool
) -> EnvironmentLock:
    from plxnix.pyenv.resolving import resolve

    # Nothing is there yet if the folder is new: paths in the lock are seen from it.
    new = not place.exists()
    place.mkdir(parents=True, exist_ok=True)
    try:
        return resolve(inputs, place, old, None if upgrade else (), session.console.warn)
    except BaseException:  # Ctrl-C too: no empty folder stays; it is raised again
        if new:
            with suppress(OSError):  # The failure itself is what the user has to see.
                place.rmdir()
        raise


def _said(given: dict[str, Any], toolchain: str) -> str:
    """Return the command line, without options that are not given."""
    words = ["plxnix", "gen"]
    for option in gen.params:
        value = given.get(option.name or "")
        for one in value if isinstance(value, tuple) else [value] if value else []:
            words += [option.opts[0]] if one is True else [option.opts[0], str(one)]
    return shlex.join([*words, *(["--toolchain", toolchain] if toolchain != "host" else [])])
