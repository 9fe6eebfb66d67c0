"""`graph`: a picture of stages."""

from __future__ import annotations

from pathlib import Path

import click

from plxnix.cli.session import Session, command, pass_session
from plxnix.cli.targets import arguments_option, command_line, load_closure, targets_argument
from plxnix.cli.units import counted, size_text
from plxnix.export.expression import comment
from plxnix.export.output import write_files
from plxnix.export.picture import Box, Picture
from plxnix.model import DRef
from plxnix.realize.plan import PlannedStage, make_plan
from plxnix.realize.registry import Closure
from plxnix.recipes.lowering import why_pinned

#: Formats, by the ends of names of files.
_FORMATS = {".svg": "svg", ".mmd": "mermaid", ".dot": "dot", ".gv": "dot"}


@command(
    "graph",
    "plxnix graph experiment.py:plot -o graph.svg",
    "plxnix graph experiment.py:plot -a rate=0.1 --format mermaid",
)
@targets_argument
@arguments_option
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["svg", "mermaid", "dot"]),
    help="What to write. Default: what the end of FILE says; svg without FILE.",
)
@click.option("-o", "--output", metavar="FILE", help="Default: standard output.")
@pass_session
def graph(
    session: Session,
    targets: tuple[str, ...],
    arguments: dict[str, str],
    form: str | None,
    output: str | None,
) -> None:
    """Draw the stages of TARGET: what is made from what, and what there is. Nothing is run.

    Fetches are blue, what Nix can build is green, and what Python makes is yellow; what a
    realization would run has a dashed border. Where several results exist, it is said how many of
    them are selected. In a browser, a stage's tooltip has its reference.
    """
    form = form or _FORMATS.get(Path(output or "x.svg").suffix)
    if form is None:
        raise click.UsageError(f"{output!r} does not end in {', '.join(_FORMATS)}: give --format")
    closure = load_closure(session, targets, arguments)
    boxes = {str(stage.dref): _box(closure, stage) for stage in make_plan(closure, frozenset())}
    arrows = [
        (str(needed), str(dref))
        for dref, derivation in closure.derivations.items()
        for needed in derivation.config.dependencies
    ]
    picture = Picture(boxes, arrows, comment(command_line(targets, arguments, "graph")))
    text: str = getattr(picture, form)()
    if output is None:
        session.console.text(text)
        return
    write_files({Path(output): text})
    session.console.say(f"wrote {output}: {counted(len(boxes), 'stage')}")


def _box(closure: Closure, stage: PlannedStage) -> Box:
    dref, store = DRef(stage.dref), closure.store
    derivation = closure.derivations[dref]
    kind = "derivation"
    if why_pinned(derivation):
        kind = "pin"
    elif {"hash", "outputHash"} & {*derivation.config}:
        kind = "fixed-output"
    if stage.would_run:
        return Box(closure.labels[dref], kind, "would run", f"{dref}\n{stage.reason}", faint=True)
    count = len(store.realizations(dref))
    more = f"{len(stage.rrefs)} of {counted(count, 'result')}"
    if count == len(stage.rrefs) == 1:
        record = store.readable_record(stage.rrefs[0])
        more = size_text(record.nar_size) if record is not None else "damaged"
    return Box(closure.labels[dref], kind, more, "\n".join((dref, *stage.rrefs)))
