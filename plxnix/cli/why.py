"""`why`: what keeps a realization from garbage collection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

import click

from plxnix.cli.branches import branches
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted, size_text
from plxnix.errors import InvalidValue, NotInStore
from plxnix.model import RRef
from plxnix.references import resolve_realizations
from plxnix.store import Store
from plxnix.store.reach import Chain, StoreGraph
from plxnix.store.roots import Root, roots


@command(
    "why",
    "plxnix why numbers               each root that keeps it, and through what",
    "plxnix why result numbers        how that link keeps it",
    "plxnix why rref:5c4de0aa --json",
)
@click.argument("words", metavar="[ROOT] REF", nargs=-1, required=True)
@json_option
@pass_session
def why(session: Session, words: tuple[str, ...], as_json: bool) -> None:
    """Show the chain from each root to REF: each realization was made from the one below it.

    ROOT is the path of a link; without it all roots are looked at. Of a derivation, each
    realization is looked at. The exit status is 1 if nothing keeps any of them.
    """
    if len(words) > 2:
        raise click.UsageError("say at most a ROOT and a REF")
    *links, text = words
    store = session.store()
    wanted = _realizations(store, text)
    known = roots(store)
    chosen = [_root(store, known, link) for link in links] or known
    chains = StoreGraph(store).chains(chosen, wanted)
    if as_json:
        session.console.json([{"root": c.root.path, "chain": c.rrefs} for c in chains])
    else:
        session.console.lines(line for chain in chains for line in _drawn(store, chain))
    if not chains:
        said = f"{links[0]} does not keep" if links else "no root keeps"
        count = counted(len(wanted), "realization")
        session.console.say(f"{said} {text} ({count})" + ("" if links else ": gc deletes it"))
        raise click.exceptions.Exit(1)


def _realizations(store: Store, text: str) -> list[RRef]:
    found = resolve_realizations(store, text)
    if not found:
        raise NotInStore(f"{text} is not realized", "there is nothing to keep of it")
    for rref in found:
        store.path(rref)
    return found


def _root(store: Store, known: list[Root], link: str) -> Root:
    folder, name = os.path.split(os.path.abspath(link))
    place = os.path.join(os.path.realpath(folder), name)
    inside = os.path.join(os.path.realpath(store.layout.gcroots), link)
    for root in known:
        if root.path in (place, inside) or os.path.realpath(root.path) == place:
            return root
    raise InvalidValue(f"{link!r} is no root of {store.root}", "`plxnix roots` lists the roots")


def _drawn(store: Store, chain: Chain) -> Iterator[str]:
    steps: list[str] = [chain.root.path, *chain.rrefs]

    def label(one: str) -> str:
        if not isinstance(one, RRef):
            return one
        record = store.readable_record(one)
        said = "(damaged: see plxnix verify)" if record is None else size_text(record.nar_size)
        return f"{one.name}  {one.short}  {said}"

    return branches(steps[:1], {above: [one] for above, one in pairwise(steps)}, label)
