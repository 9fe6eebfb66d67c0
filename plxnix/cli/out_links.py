"""Links to results: the option that names them, and their names where there are several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from plxnix.errors import StoreError
from plxnix.model import RRef
from plxnix.store import Store
from plxnix.store.roots import add_root

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_HELP = "Make a link to {}, which keeps it from {}; further ones are LINK-2, LINK-3, ..."


def out_link_option(
    what: str = "the result", keeper: str = "gc", *letters: str
) -> Callable[[F], F]:
    """Return the option for the place of a link."""
    return click.option(
        "-o", *letters, "--out-link", metavar="LINK", help=_HELP.format(what, keeper)
    )


def check_link(link: str | None) -> None:
    """Refuse a place for a link where something else is."""
    if link is not None and os.path.lexists(link) and not os.path.islink(link):
        raise StoreError(
            f"{link} is there already and is no symbolic link",
            "choose another place for the link, or move what is there",
        )


def numbered(link: str | None, results: Iterable[T]) -> Iterator[tuple[str, T]]:
    """Yield each result with the place of its link; none if no link is wanted."""
    if link is not None:
        for number, one in enumerate(results, start=1):
            yield link if number == 1 else f"{link}-{number}", one


def link_results(store: Store, link: str | None, rrefs: Iterable[RRef]) -> None:
    """Make the links that keep realizations."""
    for place, rref in numbered(link, rrefs):
        add_root(store, place, rref)
