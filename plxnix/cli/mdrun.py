"""`mdrun`: evaluate the code in Markdown documents."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plxnix.cli.progress import Progress
from plxnix.cli.session import Session, command, pass_session
from plxnix.cli.units import counted
from plxnix.errors import InvalidValue

if TYPE_CHECKING:
    from plxnix.store import Store


@command(
    "mdrun",
    "plxnix mdrun tutorial.md tutorial-with-outputs.md",
    "plxnix mdrun --in-place tutorial.md",
    "plxnix mdrun docs/quickstart.md - | less",
)
@click.argument("document", metavar="IN.md")
@click.argument("output", metavar="[OUT.md]", required=False)
@click.option("-i", "--in-place", is_flag=True, help="Write the outputs into IN.md itself.")
@click.option("-r", "--restart", is_flag=True, help="Run all sections, whatever is kept of them.")
@click.option(
    "-C", "--directory", metavar="FOLDER", help="Where the sections run; else the current folder."
)
@click.option(
    "--cache",
    metavar="FOLDER",
    help="The store that keeps the results; else plxnix/mdrun in XDG_CACHE_HOME.",
)
@pass_session
def mdrun(
    session: Session,
    document: str,
    output: str | None,
    in_place: bool,
    restart: bool,
    directory: str | None,
    cache: str | None,
) -> None:
    """Run the Python and shell sections of IN.md in order and write OUT.md with their outputs.

    A file named - is standard input or output. Sections share one interpreter. Each is a stage
    that depends on those above it and on the modules that it imports from the folder: what follows
    the first change is run, and the sections above are run again for their state if anything is.

    A comment <!-- mdrun: norun --> in the line above a section leaves it alone,
    <!-- mdrun: raises --> says that it has to fail, <!-- mdrun: reads data.csv --> that it depends
    on that file. What a section prints, the value of its last line and its figures stand below it;
    pictures go to the folder OUT_files.

    Exits with 1 if a section fails; what went wrong then stands below it.
    """
    if (output is None) != in_place or (in_place and document == "-"):
        raise click.UsageError("name OUT.md, or say --in-place")
    # Imported here: that takes as long as all the rest of the command line.
    from plxnix.export.output import write_files
    from plxnix.mdrun import evaluate_document

    place = document if output is None else output
    streamed = place == "-" or (os.path.exists(place) and not os.path.isfile(place))
    pictures = None if streamed else Path(f"{os.path.splitext(place)[0]}_files").absolute()
    if place != "-" and os.path.isdir(place):
        raise InvalidValue(f"{place} is a folder", "name a file for the document")
    folder = Path(directory or os.curdir).absolute()
    if not folder.is_dir():
        raise InvalidValue(f"there is no folder {folder}", "name one with --directory")
    text = _read(document)
    if session.place is not None:
        # Stages in the document use the store that is named; results of sections have their own.
        os.environ["PLXNIX_ROOT"] = os.path.abspath(session.place)
    store = _cache(cache)
    progress = Progress(session.console)
    result = evaluate_document(text, store, folder, pictures, restart, progress)
    if place == "-":
        session.console.data(result.text.encode())
    else:
        write_files({Path(place): result.text})
    session.console.say(
        f"{counted(result.ran, 'section')} ran, {counted(result.kept, 'result')} kept"
    )
    if result.failure is not None:
        session.report(result.failure)
        raise click.exceptions.Exit(1)


def _read(document: str) -> str:
    data = sys.stdin.buffer.read() if document == "-" else Path(document).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidValue(
            f"{document} is not UTF-8: {error.reason} at byte {error.start}", "convert it"
        ) from None


def _cache(folder: str | None) -> Store:
    from plxnix.store import Store

    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Store.init(folder or os.path.join(base, "plxnix", "mdrun"))
