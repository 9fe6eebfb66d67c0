"""Pack: write realizations, with all that they were made from, into one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, TypeAlias

from plxnix.archives.form import FORMAT, HEAD
from plxnix.builders.archive_output import writing
from plxnix.errors import CorruptEntry, InvalidValue, NixFormatError, PlxnixError, StoreError
from plxnix.model import RRef
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import dump
from plxnix.realize.registry import Closure
from plxnix.realize.work import prepare
from plxnix.references import resolve_realization
from plxnix.store import Store, current_store
from plxnix.store.arrival import closure, derivations, expect, portable
from plxnix.store.copying import Progress
from plxnix.store.locks import Waiting

#: What can be packed: a closure, or whatever names realizations, or several.
Packable: TypeAlias = Closure | str | Iterable[str]


def spack(
    what: Packable,
    file: str | os.PathLike[str],
    store: Store | None = None,
    *,
    progress: Progress | None = None,
    waiting: Waiting | None = None,
) -> list[RRef]:
    """Write realizations, with all that they were made from, into one archive.

    `what` is a `Closure`, whose targets are realized if they are not, or references: a derivation
    stands for its only realization. The form goes by the file's name: .tar, .tar.gz, .tar.xz,
    .tar.zst, .tar.bz2 or .zip. The same closure gives the same bytes (with the same compressor);
    every realization is hashed on its way. `file` gets its name when it is whole; one that is there
    is replaced. Returns what is in it, dependencies first.

    Raises `InvalidValue` for another name, `NotInStore`, `InvalidReference`, `CorruptEntry` for
    what is damaged, `ArchiveError` where a program is missing, `StoreError` if `file` cannot be
    written. Takes constant memory but for the references.
    """
    if isinstance(what, Closure):
        store = what.store if store is None else store
        with store.keeping(what.derivations, waiting):
            selected = prepare(what).select()
            roots = {rref for dref in what.targets for rref in selected[dref]}
            return _pack(sorted(roots), file, store, progress)
    if not isinstance(what, Iterable):
        raise InvalidValue(
            f"not a closure and no references: {what!r:.80}", "instantiate(stage) is a closure"
        )
    store = current_store(store)
    given = [what] if isinstance(what, str) else what
    roots = {resolve_realization(store, one) for one in given}
    with store.keeping({rref.dref for rref in roots}, waiting):
        return _pack(sorted(roots), file, store, progress)


def _pack(
    roots: list[RRef], file: str | os.PathLike[str], store: Store, progress: Progress | None
) -> list[RRef]:
    order = closure(store, roots)
    head = {"format": FORMAT, "realizations": len(order), "roots": roots}
    try:
        with writing(file) as add:
            for name, size, pieces in _written(store, head, order, progress):
                add(name, size, pieces)
    except OSError as error:
        if isinstance(error, PlxnixError):
            raise
        raise StoreError(
            f"cannot write the archive {os.fspath(file)!r}: {error.strerror or error}",
            "does its folder exist, and is there space?",
        ) from error
    if progress is not None:
        progress(len(order), len(order), "")
    return order


def _written(
    store: Store, head: dict[str, Any], order: list[RRef], progress: Progress | None
) -> Iterator[tuple[str, int, Iterable[bytes]]]:
    """Yield the members of an archive: name, size, contents."""
    text = json.dumps(head, sort_keys=True, indent=1).encode() + b"\n"
    yield HEAD, len(text), [text]
    for dref in derivations(store, order):
        config = store.config(dref).canonical
        yield f"{dref[5:]}/config.json", len(config), [config]
    for number, rref in enumerate(order):
        if progress is not None:
            progress(number, len(order), rref)
        place = f"{rref.dref[5:]}/{rref.rhash}"
        with open(store.layout.record(rref), "rb") as file:
            record = file.read()
        expected = expect(store, rref, record)
        record = portable(expected, record)
        yield f"{place}.json", len(record), [record]
        if os.path.lexists(store.layout.log(rref)):
            with open(store.layout.log(rref), "rb") as file:
                log = file.read()
            yield f"{place}.log.gz", len(log), [log]
        pieces = _hashed(store, rref, expected.nar_hash)
        yield f"{place}.nar", expected.nar_size, pieces


def _hashed(store: Store, rref: RRef, expected: str) -> Iterator[bytes]:
    """Yield the NAR of a realization; raise `CorruptEntry` at its end if its hash is another."""
    state = sha256()
    try:
        for piece in dump(store.path(rref)):
            state.update(piece)
            yield piece
    except NixFormatError as error:
        raise CorruptEntry(error.message, error.hint, store.path(rref)) from error
    found = Hash("sha256", state.digest()).sri
    if found != expected:
        raise CorruptEntry(
            f"the artifacts of {rref} have the hash {found}, not {expected}",
            "`plxnix verify` finds all damage; `plxnix rm` removes the realization",
            store.path(rref),
        )
