"""`lock`: maintain named fetches in a lock, for Python and Nix alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from plxnix.builders.download import redact
from plxnix.cli.console import Cell
from plxnix.cli.downloads import Downloads
from plxnix.cli.progress import Progress
from plxnix.cli.session import Command, Session, json_option, pass_session
from plxnix.cli.units import counted, size_text
from plxnix.errors import InvalidValue, PlxnixError, StoreNotFound
from plxnix.locking import upkeep
from plxnix.locking.fetching import Fetched, land
from plxnix.locking.file import LOCK, LockFile
from plxnix.locking.importing import read_foreign
from plxnix.locking.source import LockedSource, check_key, expanded
from plxnix.nix.hashes import Hash
from plxnix.recipes.fetch import Fetch
from plxnix.recipes.tree import Tree
from plxnix.store import Store

#: How much of a hash is shown where the whole one would be too much.
SHORT = 19

lock_option = click.option(
    "--lock", "path", metavar="FILE", default=LOCK, help=f"The lock; default: {LOCK}."
)
version_option = click.option(
    "--version", metavar="VERSION", help="What stands for {version} in the URLs."
)
replace_option = click.option("--replace", "replacing", is_flag=True, help="Replace what is there.")


@click.group("lock", short_help="Maintain named fetches in a lock.")
def lock() -> None:
    """Maintain named fetches in a lock, plxnix.lock.json, which Python and Nix read.

    In Python, fetchlock("NAME") is a stage; in Nix, (fromLock { lock = ./plxnix.lock.json;
    }).sources.NAME is the same path.
    """


def _command(
    name: str, short: str, examples: Sequence[str]
) -> Callable[[Callable[..., Any]], click.Command]:
    return lock.command(name, cls=Command, short_help=short, examples=examples)


def _names(required: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    metavar = "NAME..." if required else "[NAME]..."
    return click.argument(
        "names", metavar=metavar, nargs=-1, required=required, shell_complete=_complete
    )


def _complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete names of sources; nothing goes wrong where there is no lock."""
    del parameter
    try:
        found = LockFile(context.params.get("path") or LOCK)
    except (PlxnixError, OSError):
        return []
    return [name for name in found.sources if name.startswith(begun)]


@_command(
    "add",
    "Add a source.",
    examples=(
        "plxnix lock add iris https://example.org/iris.csv",
        "plxnix lock add hello 'https://example.org/hello-{version}.tar.gz' --version 2.10",
        "plxnix lock add corpus https://example.org/corpus.tar.gz --unpack",
    ),
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
        source = upkeep.fetch_source(name, source, Downloads(session.console), _lands(session))
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
        session.console.json({"name": name, **_value(source)})
    else:
        session.console.line(source.predicted)
    size = f", {size_text(source.size)}" if source.size is not None else ""
    session.console.say(f"added {name}: {source.hash}{size}")


def _value(source: LockedSource) -> dict[str, Any]:
    value = source.value()
    return {**value, "urls": [redact(url) for url in source.sources], "name": source.name}


@_command(
    "update",
    "Fetch sources again and write down what has changed.",
    examples=(
        "plxnix lock update",
        "plxnix lock update hello --version 2.12",
        "plxnix lock update -n",
    ),
)
@_names()
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
    rows = list(upkeep.update(found.select(names), version, Downloads(session.console)))
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


@_command(
    "verify",
    "Compare sources to what is there.",
    examples=("plxnix lock verify", "plxnix lock verify hello --refetch"),
)
@_names()
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
    faults = list(upkeep.verify(found, _store(session), refetch, Downloads(session.console)))
    if as_json:
        session.console.json(
            [
                {
                    "name": one.name,
                    "what": one.what,
                    "specified": one.specified,
                    "got": one.got,
                }
                for one in faults
            ]
        )
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


@_command(
    "freeze",
    "Keep sources from being updated.",
    examples=("plxnix lock freeze hello", "plxnix lock freeze hello --thaw"),
)
@_names(required=True)
@click.option("--thaw", is_flag=True, help="Let them be updated again.")
@lock_option
@pass_session
def freeze(session: Session, names: tuple[str, ...], thaw: bool, path: str) -> None:
    """Keep each NAME as it is when the lock is updated."""
    found = LockFile(path)
    wanted = found.select(names)
    found.save({name: replace(one, frozen=not thaw) for name, one in wanted.items()})
    session.console.say(f"{'thawed' if thaw else 'froze'} {', '.join(wanted)}")


@_command(
    "show",
    "List sources.",
    examples=("plxnix lock show", "plxnix lock show hello --json"),
)
@click.argument("name", required=False, shell_complete=_complete)
@lock_option
@json_option
@pass_session
def show(session: Session, name: str | None, path: str, as_json: bool) -> None:
    """List all sources, or only NAME: URL, hash and path in the Nix store."""
    found = LockFile(path).select(() if name is None else (name,))
    if as_json:
        session.console.json({key: _value(one) for key, one in found.items()})
        return
    session.console.table(
        ["NAME", "URL", "HASH", "PATH", ""],
        [
            (
                key,
                redact(one.sources[0]),
                Cell(one.hash.sri[:SHORT], one.hash.sri),
                one.predicted,
                "frozen" if one.frozen else "",
            )
            for key, one in found.items()
        ],
    )


@_command("rm", "Remove sources.", examples=("plxnix lock rm hello",))
@_names(required=True)
@lock_option
@pass_session
def rm(session: Session, names: tuple[str, ...], path: str) -> None:
    """Take each NAME out of the lock; what was fetched stays in the stores."""
    found = LockFile(path)
    wanted = found.select(names)
    found.save(dict.fromkeys(wanted))
    session.console.say(f"removed {', '.join(wanted)}")


@_command(
    "import",
    "Take over what other programs have locked.",
    examples=(
        "plxnix lock import npins/sources.json",
        "plxnix lock import _sources/generated.json",
        "plxnix lock import flake.lock --replace",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@replace_option
@lock_option
@json_option
@pass_session
def import_(session: Session, file: Path, replacing: bool, path: str, as_json: bool) -> None:
    """Take over the sources in FILE: of npins, nvfetcher or a flake, or another lock of plxnix.

    Nothing is downloaded; `plxnix lock verify --refetch` checks what was taken over. What cannot be
    taken over is named, with the reason; the exit status is 1 if nothing was left.
    """
    found = LockFile(path, create=True)
    taken: dict[str, LockedSource | None] = {}
    left: dict[str, str] = {}
    for offer in read_foreign(file):
        if offer.source is None:
            left[offer.name] = offer.reason
        elif offer.name in found.sources and not replacing:
            left[offer.name] = f"{path} has a source of that name; --replace replaces it"
        else:
            taken[offer.name] = offer.source
    found.save(taken)
    if as_json:
        session.console.json({"taken": list(taken), "left": left})
    else:
        session.console.lines(taken)
    for name, reason in left.items():
        session.console.warn(f"{name} was not taken: {reason}")
    session.console.say(f"took {counted(len(taken), 'source')}, left {len(left)}")
    if left and not taken:
        raise click.exceptions.Exit(1)
