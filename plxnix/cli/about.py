"""`init`, `store migrate`, `info`: make a store, keep it up to date, say what is known of it."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import age_text, size_text, time_text
from plxnix.model import DRef, RRef
from plxnix.references import resolve_one
from plxnix.store import Store
from plxnix.store.layout import FORMAT
from plxnix.store.roots import roots
from plxnix.store.settings import default_root
from plxnix.store.sharing import intruders
from plxnix.store.versions import migrate as migrate_store
from plxnix.store.versions import plan_migration
from plxnix.version import VERSION


@command(
    "init",
    "plxnix init",
    "plxnix init /scratch/me/plxnix && export PLXNIX_ROOT=/scratch/me/plxnix",
    "plxnix init /srv/plxnix --group science     members of that group share it",
)
@click.argument("folder", metavar="[FOLDER]", required=False)
@click.option("--group", metavar="GROUP", help="Share a new store with this group.")
@pass_session
def init(session: Session, folder: str | None, group: str | None) -> None:
    """Make a store at FOLDER and print its place; there is no harm in doing so twice.

    Without FOLDER it is that of --store, else of PLXNIX_ROOT, else the default one.
    """
    place = folder or session.place or default_root()
    existed = os.path.exists(os.path.join(place, "version"))
    store = Store.init(place, group=group)
    session.console.line(store.root)
    session.console.say("the store was there already" if existed else "the store is ready")


@command("migrate", "plxnix store migrate --dry-run", "plxnix store migrate /mnt/backup/plxnix")
@click.argument("folder", metavar="[FOLDER]", required=False)
@click.option("-n", "--dry-run", is_flag=True, help="Only show the formats it would go through.")
@json_option
@pass_session
def migrate(session: Session, folder: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring the store at FOLDER (default: the one that is meant) to the newest format.

    Nothing in it is lost, and an interruption is no harm: run it again. A store that a newer plxnix
    has written is refused. Waits until nobody uses the store.
    """
    place = folder or session.place or default_root()
    numbers = plan_migration(place)
    if not dry_run:
        numbers = migrate_store(place, waiting=session.console.say)
    if as_json:
        session.console.json({"store": place, "formats": numbers, "migrated": not dry_run})
        return
    session.console.lines(map(str, numbers))
    said = "would be brought" if dry_run else "was brought"
    session.console.say(
        f"{place} {said} to format {numbers[-1]}"
        if numbers
        else f"{place} has the newest format already"
    )


@command("info", "plxnix info", "plxnix info train", "plxnix info rref:5c4d --json")
@reference_argument(metavar="[REF]", required=False)
@json_option
@pass_session
def info(session: Session, reference: str | None, as_json: bool) -> None:
    """Show what is known of a realization or derivation, or of the store as a whole."""
    store = session.store()
    if reference is None:
        known = _about_store(store)
    else:
        found = resolve_one(store, reference)
        known = _about_rref(store, found) if isinstance(found, RRef) else _about_dref(store, found)
    if as_json:
        session.console.json(known)
        return
    width = max(map(len, known))
    for key, value in known.items():
        first, *more = _shown(key, value).splitlines() or [""]
        session.console.line(f"{key.replace('_', ' '):{width}}  {first}".rstrip())
        session.console.lines(f"{'':{width}}  {line}" for line in more)


def _about_store(store: Store) -> dict[str, Any]:
    counts = {"derivations": 0, "realizations": 0, "size": 0, "damaged": 0}
    for dref in store.derivations():
        counts["derivations"] += 1
        for rref in store.realizations(dref):
            record = store.readable_record(rref)
            counts["realizations"] += 1
            counts["damaged"] += record is None
            counts["size"] += record.nar_size if record else 0
    return {
        "root": store.root,
        "format": FORMAT,
        **counts,
        "roots": {root.path: root.rref for root in roots(store)},
        "fsync": store.fsync.value,
        "written_by": _writers(store),
        "plxnix": VERSION,
    }


def _writers(store: Store) -> str:
    """Say who may write into a store."""
    if store.shared:
        return f"the group {os.stat(store.root).st_gid}"
    return "its owner" + (f" and {who}" if (who := intruders(store.root)) else "")


def _about_dref(store: Store, dref: DRef) -> dict[str, Any]:
    config = store.config(dref)
    return {
        "dref": dref,
        "name": dref.name,
        "path": store.layout.derivation(dref),
        "config": config.value(),
        "dependencies": list(config.dependencies),
        "promises": ["/".join(parts) for parts in config.promises],
        "realizations": store.realizations(dref),
    }


def _about_rref(store: Store, rref: RRef) -> dict[str, Any]:
    record = store.record(rref)
    return {
        "rref": rref,
        "dref": rref.dref,
        "name": rref.name,
        "path": store.path(rref),
        "config": store.config(rref.dref).value(),
        "context": {dref: list(rrefs) for dref, rrefs in record.context.items()},
        "nar_hash": record.nar_hash,
        "nar_size": record.nar_size,
        "started": record.started,
        "stopped": record.stopped,
        "output": record.index,
        "host": record.host,
        "plxnix": record.plxnix,
        "python": record.python,
        "nix": dict(record.nix),
        "roots": [root.path for root in roots(store) if root.rref == rref],
    }


def _shown(key: str, value: Any) -> str:
    if key in ("size", "nar_size"):
        return size_text(value)
    if key in ("started", "stopped"):
        return f"{time_text(value)} ({age_text(value)})"
    if key == "config":
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    if key == "context" and value:
        return "\n".join(
            line for dref, rrefs in value.items() for line in (dref, *(f"  {r}" for r in rrefs))
        )
    if isinstance(value, dict):
        return "\n".join(f"{name}: {one}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return "\n".join(map(str, value)) or "none"
    return str(value)
