"""Arrival: realizations that were made in another store, checked before they are published here.

A reference says what it stands for: the config, the context and the artifacts are hashed in it. So
whatever brought a realization here, a copy or an archive, it is the one that was made there.
"""

from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Iterable
from dataclasses import replace

from plxnix.errors import CorruptEntry, NixFormatError, StoreError, ToolFailed, ToolMissing
from plxnix.model import DRef, RRef
from plxnix.nix.nar import nar_hash
from plxnix.nix.paths import split
from plxnix.ordering import dependencies_first
from plxnix.store import fixed, nixroots
from plxnix.store.publication import commit
from plxnix.store.record import Record, log_hash, rhash
from plxnix.store.store import Store

_PIECE = 1 << 20


def closure(store: Store, rrefs: Iterable[str]) -> list[RRef]:
    """Return realizations and all that they were made from, dependencies first.

    The order depends on the references alone. Raises `NotInStore` and `CorruptEntry`. Cost: one
    small read for each realization, linear in the edges.
    """

    def below(rref: RRef) -> list[RRef]:
        store.path(rref)
        return sorted({one for some in store.record(rref).context.values() for one in some})

    return list(dependencies_first(sorted(set(map(RRef.parse, rrefs))), below, circle))


def circle(way: list[RRef]) -> CorruptEntry:
    """Return the error for realizations that were made from each other, as records say."""
    return CorruptEntry(
        f"{way[0]} was made from itself, through {way[1]}, as records say",
        "`plxnix verify` says which of them lie",
    )


def derivations(store: Store, rrefs: Iterable[RRef]) -> list[DRef]:
    """Return the derivations of realizations and all that their configs refer to, sorted."""
    seen = {rref.dref for rref in rrefs}
    waiting = list(seen)
    while waiting:
        for one in store.config(waiting.pop()).dependencies:
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return sorted(seen)


def expect(store: Store, rref: RRef, record: bytes) -> Record:
    """Return the record of a realization that is to arrive, if it is that.

    Raises `CorruptEntry` for a record that is none or another's, and for a context that does not
    fit the config or has what is not in the store; `NotInStore` if the config is not here.
    """
    parsed = Record.parse(record, f"of {rref}")
    found = rhash(rref.dref, parsed.context, parsed.nar_hash)
    if found != rref.rhash:
        raise _refused(rref, f"its record is that of a realization {found}")
    if set(parsed.context) != set(store.config(rref.dref).dependencies):
        raise _refused(rref, "its context does not fit its config")
    for dependency, used in parsed.context.items():
        for one in used:
            if one.dref != dependency:
                raise _refused(rref, f"its context lists {one} under {dependency}")
            if not os.path.isdir(store.layout.realization(one)):
                raise _refused(rref, f"it was made from {one}, which is not here")
    return parsed


def admit(store: Store, rref: RRef, folder: str, record: bytes, log: bytes = b"") -> None:
    """Publish `folder` as the realization `rref`, with its record and packed log; atomic.

    `folder` is one of this process in the store (`Session.folder`), with the permissions of
    `tree.freeze`; it is consumed. The caller keeps its derivation. Raises what `expect` raises,
    `CorruptEntry` if the artifacts or the log are not what the record says, `StoreError` if it
    links to what the Nix store here does not have, `OSError`.
    """
    expected = expect(store, rref, record)
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise _refused(rref, "its artifacts are no folder")
    digest, size = nar_hash(folder)
    if digest.sri != expected.nar_hash:
        raise _refused(rref, f"its artifacts have the hash {digest.sri}, not {expected.nar_hash}")
    if size != expected.nar_size:
        raise _refused(rref, f"its artifacts are {size} bytes, not {expected.nar_size}")
    _check_log(rref, log, expected.log)
    if expected.nix.get("linked"):
        _keep_in_nix(store, rref, expected)
    commit(store, rref, folder, portable(expected, record), log)
    fixed.note(store, rref, expected)


def portable(record: Record, text: bytes) -> bytes:
    """Return the text of a record without what is true of one machine only.

    That is the root that keeps a copy in the Nix store there, which the artifacts do not need.
    """
    if "root" not in record.nix or record.nix.get("linked"):
        return text
    nix = {key: value for key, value in record.nix.items() if key != "root"}
    return replace(record, nix=nix).text()


def _keep_in_nix(store: Store, rref: RRef, record: Record) -> None:
    """Make a root for what a realization links to in the Nix store."""
    path = record.nix.get("root")
    try:
        split(path)  # type: ignore[arg-type]
        if not os.path.lexists(path):  # type: ignore[arg-type]
            raise NixFormatError(f"there is no {path}")
        nixroots.add(store, rref, record)
    except (NixFormatError, ToolMissing, ToolFailed) as error:
        raise StoreError(
            f"{rref} links to what is not in the Nix store here: {error.message}",
            f"copy {path} there with Nix, or realize the stage here",
        ) from error


def _check_log(rref: RRef, log: bytes, expected: str) -> None:
    if expected and log_hash(log) != expected:
        raise _refused(rref, "its log is damaged: its record tells of another")
    if not log:
        return
    import gzip

    try:
        with gzip.open(io.BytesIO(log)) as file:
            while file.read(_PIECE):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(rref, f"its log is damaged: {error}") from None


def _refused(rref: RRef, reason: str) -> CorruptEntry:
    return CorruptEntry(
        f"{rref} did not arrive: {reason}",
        "`plxnix verify` in the store that it comes from finds damage",
    )
