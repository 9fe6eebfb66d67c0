"""Targets on the command line: the arguments that name stages, and the closures of these."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from plxnix.cli.progress import Progress, talking
from plxnix.cli.session import Session
from plxnix.cli.values import pairs
from plxnix.errors import PlxnixError
from plxnix.realize.registry import Closure, Registry
from plxnix.targets import functions_in, load


def _begun_targets(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete files, and after a colon the functions in them; no file is imported."""
    from click.shell_completion import CompletionItem

    given: tuple[str, ...] = context.params.get(parameter.name or "") or ()
    last, colon = ("", "", *given)[-2:]
    file, joined, typed = begun.partition(":")
    before = f"{file}:"
    if ":" in (colon, begun):  # bash takes a colon for a word of its own
        file, typed, before = (last, begun, "") if colon == ":" else (colon, "", "")
    elif not joined:
        return [CompletionItem(begun, type="file")]
    names = functions_in(Path(file))
    return [CompletionItem(before + name) for name in names if name.startswith(typed)]


targets_argument = click.argument(
    "targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=_begun_targets
)
arguments_option = click.option(
    "-a",
    "--arg",
    "arguments",
    metavar="NAME=VALUE",
    multiple=True,
    callback=pairs,
    help="Pass a value to the stage: JSON, or else text. A parameter for text (x: str, or x='...') "
    "gets it as it is; 2.10 is a number for parameters that take numbers. May be repeated.",
)


def load_closure(session: Session, targets: Sequence[str], arguments: Mapping[str, str]) -> Closure:
    """Import the targets and return the closure of all of them."""
    return joined(load_targets(session, targets, arguments))


def load_targets(
    session: Session, targets: Sequence[str], arguments: Mapping[str, str]
) -> list[Closure]:
    """Import the targets and instantiate their stages, in one registry over the store.

    Nothing of them is garbage until the command ends, so that what is selected is there.
    """
    from plxnix.store import current_storage, current_store

    store = session.store(create=True)
    registry = Registry(store)
    with talking(session.console, Progress(session.console)):
        closures = [load(target, registry, written=arguments) for target in targets]
    for closure in closures:  # A file may have a registry, and a store, of its own.
        session.keep(closure.store, closure.derivations)
    with current_storage(None):
        try:
            other = current_store().root
        except PlxnixError:
            other = store.root
    if other != store.root and session.place is not None:
        session.console.detail(f"the store is {store.root}; fsinit in the file is not followed")
    return closures


def joined(closures: Sequence[Closure]) -> Closure:
    """Join closures; the result maps each target to itself, so that it shows what was selected."""
    targets = tuple(dict.fromkeys(dref for closure in closures for dref in closure.targets))
    derivations = {
        dref: derivation for closure in closures for dref, derivation in closure.derivations.items()
    }
    return Closure({dref: dref for dref in targets}, targets, derivations, closures[0].store)


def command_line(
    targets: Sequence[str], arguments: Mapping[str, str], verb: str = "realize"
) -> str:
    """Return the command line that does something to the targets."""
    given = [word for name, text in arguments.items() for word in ("-a", f"{name}={text}")]
    return shlex.join(["plxnix", verb, *targets, *given])
