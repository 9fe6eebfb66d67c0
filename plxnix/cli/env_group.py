"""The group `env`: its commands, wherever they are, and what its first word may be."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from plxnix.cli.session import Command

#: Commands below `env` that are in modules of their own, and what is called for `env FOLDER`.
ELSEWHERE: Final = {
    "activate": ("env_use", "activate"),
    "check": ("env_use", "check"),
    "docker": ("env_use", "docker"),
}
FOLDER: Final = ("env_folder", "folder")


class Group(click.Group):
    """A group whose first word is a command, or else the folder of an environment."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        elsewhere = [name for name in ELSEWHERE if self.get_command(ctx, name) is not None]
        return [*self.commands, *elsewhere]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if it is elsewhere; None if there is none."""
        if cmd_name in ELSEWHERE:
            return _imported(*ELSEWHERE[cmd_name])
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find what the first word is; a slip of a command's name is none of a folder."""
        name = args[0]
        if self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        close = difflib.get_close_matches(name, self.list_commands(ctx), 1, 0.75)
        folder = _imported(*FOLDER)
        if folder is None or (close and not os.path.isdir(name)):
            ctx.fail(f"there is no command {name!r}" + (f"; {close[0]!r}?" if close else ""))
        return folder.name, folder, args


def _imported(module: str, name: str) -> click.Command | None:
    full = f"plxnix.cli.{module}"
    try:
        found = getattr(importlib.import_module(full), name, None)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        return None
    return found if isinstance(found, click.Command) else None


@click.group(
    "env",
    cls=Group,
    short_help="Make environments of Python packages.",
    subcommand_metavar="FOLDER | COMMAND [ARGS]...",
)
def env() -> None:
    """Make environments of Python packages, locked, the same here and in Nix.

    `plxnix env FOLDER -r requirements.txt` makes a folder that plxnix and Nix know how to use. The
    commands maintain its lock, pylock.toml (PEP 751).
    """


def command(
    name: str, short: str, examples: Sequence[str]
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command of the group."""
    return env.command(name, cls=Command, short_help=short, examples=examples)
