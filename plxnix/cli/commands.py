"""The table of commands: which there are, and in which module each is found.

Modules are imported when their command runs, so that `plxnix --help` stays quick.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from plxnix.cli.session import global_options
from plxnix.version import VERSION

#: Sections of the help; for each command its module below `plxnix.cli`, and its help in short.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Make": {
        "init": ("about", "Make a store."),
        "instantiate": ("realize", "Register stages and print their references."),
        "realize": ("realize", "Make what does not exist yet and print the results."),
        "mdrun": ("mdrun", "Evaluate the code in a Markdown document."),
    },
    "Look": {
        "ls": ("listing", "List derivations, realizations or files."),
        "cat": ("reading", "Print a file of a realization."),
        "path": ("reading", "Print where a realization is on the disk."),
        "log": ("reading", "Print what a realizer printed."),
        "tree": ("graph", "Draw what a realization was made from."),
        "du": ("graph", "Show how much space realizations take."),
        "info": ("about", "Show what is known of the store or of a reference."),
        "find": ("finding", "Find realizations by name, age or config."),
        "diff": ("finding", "Show how two stages or results differ."),
        "shell": ("run", "Run a shell in a realization, or with Python packages."),
    },
    "Fetch": {
        "prefetch": ("prefetch", "Download a file and print its hash."),
        "lock": ("lock", "Maintain named fetches in a lock."),
    },
    "Python environments": {
        "env": ("env", "Make environments of Python packages."),
        "gen": ("env_folder", "Print an environment of Python packages as Nix."),
        "run": ("run", "Run a command in a Python environment."),
    },
    "Go to Nix": {
        "export": ("export", "Write stages as Nix."),
        "nix": ("nix", "Pass results to the Nix store."),
    },
    "Carry elsewhere": {
        "copy": ("copying", "Copy realizations into another store."),
        "pack": ("copying", "Write realizations into an archive."),
        "unpack": ("copying", "Bring the realizations of an archive into the store."),
    },
    "Keep in order": {
        "check": ("check", "Build stages twice, and with Nix, and compare the bytes."),
        "gc": ("upkeep", "Delete what no root keeps."),
        "link": ("linking", "Make links to realizations, which keep them."),
        "rm": ("removal", "Delete realizations or derivations."),
        "roots": ("linking", "List the links that keep realizations."),
        "store": ("store", "Bring a store of an older format to the newest one."),
        "verify": ("verifying", "Find damage in the store, and repair it."),
        "why": ("why", "Show what keeps a realization."),
    },
}


class Commands(click.Group):
    """The group of all commands, loaded one by one when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command, None if there is none."""
        del ctx
        for section in COMMANDS.values():
            if cmd_name in section:
                module = importlib.import_module(f"plxnix.cli.{section[cmd_name][0]}")
                found: click.Command = getattr(module, cmd_name)
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments start with; an unknown name is a usage error."""
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, self.list_commands(ctx), 1)
            ctx.fail(f"there is no command {name!r}" + (f"; {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, without importing any."""
        del ctx
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, short) for name, (_, short) in section.items()])


def _version(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    del parameter
    if value and not context.resilient_parsing:
        click.echo(f"plxnix {VERSION}")
        context.exit()


cli = Commands(
    "plxnix",
    params=[
        *global_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Stages of Python programs in an immutable store, which speaks Nix.

    A TARGET is a stage in a file or module: FILE.py:stage, FILE.py, package.module:stage. A REF is
    a reference, four or more digits of its hash, a name that only one derivation has, or a path
    into the store. The global options may be given after the command as well.

    \b
      plxnix realize experiment.py:plot -o plot     make it, and a link to it that keeps it
      plxnix ls                                     what is there
      plxnix COMMAND --help                         more, with examples

    Completion: put eval "$(_PLXNIX_COMPLETE=bash_source plxnix)" into ~/.bashrc, or the same with
    zsh_source into ~/.zshrc; for fish, _PLXNIX_COMPLETE=fish_source plxnix | source.
    """,
)
