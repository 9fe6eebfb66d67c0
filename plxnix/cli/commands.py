"""The tables of commands and groups: which there are, and in which module each is found.

Modules are imported when their command runs, so that the help of all groups stays quick.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any, TypeAlias

import click

from plxnix.cli.session import global_options
from plxnix.version import VERSION

#: Titles of sections of the help; below each its commands, with the module of each below
#: `plxnix.cli`, and its help in short.
Sections: TypeAlias = Mapping[str, Mapping[str, tuple[str, str]]]


class Group(click.Group):
    """A group whose commands are imported when they are used, and listed without that."""

    def __init__(self, name: str, sections: Sections, **attributes: Any) -> None:
        super().__init__(name, **{"params": global_options(hidden=True), **attributes})
        self.sections = sections
        self.places = {name: one for some in sections.values() for name, one in some.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return [*self.places]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command, None if there is none."""
        del ctx
        if cmd_name not in self.places:
            return None
        module, short = self.places[cmd_name]
        function = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        found: click.Command = getattr(import_module(f"plxnix.cli.{module}"), function)
        found.short_help = short
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments start with; an unknown name is a usage error."""
        name = args[0]
        if name == "help":  # help COMMAND is COMMAND --help
            if args[1:]:
                return self.resolve_command(ctx, [*args[1:], "--help"])
            click.echo(ctx.get_help())
            ctx.exit()
        if name not in self.places and not name.startswith("-"):
            meant = ELSEWHERE.get(name, "")
            if meant.split(" ")[0] not in (*self.places, *(p.opts[-1] for p in self.params)):
                meant = next(iter(self.similar(name)), "")
            ctx.fail(f"there is no command {name!r}" + (f"; is it {meant!r}?" if meant else ""))
        return super().resolve_command(ctx, args)

    def similar(self, name: str, cutoff: float = 0.6) -> list[str]:
        """Return the command that a name is a slip of; none if it is like none of them."""
        from difflib import get_close_matches

        return get_close_matches(name, self.places, 1, cutoff)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, without importing any."""
        del ctx
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, short) for name, (_, short) in section.items()])


class FolderGroup(Group):
    """A group whose first word is a command, or else the folder of an environment."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find what the first word is; a slip of a command's name is no folder to be made."""
        name = args[0]
        slip = self.similar(name, 0.75) and not os.path.isdir(name)
        if slip or name in (*self.places, "help"):
            return super().resolve_command(ctx, args)
        from plxnix.cli.env_folder import folder

        return folder.name, folder, args


COMMANDS: Sections = {
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
        "graph": ("picture", "Draw the stages of a target as a picture."),
        "du": ("graph", "Show how much space realizations take."),
        "info": ("about", "Show what is known of the store or of a reference."),
        "find": ("finding", "Find realizations by name, age or config."),
        "diff": ("finding", "Show how two stages or results differ."),
        "shell": ("run", "Run a shell in a realization, or with Python packages."),
    },
    "Fetch": {
        "prefetch": ("prefetch", "Download a file and print its hash."),
        "lock": ("commands", "Maintain named fetches in a lock."),
    },
    "Python environments": {
        "env": ("commands", "Make environments of Python packages."),
        "gen": ("env_folder", "Print an environment of Python packages as Nix."),
        "run": ("run", "Run a command in a Python environment."),
    },
    "Go to Nix": {
        "export": ("export", "Write stages as Nix."),
        "nix": ("commands", "Pass results to the Nix store."),
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
        "store": ("commands", "Bring a store of an older format to the newest one."),
        "verify": ("verifying", "Find damage in the store, and repair it."),
        "why": ("why", "Show what keeps a realization."),
    },
}

#: What other programs call what plxnix has under another name.
ELSEWHERE = {
    "build": "realize",
    "clean": "gc",
    "delete": "rm",
    "develop": "shell",
    "draw": "graph",
    "fetch": "prefetch",
    "list": "ls",
    "make": "realize",
    "remove": "rm",
    "repair": "verify --repair",
    "search": "find",
    "show": "info",
    "version": "--version",
}

lock = Group(
    "lock",
    {
        "Commands": {
            "add": ("lock_fetching", "Add a source."),
            "freeze": ("lock", "Keep sources from being updated."),
            "import": ("lock", "Take over what other programs have locked."),
            "rm": ("lock", "Remove sources."),
            "show": ("lock", "List sources."),
            "update": ("lock_fetching", "Fetch sources again and write down what has changed."),
            "verify": ("lock_fetching", "Compare sources to what is there."),
        }
    },
    help="""Maintain named fetches in a lock, plxnix.lock.json, which Python and Nix read.

    In Python, fetchlock("NAME") is a stage; in Nix, (fromLock { lock = ./plxnix.lock.json;
    }).sources.NAME is the same path.
    """,
)

env = FolderGroup(
    "env",
    {
        "Commands": {
            "lock": ("env", "Resolve requirements and write a lock."),
            "update": ("env", "Take newer versions into a lock."),
            "show": ("env", "List the packages of a lock."),
            "diff": ("env", "Show how two locks differ."),
            "tree": ("env", "Draw which package needs which."),
            "activate": ("env_use", "Print code for a shell to be in an environment."),
            "check": ("env_use", "Check that an environment imports and is whole."),
            "docker": ("env_use", "Write an image of an environment."),
        }
    },
    subcommand_metavar="FOLDER | COMMAND [ARGS]...",
    help="""Make environments of Python packages, locked, the same here and in Nix.

    `plxnix env FOLDER -r requirements.txt` makes a folder that plxnix and Nix know how to use. The
    commands maintain its lock, pylock.toml (PEP 751).
    """,
)

nix = Group(
    "nix",
    {
        "Commands": {
            "add": ("nix", "Put results into the Nix store."),
            "import": ("nix", "Put built results into the Nix store as if Nix had built them."),
            "status": ("nix", "Show what of a target exists where."),
        }
    },
    help="Pass results to the Nix store.",
)

store = Group(
    "store",
    {"Commands": {"migrate": ("about", "Bring a store of an older format to the newest one.")}},
    help="Bring a store of an older format to the newest one.",
)


def _version(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    del parameter
    if value and not context.resilient_parsing:
        click.echo(f"plxnix {VERSION}")
        context.exit()


cli = Group(
    "plxnix",
    COMMANDS,
    params=[
        *global_options(),
        click.Option(
            ["-V", "--version"],
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
