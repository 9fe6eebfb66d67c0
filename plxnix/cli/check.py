"""`check`: build stages again, and with Nix, and compare the bytes."""

from __future__ import annotations

from typing import Any

import click

from plxnix.checking import NIX_CHOICES, Built, Check, Checked
from plxnix.cli.console import Cell
from plxnix.cli.failures import report_failure
from plxnix.cli.progress import Progress, talking
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.targets import arguments_option, command_line, load_closure, targets_argument
from plxnix.cli.units import counted, duration_text, size_text
from plxnix.errors import PlxnixError

#: How many further paths that differ are named.
OTHERS = 5


@command(
    "check",
    "plxnix check package.py:hello",
    "plxnix check package.py:hello --all --nix off",
    "plxnix check experiment.py:train -a rate=0.1 --keep both",
)
@targets_argument
@arguments_option
@click.option(
    "--all", "--recursive", "everything", is_flag=True, help="Check all that the targets need, too."
)
@click.option(
    "--nix",
    type=click.Choice(NIX_CHOICES),
    default="auto",
    help="Whether to build with Nix: where it is present (auto), always, or never.",
)
@click.option("--keep", metavar="FOLDER", help="Keep both trees of each stage below FOLDER.")
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "on", "off"]),
    help="Run commands in a sandbox; else PLXNIX_SANDBOX, else auto.",
)
@json_option
@pass_session
def check(
    session: Session,
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    everything: bool,
    nix: str,
    keep: str | None,
    sandbox: str | None,
    as_json: bool,
) -> None:
    """Build each TARGET twice, and with Nix where that is present, and compare the results.

    What TARGET depends on is realized as usual; what is built here is not put into the store. What
    the store has of TARGET is compared as well. The exit status is 1 if something differs: then the
    first path that does is shown, with what differs there.
    """
    progress = Progress(session.console)
    closure = load_closure(session, targets, arguments)
    checked: list[Checked] = []
    failure: PlxnixError | OSError | None = None
    try:
        with talking(session.console, progress):
            work = Check(closure, everything, progress, sandbox, nix, keep)
            for one in work.run():
                checked.append(one)
    except (PlxnixError, OSError) as error:
        failure = error
    if as_json and failure is None:
        session.console.json([_value(one) for one in checked])
    elif not as_json:
        _show(session, checked)
    for one in checked:
        _report(session, one, nix)
    if failure is not None:
        again = command_line(targets, arguments)
        report_failure(session, closure.store, progress, failure, again)
    if failure is not None or not all(one.same for one in checked):
        raise click.exceptions.Exit(1)


def _show(session: Session, checked: list[Checked]) -> None:
    """Draw a table: one line for each result of each stage."""
    session.console.table(
        ["STAGE", "BUILT BY", "TOOK>", "SIZE>", "NAR HASH", ""],
        [
            (
                Cell(one.dref.name, one.dref),
                _builder(built, one),
                Cell(_took(built), "" if built.seconds is None else f"{built.seconds:.3f}"),
                Cell(size_text(built.size), str(built.size)),
                built.hash,
                "differs" if built.difference is not None else "",
            )
            for one in checked
            for built in one.builds
        ],
    )


def _builder(built: Built, one: Checked) -> str:
    several = len({other.output for other in one.builds}) > 1
    name = _named(built)
    if built.builder == "nix" and sum(other.builder == "nix" for other in one.builds) > 1:
        return f"nix: {built.path.rpartition('/')[2][33:]}"
    return f"{name} ({built.output + 1})" if several else name


def _named(built: Built) -> str:
    return "the store" if built.builder == "store" else built.builder


def _took(built: Built) -> str:
    return "" if built.seconds is None else duration_text(built.seconds)


def _report(session: Session, one: Checked, nix: str) -> None:
    """Say in a line that all is the same, or show the first path that differs and how."""
    name = one.dref.name
    if one.known:
        session.console.say(f"{name}: not built again: {one.without_nix}")
        return
    if one.without_nix and nix != "off":
        session.console.say(f"{name}: not built with Nix: {one.without_nix}")
    if one.failed:
        session.console.error(f"{name}: {one.failed}")
    different = [built for built in one.builds if one.matters(built)]
    if not different:
        if one.failed:
            return
        if any(built.difference is not None for built in one.builds):
            what = f"differs from others, as it may: {one.free}"
        else:
            what = "the same bytes each time"
        session.console.say(f"{name}: {what}")
        return
    first = different[0]
    if first.difference is None:
        return
    change, count = first.difference.first, first.difference.count
    details = list(first.difference.lines)
    others = [other.path for other in first.difference.changes[1 : OTHERS + 1]]
    if count > 1:
        more = f", and {count - 1 - len(others)} more" if count - 1 > len(others) else ""
        details.append(f"{counted(count, 'path')} differ; the others: {', '.join(others)}{more}")
    if one.free:
        details.append(f"it may: {one.free}; its results compete, and its matcher chooses")
    again = "the second time" if first.builder == "native again" else f"that of {_named(first)}"
    session.console.error(
        f"{name} is not the same: {change.path or 'the result'} {change.said} "
        f"(first here, then {again})",
        first.difference.hint,
        details,
    )


def _value(one: Checked) -> dict[str, Any]:
    return {**vars(one), "same": one.same, "builds": [_built_value(built) for built in one.builds]}


def _built_value(built: Built) -> dict[str, Any]:
    value = {
        **vars(built),
        "seconds": None if built.seconds is None else round(built.seconds, 3),
        "path": built.path or None,
    }
    found = built.difference
    if found is not None:
        value["difference"] = {
            "path": found.first.path,
            "kind": found.first.kind,
            "said": found.first.said,
            "offset": found.offset,
            "lines": list(found.lines),
            "count": found.count,
            "paths": [{"path": one.path, "kind": one.kind} for one in found.changes],
            "hint": found.hint,
        }
    return value
