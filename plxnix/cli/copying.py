"""`copy`, `pack` and `unpack`: carry closures of realizations elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from plxnix.archives import spack, sunpack
from plxnix.cli.out_links import check_link, link_results, out_link_option
from plxnix.cli.session import (
    Session,
    command,
    json_option,
    latest_option,
    pass_session,
    reference_argument,
)
from plxnix.cli.units import counted, size_text
from plxnix.cli.watching import Watch
from plxnix.errors import StoreError
from plxnix.model import RRef
from plxnix.references import resolve_realization
from plxnix.store import Store
from plxnix.store.copying import copyclosure

_out_link = out_link_option("what arrives", "gc", "-l")


@command(
    "copy",
    "plxnix copy report --to /mnt/backup/plxnix",
    "plxnix copy report train --latest --from ~alice/.local/share/plxnix",
)
@reference_argument("references", "REF...", many=True)
@click.option("--to", "target", metavar="STORE", help="The store to copy to; made if need be.")
@click.option("--from", "source", metavar="STORE", help="The store to copy from.")
@latest_option
@_out_link
@json_option
@pass_session
def copy(
    session: Session,
    references: tuple[str, ...],
    target: str | None,
    source: str | None,
    latest: bool,
    out_link: str | None,
    as_json: bool,
) -> None:
    """Copy realizations, with all that they were made from, from one store to another.

    One of --to and --from is the other store. What is there already is passed over, so a copy
    that was interrupted is resumed. Everything is hashed where it arrives. On one file system files
    are shared and not written again.
    """
    if (target is None) == (source is None):
        raise click.UsageError("say either --to STORE or --from STORE")
    check_link(out_link)
    if source is None:
        store_from, store_to = session.store(), _destination(target or "")
    else:
        store_from, store_to = Store(source), session.store(create=True)
    rrefs = _rrefs(store_from, references, latest)
    say = session.console.say
    drefs = {rref.dref for rref in rrefs}
    with store_to.keeping(drefs, say), Watch(session, "copying") as watch:
        copied = copyclosure(rrefs, store_from, store_to, progress=watch, waiting=say)
        link_results(store_to, out_link, rrefs)
    if as_json:
        session.console.json({"rrefs": rrefs, "copied": copied, "store": store_to.root})
        return
    session.console.lines(rrefs)
    size = sum(store_from.record(rref).nar_size for rref in copied)
    session.console.say(
        f"copied {counted(len(copied), 'realization')}, {size_text(size)}, to {store_to.root}; "
        f"{watch.total - len(copied)} were there"
    )


@command(
    "pack",
    "plxnix pack report -o report.tar.xz",
    "plxnix pack report train --latest -o results.zip",
)
@reference_argument("references", "REF...", many=True)
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    required=True,
    help="The archive: .tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst or .zip.",
)
@latest_option
@json_option
@pass_session
def pack(
    session: Session, references: tuple[str, ...], file: str, latest: bool, as_json: bool
) -> None:
    """Write realizations, with all that they were made from, into one file for `plxnix unpack`.

    The same realizations give the same bytes, whatever the machine.
    """
    store = session.store()
    rrefs = _rrefs(store, references, latest)
    with Watch(session, "packing") as watch:
        packed = spack(rrefs, file, store, progress=watch, waiting=session.console.say)
    size = os.stat(file).st_size
    if as_json:
        session.console.json({"rrefs": rrefs, "packed": packed, "file": file, "size": size})
        return
    session.console.say(
        f"packed {counted(len(packed), 'realization')} into {file}, {size_text(size)}"
    )


@command("unpack", "plxnix unpack report.tar.xz", "plxnix unpack report.tar.xz --out-link report")
@click.argument("file", metavar="FILE", type=click.Path())
@_out_link
@json_option
@pass_session
def unpack(session: Session, file: str, out_link: str | None, as_json: bool) -> None:
    """Bring what `plxnix pack` has written into the store, and print the references asked for then.

    The archive is not trusted: everything is hashed before it is published, and nothing outside of
    the store is written. What is there already is passed over.
    """
    check_link(out_link)
    store = session.store(create=True)
    say = session.console.say
    with store.keeping((), say) as keeping, Watch(session, "unpacking") as watch:
        rrefs = sunpack(file, store, progress=watch, waiting=say, keeping=keeping)
        link_results(store, out_link, rrefs)
    if as_json:
        session.console.json({"rrefs": rrefs, "paths": [store.path(rref) for rref in rrefs]})
        return
    session.console.lines(rrefs)
    session.console.say(f"unpacked {counted(watch.total, 'realization')} into {store.root}")


def _rrefs(store: Store, references: Sequence[str], latest: bool) -> list[RRef]:
    return list(dict.fromkeys(resolve_realization(store, text, latest) for text in references))


def _destination(place: str) -> Store:
    """Open a store, or make one where nothing is yet."""
    if os.path.isdir(place) and os.listdir(place):
        return Store(place)  # raises StoreNotFound, and nothing is strewn into a folder of others
    if os.path.lexists(place) and not os.path.isdir(place):
        raise StoreError(f"{place!r} is no folder", "give a store, or a place where one is made")
    return Store.init(place)
