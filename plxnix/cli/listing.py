"""`ls`, `cat`, `path` and `log`: look at what is in the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import age_text, duration_text, size_text
from plxnix.errors import CorruptEntry, InvalidRefpath, NotInStore
from plxnix.model import DRef, RefPath, RRef
from plxnix.references import (
    latest_of,
    resolve_one,
    resolve_realization,
    resolve_reference,
)
from plxnix.store import Record, Store

_latest = click.option(
    "--latest", is_flag=True, help="Of several realizations, take the one that was started last."
)


@command(
    "ls",
    "List derivations, realizations or files.",
    examples=(
        "plxnix ls",
        "plxnix ls 'train*'",
        "plxnix ls train          its realizations, if one derivation has that name",
        "plxnix ls 5c4de0aa       the files of the realization with that hash",
    ),
)
@reference_argument("pattern", "[PATTERN | REF[/PATH]]", required=False)
@json_option
@pass_session
def ls(session: Session, pattern: str | None, as_json: bool) -> None:
    """List the derivations in the store, the realizations of one, or the files of a realization.

    A PATTERN with *, ? or [...] chooses derivations by name. Into a pipe go whole references, with
    tabs between the columns.
    """
    store = session.store()
    if pattern is None or any(sign in pattern for sign in "*?["):
        drefs = [
            dref
            for dref in store.derivations()
            if pattern is None or fnmatchcase(dref.name, pattern)
        ]
        _list_derivations(session, store, drefs, as_json)
        return
    head, _, rest = _split(store, pattern)
    found = [head] if head is not None else resolve_reference(store, pattern)
    if len(found) > 1 and all(isinstance(one, DRef) for one in found):
        _list_derivations(session, store, [DRef(one) for one in found], as_json)
        return
    one = found[0] if len(found) == 1 else resolve_one(store, pattern)
    if isinstance(one, DRef) and not rest:
        _list_realizations(session, store, one, as_json)
    else:
        rref = one if isinstance(one, RRef) else resolve_realization(store, one)
        _list_files(session, store, rref, rest, as_json)


@command(
    "path",
    "Print where a realization is on the disk.",
    examples=(
        "plxnix path plot",
        "plxnix path train --latest",
        'feh "$(plxnix path plot/curve.png)"',
    ),
)
@reference_argument(metavar="REF[/PATH]")
@_latest
@json_option
@pass_session
def path(session: Session, reference: str, latest: bool, as_json: bool) -> None:
    """Print the folder of a realization, or of a file in it, as an absolute path."""
    store = session.store()
    rref, place = _place(store, reference, latest)
    if as_json:
        session.console.json({"rref": rref, "path": place})
    else:
        session.console.line(place)


@command(
    "cat",
    "Print a file of a realization.",
    examples=(
        "plxnix cat report/summary.txt",
        "plxnix cat dref:0123456789abcdef0123456789abcdef-train/accuracy.txt --latest",
    ),
)
@reference_argument(metavar="REF[/PATH]")
@_latest
@pass_session
def cat(session: Session, reference: str, latest: bool) -> None:
    """Print the bytes of a file of a realization; PATH can be left out if it has only one."""
    store = session.store()
    rref, place = _place(store, reference, latest)
    root = os.path.realpath(store.root)
    if os.path.isdir(place):
        names = [entry for entry in _entries(place) if not entry["path"].endswith("/")]
        if len(names) != 1:
            raise InvalidRefpath(
                f"{reference!r} is a folder with {len(names)} files",
                f"name one of them: `plxnix ls {rref}` lists them",
            )
        place = os.path.join(place, names[0]["path"])
    if not os.path.realpath(place).startswith(root + os.sep):
        raise InvalidRefpath(
            f"{reference!r} is a link that leads out of the store, to {os.path.realpath(place)!r}",
            "read it there if that is what you want",
        )
    with open(place, "rb") as file:
        while piece := file.read(1 << 20):
            session.console.data(piece)


@command(
    "log",
    "Print what a realizer printed.",
    examples=(
        "plxnix log train",
        "plxnix log train | tail",
    ),
)
@reference_argument()
@pass_session
def log(session: Session, reference: str) -> None:
    """Print what the realizer of a realization printed.

    For a derivation that is the last of its runs, be it one that failed.
    """
    store = session.store()
    found = resolve_one(store, reference)
    if isinstance(found, RRef):
        session.console.text(store.log(found))
        return
    rrefs = store.realizations(found)
    newest = latest_of(store, rrefs) if rrefs else None
    failed = store.layout.failed_log(found)
    when = os.stat(failed).st_mtime if os.path.exists(failed) else None
    if when is not None and (newest is None or store.record(newest).started < when):
        session.console.say(f"the realizer failed {age_text(when)}:")
        session.console.text(_failed_log(failed))
    elif newest is not None:
        session.console.detail(f"the log of {newest}")
        session.console.text(store.log(newest))
    else:
        raise NotInStore(f"{found} was never realized", "`plxnix realize` makes it", found)


# -- listings --------------------------------------------------------------------------------------


def _list_derivations(session: Session, store: Store, drefs: Iterable[DRef], as_json: bool) -> None:
    found: list[dict[str, Any]] = []
    for dref in drefs:
        rrefs = store.realizations(dref) if os.path.isdir(store.layout.derivation(dref)) else []
        records = [record for rref in rrefs if (record := readable(store, rref)) is not None]
        found.append(
            {
                "dref": dref,
                "name": dref.name,
                "realizations": len(rrefs),
                "damaged": len(rrefs) - len(records),
                "size": sum(record.nar_size for record in records),
                "started": max((record.started for record in records), default=None),
            }
        )
    found.sort(key=lambda one: (one["name"], one["started"] or 0.0, one["dref"]))
    if as_json:
        session.console.json(found)
        return
    session.console.table(
        ["NAME", "HASH", "RUNS>", "SIZE>", "REALIZED"],
        [
            (
                one["name"],
                Cell(one["dref"].dhash[:12], one["dref"]),
                str(one["realizations"]),
                size_text(one["size"]) if one["realizations"] else "",
                _damage(one["damaged"])
                or (age_text(one["started"]) if one["started"] is not None else "no"),
            )
            for one in found
        ],
    )
    if not found:
        session.console.say("there are no derivations")


def _list_realizations(session: Session, store: Store, dref: DRef, as_json: bool) -> None:
    pairs = [(rref, readable(store, rref)) for rref in store.realizations(dref)]
    pairs.sort(key=lambda pair: (pair[1].started if pair[1] else 0.0, pair[0]))
    if as_json:
        session.console.json(
            [
                {
                    "rref": rref,
                    "path": store.layout.realization(rref),
                    "damaged": record is None,
                    "size": record.nar_size if record else None,
                    "started": record.started if record else None,
                    "stopped": record.stopped if record else None,
                    "output": record.index if record else None,
                    "host": record.host if record else None,
                }
                for rref, record in pairs
            ]
        )
        return
    session.console.table(
        ["REALIZATION", "SIZE>", "TOOK>", "REALIZED", "HOST"],
        [
            (
                Cell(rref.rhash[:12], rref),
                size_text(record.nar_size) if record else "",
                duration_text(record.stopped - record.started) if record else "",
                age_text(record.started) if record else _damage(1),
                record.host if record else "",
            )
            for rref, record in pairs
        ],
    )
    if not pairs:
        session.console.say(f"{dref} is not realized")


def _list_files(session: Session, store: Store, rref: RRef, rest: str, as_json: bool) -> None:
    place = _inside(store, rref, rest)
    entries = list(_entries(place))
    if as_json:
        session.console.json(entries)
        return
    session.console.table(
        ["SIZE>", "FILE"],
        [
            (
                Cell(
                    size_text(entry["size"]) if entry["size"] is not None else "",
                    str(entry["size"]) if entry["size"] is not None else "-",
                ),
                entry["path"]
                + (" *" if entry["executable"] and session.console.drawing else "")
                + (f" -> {entry['target']}" if entry["target"] is not None else ""),
            )
            for entry in entries
        ],
    )


def _entries(place: str) -> Iterator[dict[str, Any]]:
    """Yield what is below a folder, sorted, or the file itself; folders end in a slash."""
    if not os.path.isdir(place) or os.path.islink(place):
        yield _entry(place, os.path.basename(place))
        return
    for folder, folders, files in os.walk(place):
        folders.sort()
        inside = os.path.relpath(folder, place)
        for name in sorted([*folders, *files]):
            yield _entry(os.path.join(folder, name), os.path.normpath(os.path.join(inside, name)))


def _entry(path: str, name: str) -> dict[str, Any]:
    found = os.lstat(path)
    regular = stat.S_ISREG(found.st_mode)
    return {
        "path": name + "/" if stat.S_ISDIR(found.st_mode) else name,
        "size": found.st_size if regular else None,
        "executable": regular and bool(found.st_mode & 0o100),
        "target": os.readlink(path) if stat.S_ISLNK(found.st_mode) else None,
    }


def readable(store: Store, rref: RRef) -> Record | None:
    """Return the record of a realization, None if it is damaged or gone."""
    try:
        return store.record(rref)
    except (CorruptEntry, NotInStore):
        return None


def _damage(count: int) -> str:
    return f"{count} damaged: see plxnix verify" if count else ""


def _failed_log(path: str) -> str:
    import gzip

    with gzip.open(path, "rb") as file:
        return file.read().decode(errors="replace")


# -- places ----------------------------------------------------------------------------------------


def _split(store: Store, text: str) -> tuple[DRef | RRef | None, str, str]:
    """Split `REF/PATH`: the reference if there is a path, its text, and the path.

    A path on the disk (absolute, or starting with a dot) is split where the realization ends.
    """
    if text.startswith(("/", ".")):
        found = resolve_one(store, text)
        if isinstance(found, DRef):
            return found, text, ""
        top = os.path.realpath(store.path(found))
        folder, name = os.path.split(os.path.abspath(text))
        real = os.path.join(os.path.realpath(folder), name)
        inside = os.path.relpath(real, top)
        if inside.startswith(".."):  # a link to the realization
            inside = os.path.relpath(os.path.realpath(text), top)
        return found, text, "" if inside == "." else inside
    head, slash, rest = text.partition("/")
    if not slash:
        return None, text, ""
    return resolve_one(store, head), head, rest.strip("/")


def _place(store: Store, text: str, latest: bool) -> tuple[RRef, str]:
    """Return the realization that `REF/PATH` is in, and the path on the disk."""
    head, name, rest = _split(store, text)
    rref = resolve_realization(store, name if head is None else head, latest)
    return rref, _inside(store, rref, rest)


def _inside(store: Store, rref: RRef, rest: str) -> str:
    place = store.path(rref)
    if not rest:
        return place
    RefPath.make(rref.dref, [rest])
    place = os.path.join(place, rest)
    if not os.path.lexists(place):
        raise NotInStore(
            f"{rref} has no file {rest!r}", f"`plxnix ls {rref}` lists what it has", rref
        )
    return place


__all__ = ["cat", "log", "ls", "path", "readable"]
