"""`ls`: list what is in the store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from plxnix.cli.cells import age_cell, duration_cell, name_cells, size_cell
from plxnix.cli.console import Cell
from plxnix.cli.places import entries, inside, split
from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.model import DRef, RRef
from plxnix.references import resolve_one, resolve_realization, resolve_reference
from plxnix.store import Store


@command(
    "ls",
    "plxnix ls",
    "plxnix ls 'train*'",
    "plxnix ls train          its realizations, if one derivation has that name",
    "plxnix ls 5c4de0aa       the files of the realization with that hash",
)
@reference_argument("pattern", "[PATTERN | REF[/PATH]]", required=False)
@json_option
@pass_session
def ls(session: Session, pattern: str | None, as_json: bool) -> None:
    """List the derivations in the store, the realizations of one, or the files of a realization.

    A PATTERN with *, ? or [...] chooses derivations by name. Into a pipe go whole references,
    bytes, seconds, and times in UTC, with tabs between the columns.
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
    head, name, rest = split(store, pattern)
    if rest:
        rref = resolve_realization(store, name if head is None else head)
        _list_files(session, store, rref, rest, as_json)
        return
    found = [head] if head is not None else resolve_reference(store, name)
    if len(found) > 1 and all(isinstance(one, DRef) for one in found):
        _list_derivations(session, store, [DRef(one) for one in found], as_json)
        return
    one = found[0] if len(found) == 1 else resolve_one(store, name)
    if isinstance(one, DRef):
        _list_realizations(session, store, one, as_json)
    else:
        _list_files(session, store, one, "", as_json)


def _list_derivations(session: Session, store: Store, drefs: Iterable[DRef], as_json: bool) -> None:
    found: list[dict[str, Any]] = []
    for dref in drefs:
        rrefs = store.realizations(dref) if os.path.isdir(store.layout.derivation(dref)) else []
        records = [record for rref in rrefs if (record := store.readable_record(rref)) is not None]
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
    names = name_cells(store, (one["dref"] for one in found), session.console.drawing)
    session.console.table(
        ["NAME", "HASH", "RUNS>", "SIZE>", "REALIZED"],
        [
            (
                names[one["dref"]],
                Cell(one["dref"].short, one["dref"]),
                str(one["realizations"]),
                size_cell(one["size"]) if one["realizations"] else "",
                _damage(one["damaged"])
                or (age_cell(one["started"]) if one["started"] is not None else "no"),
            )
            for one in found
        ],
    )
    if not found:
        session.console.say("there are no derivations")


def _list_realizations(session: Session, store: Store, dref: DRef, as_json: bool) -> None:
    pairs = [(rref, store.readable_record(rref)) for rref in store.realizations(dref)]
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
                Cell(rref.short, rref),
                size_cell(record.nar_size) if record else "",
                duration_cell(record.stopped - record.started) if record else "",
                age_cell(record.started) if record else _damage(1),
                record.host if record else "",
            )
            for rref, record in pairs
        ],
    )
    if not pairs:
        session.console.say(f"{dref} is not realized")


def _list_files(session: Session, store: Store, rref: RRef, rest: str, as_json: bool) -> None:
    place = inside(store, rref, rest)
    found = entries(place)
    if as_json:
        session.console.json(found)
        return
    session.console.table(
        ["SIZE>", "FILE"],
        [
            (
                Cell("", "-") if entry["size"] is None else size_cell(entry["size"]),
                entry["path"]
                + (" *" if entry["executable"] and session.console.drawing else "")
                + (f" -> {entry['target']}" if entry["target"] is not None else ""),
            )
            for entry in found
        ],
    )


def _damage(count: int) -> str:
    return f"{count} damaged: see plxnix verify" if count else ""
