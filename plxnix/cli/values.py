"""Values on the command line: pairs of a name and a value, and spans of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from plxnix.cli.units import parse_duration
from plxnix.errors import InvalidValue
from plxnix.written import read


def pairs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Take pairs apart, as the metavar shows them; a `NAME` has to be an identifier."""
    shown = parameter.metavar or "NAME=VALUE"
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name or (shown.startswith("NAME") and not name.isidentifier()):
            raise click.BadParameter(f"{text!r} is not {shown}", context, parameter)
        found[name] = value
    return found


def fields(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Take pairs apart, and read their values."""
    return {name: read(text) for name, text in pairs(context, parameter, values).items()}


def read_by(parse: Callable[[str], Any]) -> Callable[[Any, click.Parameter, Any], Any]:
    """Return what reads a value by a function that raises `InvalidValue`."""

    def callback(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(value)
        except InvalidValue as error:
            raise click.BadParameter(f"{error.message}; {error.hint}", context, parameter) from None

    return callback


duration = read_by(parse_duration)
