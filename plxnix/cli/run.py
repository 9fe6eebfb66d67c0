"""`run` and `shell`: commands in environments of Python packages, and in realizations."""

from __future__ import annotations

import os

import click

from plxnix.cli.env_inputs import collisions_option
from plxnix.cli.environments import of_packages, of_place, python_option
from plxnix.cli.places import find_place
from plxnix.cli.session import Command, Session, command, latest_option, pass_session
from plxnix.pyenv import running

_refresh_option = click.option(
    "--refresh", is_flag=True, help="Resolve packages again, and do not take what was found before."
)


class _Before(Command):
    """A command whose arguments after `--` are kept apart, as `ctx.meta["after"]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments at the first `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["after"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@command(
    "run",
    "plxnix run --env ./env -- python -c 'import numpy'",
    "plxnix run --env stages.py:environment python",
    "plxnix run -p ruff -- ruff check .",
)
@click.option("--env", "where", metavar="ENV", help="A folder with a lock, a lock, or a TARGET.")
@click.option(
    "-p", "--package", "packages", metavar="NAME", multiple=True, help="A package; no ENV is used."
)
@python_option
@collisions_option
@_refresh_option
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_session
def run(
    session: Session,
    where: str | None,
    packages: tuple[str, ...],
    python: str | None,
    collisions: tuple[str, ...],
    refresh: bool,
    words: tuple[str, ...],
) -> int:
    """Run a command in a Python environment; the exit status is that of the command.

    What is not there yet is fetched and made; it stays in the store while the command runs. The
    environment is that of the folder here if none is named.
    """
    if packages and where is not None:
        raise click.UsageError("--env and -p exclude each other")
    if packages:
        found = of_packages(session, packages, python, refresh, collisions)
    elif collisions:
        raise click.UsageError("--collisions is for packages with -p: a lock has its own")
    else:
        found = of_place(session, where or ".", python)
    with found as tree:
        return running.run(words, running.variables(tree, os.environ))


run.context_settings["allow_interspersed_args"] = False


@click.command(
    "shell",
    cls=_Before,
    examples=(
        "plxnix shell report",
        "plxnix shell -p numpy pandas",
        "plxnix shell -p 'numpy>=2' -- python -c 'import numpy; print(numpy.__version__)'",
    ),
)
@click.argument("words", metavar="[REF[/PATH]]", nargs=-1)
@click.option("-p", "--package", "packages", metavar="NAME...", multiple=True, help="Packages.")
@latest_option
@python_option
@collisions_option
@_refresh_option
@pass_session
def shell(
    session: Session,
    words: tuple[str, ...],
    packages: tuple[str, ...],
    latest: bool,
    python: str | None,
    collisions: tuple[str, ...],
    refresh: bool,
) -> int:
    """Run $SHELL, or COMMAND: in the folder of a realization, or where Python packages are there.

    The exit status is that of the shell. What is in the store is read-only. Which versions a
    request for packages gave is kept, so that the next time gives the same: see --refresh.
    """
    after: list[str] = click.get_current_context().meta["after"]
    program = after or [os.environ.get("SHELL") or "/bin/sh"]
    if packages:
        asked = (*packages, *words)
        with of_packages(session, asked, python, refresh, collisions) as tree:
            return running.run(program, running.variables(tree, os.environ))
    if len(words) != 1:
        raise click.UsageError("name one realization, or packages with -p")
    from plxnix.shell_functions import shell as run_shell

    store = session.store()
    _, place = find_place(store, words[0], latest)
    if after:
        folder = place if os.path.isdir(place) else os.path.dirname(place)
        return running.run(after, os.environ, folder)
    status = run_shell(place, store)
    return status if status >= 0 else 128 - status
