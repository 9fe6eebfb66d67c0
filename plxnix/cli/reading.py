"""`path`, `cat` and `log`: find and read what is in the store."""

from __future__ import annotations

import os
from typing import NamedTuple

from plxnix.cli.places import entries, find_place, open_inside
from plxnix.cli.session import (
    Session,
    command,
    json_option,
    latest_option,
    pass_session,
    reference_argument,
)
from plxnix.cli.units import age_text
from plxnix.errors import InvalidRefpath, NotInStore
from plxnix.model import DRef, RRef
from plxnix.references import LATEST, Reference, choose, resolve_reference
from plxnix.store import Store


@command(
    "path",
    "plxnix path plot",
    "plxnix path train --latest",
    'feh "$(plxnix path plot/curve.png)"',
)
@reference_argument(metavar="REF[/PATH]")
@latest_option
@json_option
@pass_session
def path(session: Session, reference: str, latest: bool, as_json: bool) -> None:
    """Print the folder of a realization, or of a file in it, as an absolute path."""
    store = session.store()
    rref, place = find_place(store, reference, latest)
    if as_json:
        session.console.json({"rref": rref, "path": place})
    else:
        session.console.line(place)


@command(
    "cat",
    "plxnix cat report/summary.txt",
    "plxnix cat dref:0123456789abcdef0123456789abcdef-train/accuracy.txt --latest",
)
@reference_argument(metavar="REF[/PATH]")
@latest_option
@pass_session
def cat(session: Session, reference: str, latest: bool) -> None:
    """Print the bytes of a file of a realization; PATH can be left out if it has only one."""
    store = session.store()
    rref, place = find_place(store, reference, latest)
    if os.path.isdir(place):
        names = [entry for entry in entries(place) if not entry["path"].endswith("/")]
        if len(names) != 1:
            raise InvalidRefpath(
                f"{reference!r} is a folder with {len(names)} files",
                f"name one of them: `plxnix ls {rref}` lists them",
            )
        place = os.path.join(place, names[0]["path"])
    with open_inside(store, place) as file:
        while piece := file.read(1 << 20):
            session.console.data(piece)


@command("log", "plxnix log train", "plxnix log train | tail")
@reference_argument()
@latest_option
@pass_session
def log(session: Session, reference: str, latest: bool) -> None:
    """Print what the realizer of a realization printed.

    For a derivation that is the last of its runs, be it one that failed.
    """
    store = session.store()
    runs = [run for found in resolve_reference(store, reference) for run in _runs(store, found)]
    if not runs:
        raise NotInStore(f"{reference!r} was never realized", "`plxnix realize` makes it")
    if not latest:
        choose(store, reference, sorted({run.dref for run in runs}), LATEST)
    run = max(runs, key=lambda run: run.when)
    if run.rref is None:
        session.console.say(f"the realizer failed {age_text(run.when)}:")
        session.console.text(store.log(run.dref))
    else:
        session.console.detail(f"the log of {run.rref}")
        session.console.text(store.log(run.rref))


class _Run(NamedTuple):
    """A run of a realizer that may have left a log; `rref` is None if it failed."""

    dref: DRef
    rref: RRef | None
    when: float


def _runs(store: Store, found: Reference) -> list[_Run]:
    if isinstance(found, RRef):
        return [_Run(found.dref, found, 0.0)]
    runs = []
    for rref in store.realizations(found):
        record = store.readable_record(rref)
        runs.append(_Run(found, rref, record.started if record is not None else 0.0))
    failed = store.layout.failed_log(found)
    if os.path.exists(failed):
        runs.append(_Run(found, None, os.stat(failed).st_mtime))
    return runs
