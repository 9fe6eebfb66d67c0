"""The options and arguments that the commands of `lock` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from plxnix.builders.download import redact
from plxnix.errors import PlxnixError
from plxnix.locking.file import LOCK, LockFile
from plxnix.locking.source import LockedSource

lock_option = click.option(
    "--lock", "path", metavar="FILE", default=LOCK, help=f"The lock; default: {LOCK}."
)
version_option = click.option(
    "--version", metavar="VERSION", help="What stands for {version} in the URLs."
)
replace_option = click.option("--replace", "replacing", is_flag=True, help="Replace what is there.")


def names_argument(required: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Take names of sources."""
    metavar = "NAME..." if required else "[NAME]..."
    return click.argument(
        "names", metavar=metavar, nargs=-1, required=required, shell_complete=complete
    )


def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete names of sources; nothing goes wrong where there is no lock."""
    del parameter
    try:
        found = LockFile(context.params.get("path") or LOCK)
    except (PlxnixError, OSError):
        return []
    return [name for name in found.sources if name.startswith(begun)]


def shown_value(source: LockedSource) -> dict[str, Any]:
    """Return what JSON says of a source."""
    value = source.value()
    return {**value, "urls": [redact(url) for url in source.sources], "name": source.name}
