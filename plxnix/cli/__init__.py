"""The command line: `plxnix COMMAND`.

Data go to standard output and talk to standard error. The exit status is 0, 1 for an error (one
clear message), 2 for wrong usage, 130 after Ctrl-C, and 141 if the reader of the output went away.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plxnix.errors import PlxnixError

if TYPE_CHECKING:
    import click

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name; return the status."""
    _open_streams()
    import click

    from plxnix.cli.commands import cli
    from plxnix.cli.session import Session
    from plxnix.cli.signals import seen_promptly

    session = Session()
    console = session.console
    try:
        with seen_promptly():
            status = cli.main(
                None if arguments is None else list(arguments),
                prog_name="plxnix",
                standalone_mode=False,
                obj=session,
            )
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            console.talk(error.format_message())
        elif isinstance(error, click.UsageError):
            if error.ctx is not None:
                console.talk(error.ctx.get_usage())
            console.error(error.format_message(), _hint(error))
        else:
            console.error(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        console.error("interrupted")
        _leave_threads(130)
        return 130
    except (PlxnixError, OSError) as error:
        session.report(error)
        return 1
    except Exception as error:  # noqa: BLE001  # a defect: still one clear message
        session.report(error, "this is a defect of plxnix: with --debug it shows where")
        return 1
    return status if isinstance(status, int) else 0


def _hint(error: click.UsageError) -> str:
    """Say where help is; and how a stage gets a value that was taken for an option."""
    from click import NoSuchOption

    if error.ctx is None:
        return "plxnix --help"
    known = {parameter.name for parameter in error.ctx.command.params}
    name = error.option_name.lstrip("-") if isinstance(error, NoSuchOption) else ""
    takes = name.isidentifier() and "arguments" in known
    passed = f"a stage gets a value by -a {name}=VALUE; " if takes else ""
    return f"{passed}{error.ctx.command_path} --help"


def _open_streams() -> None:
    """Let no file get the number of a standard stream that is closed: these are redirected."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest number that is free.


def _leave_threads(status: int) -> None:
    """End the process if stages still run in threads: Python would wait for them.

    That is so after a second Ctrl-C only. What they were at is swept by the next process.
    """
    import sys
    import threading

    if any(thread.name.startswith("plxnix_") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
