"""`lock`: maintain named fetches in a lock, for Python and Nix alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from plxnix.builders.download import redact
from plxnix.cli.console import Cell
from plxnix.cli.lock_options import (
    complete,
    lock_option,
    names_argument,
    replace_option,
    shown_value,
)
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted
from plxnix.locking.file import LockFile
from plxnix.locking.importing import read_foreign
from plxnix.locking.source import LockedSource

#: How much of a hash is shown where the whole one would be too much.
SHORT = 19


@command("freeze", "plxnix lock freeze hello", "plxnix lock freeze hello --thaw")
@names_argument(required=True)
@click.option("--thaw", is_flag=True, help="Let them be updated again.")
@lock_option
@pass_session
def freeze(session: Session, names: tuple[str, ...], thaw: bool, path: str) -> None:
    """Keep each NAME as it is when the lock is updated."""
    found = LockFile(path)
    wanted = found.select(names)
    found.save({name: replace(one, frozen=not thaw) for name, one in wanted.items()})
    session.console.say(f"{'thawed' if thaw else 'froze'} {', '.join(wanted)}")


@command("show", "plxnix lock show", "plxnix lock show hello --json")
@click.argument("name", required=False, shell_complete=complete)
@lock_option
@json_option
@pass_session
def show(session: Session, name: str | None, path: str, as_json: bool) -> None:
    """List all sources, or only NAME: URL, hash and path in the Nix store."""
    found = LockFile(path).select(() if name is None else (name,))
    if as_json:
        session.console.json({key: shown_value(one) for key, one in found.items()})
        return
    session.console.table(
        ["NAME", "URL", "HASH", "PATH", ""],
        [
            (
                key,
                redact(one.sources[0]),
                Cell(one.hash.sri[:SHORT], one.hash.sri),
                one.predicted,
                "frozen" if one.frozen else "",
            )
            for key, one in found.items()
        ],
    )


@command("rm", "plxnix lock rm hello")
@names_argument(required=True)
@lock_option
@pass_session
def rm(session: Session, names: tuple[str, ...], path: str) -> None:
    """Take each NAME out of the lock; what was fetched stays in the stores."""
    found = LockFile(path)
    wanted = found.select(names)
    found.save(dict.fromkeys(wanted))
    session.console.say(f"removed {', '.join(wanted)}")


@command(
    "import",
    "plxnix lock import npins/sources.json",
    "plxnix lock import _sources/generated.json",
    "plxnix lock import flake.lock --replace",
)
@click.argument("file", type=click.Path(path_type=Path))
@replace_option
@lock_option
@json_option
@pass_session
def import_(session: Session, file: Path, replacing: bool, path: str, as_json: bool) -> None:
    """Take over the sources in FILE: of npins, nvfetcher or a flake, or another lock of plxnix.

    Nothing is downloaded; `plxnix lock verify --refetch` checks what was taken over. What cannot be
    taken over is named, with the reason; the exit status is 1 if nothing was left.
    """
    found = LockFile(path, create=True)
    taken: dict[str, LockedSource | None] = {}
    left: dict[str, str] = {}
    for offer in read_foreign(file):
        if offer.source is None:
            left[offer.name] = offer.reason
        elif offer.name in found.sources and not replacing:
            left[offer.name] = f"{path} has a source of that name; --replace replaces it"
        else:
            taken[offer.name] = offer.source
    found.save(taken)
    if as_json:
        session.console.json({"taken": list(taken), "left": left})
    else:
        session.console.lines(taken)
    for name, reason in left.items():
        session.console.warn(f"{name} was not taken: {reason}")
    session.console.say(f"took {counted(len(taken), 'source')}, left {len(left)}")
    if left and not taken:
        raise click.exceptions.Exit(1)
