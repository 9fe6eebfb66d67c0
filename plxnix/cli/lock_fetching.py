"""`lock add`, `update` and `verify`: what downloads."""

from __future__ import annotations

from functools import partial

import click

from plxnix.cli.downloads import Download
from plxnix.cli.lock_options import (
    lock_option,
    names_argument,
    replace_option,
    shown_value,
    version_option,
)
from plxnix.cli.progress import Progress
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted, size_text
from plxnix.errors import InvalidValue, StoreNotFound
from plxnix.locking import upkeep
from plxnix.locking.fetching import Fetched, land
from plxnix.locking.file import LockFile
from plxnix.locking.source import LockedSource, check_key
from plxnix.nix.hashes import Hash
from plxnix.recipes.fetch import Fetch
from plxnix.recipes.tree import Tree
from plxnix.recipes.urls import expanded
from plxnix.store import Store


@command(
    "add",
    "plxnix lock add iris https://example.org/iris.csv",
    "plxnix lock add hello 'https://example.org/hello-{version}.tar.gz' --version 2.10",
    "plxnix lock add corpus https://example.org/corpus.tar.gz --unpack",
)
@click.argument("name")
@click.argument("url")
@click.option(
    "--hash", "digest", metavar="HASH", help="The hash, in any form; nothing is downloaded then."
)
@click.option("--unpack", is_flag=True, help="The source is the tree in the archive.")
@click.option("--filename", metavar="FILE", help="Its name in the store; default: from the URL.")
@click.option(
    "--mirror", "mirrors", metavar="URL", multiple=True, help="Another URL. May be repeated."
)
@version_option
@replace_option
@lock_option
@json_option
@pass_session
def add(
    session: Session,
    name: str,
    url: str,
    digest: str | None,
    unpack: bool,
    filename: str | None,
    mirrors: tuple[str, ...],
    version: str | None,
    replacing: bool,
    path: str,
    as_json: bool,
) -> None:
    """Download URL and write its hash and store path into the lock as NAME.

    It is in the store of plxnix then, so that a stage fetchlock("NAME") has nothing to download.

    With --unpack the hash is that of the tree, which has to be the only folder in the archive, as
    for fetchTarball of Nix. With --hash nothing is downloaded; `plxnix lock verify --refetch` finds
    out whether the URL has that. Prints the store path.
    """
    check_key(name)
    found = LockFile(path, create=True)
    if name in found.sources and not replacing:
        raise InvalidValue(
            f"{path} has a source {name!r} already",
            f"`plxnix lock update {name}` fetches it again, --replace replaces it",
        )
    first, *others = [one for given in (url, *mirrors) for one in expanded(given)]
    known = Hash.parse(digest, "sha256" if unpack else None) if digest is not None else None
    source = LockedSource(
        url=first,
        hash=known or Hash("sha256", bytes(32)),
        urls=tuple(others),
        version=version or "",
        given_name=filename or "",
        unpack=unpack,
    )
    source.check(name)
    if known is None:
        source = upkeep.fetch_source(
            name, source, partial(Download, session.console), _lands(session)
        )
    found.save({name: source})
    _print_source(session, name, source, as_json)


def _lands(session: Session) -> upkeep.Keep:
    """Return what puts a fetched source into the native store, where its stage looks for it."""
    store = session.store(create=True)

    def keep(source: LockedSource, fetched: Fetched) -> None:
        recipe = Tree("native") if source.unpack else Fetch("native")
        progress = Progress(session.console)
        try:
            land(store, source.config({}), recipe, fetched.file, fetched.url, progress)
        finally:
            progress.close()

    return keep


def _print_source(session: Session, name: str, source: LockedSource, as_json: bool) -> None:
    if as_json:
        session.console.json({"name": name, **shown_value(source)})
    else:
        session.console.line(source.predicted)
    size = f", {size_text(source.size)}" if source.size is not None else ""
    session.console.say(f"added {name}: {source.hash}{size}")


@command(
    "update",
    "plxnix lock update",
    "plxnix lock update hello --version 2.12",
    "plxnix lock update -n",
)
@names_argument()
@version_option
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would change.")
@lock_option
@json_option
@pass_session
def update(
    session: Session,
    names: tuple[str, ...],
    version: str | None,
    dry_run: bool,
    path: str,
    as_json: bool,
) -> None:
    """Fetch each NAME, or all, and write the new hash of what is another file now.

    Frozen sources are left alone. If one cannot be fetched, the lock stays as it is.
    """
    if version is not None and not names:
        raise click.UsageError("--version needs a NAME")
    found = LockFile(path)
    rows = list(upkeep.update(found.select(names), version, partial(Download, session.console)))
    changes: dict[str, LockedSource | None] = {
        row.name: row.new for row in rows if row.status in ("changed", "recorded")
    }
    if not dry_run:
        found.save(changes)
    if as_json:
        session.console.json(
            [
                {
                    "name": row.name,
                    "status": row.status,
                    "old": row.old.hash.sri,
                    "new": row.new.hash.sri,
                    "path": row.new.predicted,
                }
                for row in rows
            ]
        )
    else:
        session.console.table(
            ["NAME", "", "OLD", "NEW"],
            [(row.name, row.status, row.old.hash.sri, row.new.hash.sri) for row in rows],
        )
    changed = sum(row.status == "changed" for row in rows)
    session.console.say(
        f"{counted(changed, 'source')} {'would change' if dry_run else 'changed'}, "
        f"{len(rows) - changed} as before"
    )


@command("verify", "plxnix lock verify", "plxnix lock verify hello --refetch")
@names_argument()
@click.option("--refetch", is_flag=True, help="Download each URL again, and compare.")
@lock_option
@json_option
@pass_session
def verify(
    session: Session, names: tuple[str, ...], refetch: bool, path: str, as_json: bool
) -> None:
    """Check the form, the paths, and the contents where a store has them; print what differs.

    With --refetch each URL is asked again, whatever is in stores and mirrors: so a hash of what an
    older URL had is found out. The exit status is 1 if anything differs.
    """
    found = LockFile(path).select(names)
    faults = list(
        upkeep.verify(found, _store(session), refetch, partial(Download, session.console))
    )
    if as_json:
        session.console.json([vars(one) for one in faults])
    else:
        session.console.lines(map(str, faults))
    verdict = counted(len(faults), "fault") if faults else "no fault"
    session.console.say(f"checked {counted(len(found), 'source')}: {verdict}")
    if faults:
        raise click.exceptions.Exit(1)


def _store(session: Session) -> Store | None:
    """Return the native store, None if the default one was never made."""
    try:
        return session.store()
    except StoreNotFound:
        if session.place is not None:
            raise
        return None
