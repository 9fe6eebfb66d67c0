"""Inspection: what is wrong with one derivation or one realization.

The disk is read, and not what this process remembers; nothing is changed.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from plxnix.config import Config
from plxnix.errors import CorruptEntry, InvalidValue, NixFormatError
from plxnix.model import DRef, RRef
from plxnix.nix.nar import nar_hash
from plxnix.store import nixroots, tree
from plxnix.store.record import Record, log_hash, rhash
from plxnix.store.store import Store
from plxnix.store.tree import open_file, read_file


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a store: its `kind`, the `path` of the place, and a sentence.

    `dref` and `rref` name the derivation and the realization if it concerns one. The kinds:

    ============= ==============================================================================
    `version`     the file with the format's number is missing or holds another one
    `missing`     a folder of the store, or a realization that was asked for, is not there
    `stray`       a file or folder that no plxnix has put into the store
    `config`      a config is missing, damaged, or not the one of its folder's name
    `record`      a record is missing, damaged, or not the one of its realization's name
    `artifacts`   a byte, name, link, executable bit or entry below a realization has changed
    `mode`        a file or folder is not read-only, or has other permissions than published
    `context`     a context does not fit the config, or a realization in it is gone
    `log`         a log cannot be unpacked
    `nix`         what it links to is gone from the Nix store, or nothing keeps it there
    `leftover`    a record or log without a realization, as a crash may leave it: harmless
    `access`      others than those who should may write into the store: a warning
    ============= ==============================================================================
    """

    kind: str
    path: str
    message: str
    dref: DRef | None = None
    rref: RRef | None = None

    @property
    def harmless(self) -> bool:
        """Whether nothing that anybody could read is affected."""
        return self.kind in ("leftover", "access")


def inspect_config(store: Store, dref: DRef) -> tuple[Config | None, list[Damage]]:
    """Return the config, None if it is damaged, and what is wrong with it."""
    path = store.layout.config(dref)
    try:
        text = read_file(path)
        config = Config.parse(text)
    except OSError as error:
        return None, [Damage("config", path, f"the config {path}: {error.strerror}", dref)]
    except InvalidValue as error:
        return None, [Damage("config", path, f"the config {path}: {error.message}", dref)]
    if config.dref != dref:
        message = f"the config {path} is that of {config.dref}"
        return None, [Damage("config", path, message, dref)]
    return config, list(_file_mode(path, dref, None))


def inspect(
    store: Store,
    rref: RRef,
    config: Config | None,
    contexts: dict[RRef, list[RRef]] | None = None,
) -> Iterator[Damage]:
    """Check the artifacts, the record, the context and the log of one realization.

    What it was made from is put into `contexts`, if its record can be read.
    """
    folder, dref = store.layout.realization(rref), rref.dref
    if not is_folder(folder):
        if os.path.lexists(folder):
            yield Damage("artifacts", folder, f"{folder} is no folder any more", dref, rref)
        else:
            yield Damage("missing", folder, f"there is no realization {rref}", dref, rref)
        return
    path = store.layout.record(rref)
    record = None
    try:
        text = read_file(path)
        record = Record.parse(text, path)
        if contexts is not None:
            contexts[rref] = [one for rrefs in record.context.values() for one in rrefs]
    except OSError as error:
        yield Damage("record", path, f"the record {path}: {error.strerror}", dref, rref)
    except CorruptEntry as error:
        yield Damage("record", path, error.message, dref, rref)
    if record is not None:
        yield from _file_mode(path, dref, rref)
        found = rhash(dref, record.context, record.nar_hash)
        if found != rref.rhash:
            message = f"the record {path} is that of a realization {found}, not {rref.rhash}"
            yield Damage("record", path, message, dref, rref)
        elif not record.wrote(text):
            message = f"the record {path} is not as it was written"
            yield Damage("record", path, message, dref, rref)
        yield from _context(store, rref, record, config)
        for place, message in nixroots.faults(store, rref, record):
            yield Damage("nix", place, message, dref, rref)
    yield from _artifacts(store, rref, record)
    yield from _log(store, rref, "" if record is None else record.log)


def _artifacts(store: Store, rref: RRef, record: Record | None) -> Iterator[Damage]:
    folder, dref = store.layout.realization(rref), rref.dref
    try:
        for path in tree.wrong_modes(folder):
            if path == folder and _is_closed_soon(folder):
                continue
            found = stat.S_IMODE(os.lstat(path).st_mode)
            message = f"{path} has the permissions {found:04o}"
            yield Damage("mode", path, message, dref, rref)
        digest, size = nar_hash(folder)
    except OSError as error:
        yield Damage("artifacts", folder, f"{folder} cannot be read: {error}", dref, rref)
        return
    except NixFormatError as error:
        yield Damage("artifacts", folder, error.message, dref, rref)
        return
    if record is None:
        return
    if digest.sri != record.nar_hash:
        message = f"the artifacts of {rref} have the hash {digest.sri}, not {record.nar_hash}"
        yield Damage("artifacts", folder, message, dref, rref)
    elif size != record.nar_size:
        path = store.layout.record(rref)
        message = f"the record {path} says {record.nar_size} bytes, but there are {size}"
        yield Damage("record", path, message, dref, rref)


def _is_closed_soon(folder: str) -> bool:
    """Tell whether a folder was met between its publication and its being made read-only."""
    if abs(time.time() - os.lstat(folder).st_ctime) > 1:
        return False
    time.sleep(0.05)
    return stat.S_IMODE(os.lstat(folder).st_mode) == tree.FOLDER


def _context(store: Store, rref: RRef, record: Record, config: Config | None) -> Iterator[Damage]:
    path, dref = store.layout.record(rref), rref.dref
    if config is not None:
        unfit = set(record.context).symmetric_difference(config.dependencies)
        for dependency in sorted(unfit):
            lacks = "lacks" if dependency in config.dependencies else "has the stranger"
            message = f"the context of {rref} {lacks} {dependency}"
            yield Damage("context", path, message, dref, rref)
    for dependency, used in record.context.items():
        for one in used:
            if one.dref != dependency:
                message = f"the context of {rref} lists {one} under {dependency}"
                yield Damage("context", path, message, dref, rref)
            elif not is_folder(store.layout.realization(one)):
                message = f"{rref} was made from {one}, which is gone"
                yield Damage("context", path, message, dref, rref)


def _log(store: Store, rref: RRef, expected: str) -> Iterator[Damage]:
    """Check the log; `expected` is what the record says of it, empty if it says nothing."""
    import gzip

    path = store.layout.log(rref)
    try:
        with open_file(path) as file, gzip.open(file) as log:
            if not log.read(1):
                raise EOFError("it is empty")
            while log.read(1 << 20):
                pass
        # What gzip does not look at, such as names and times, counts too.
        if expected and log_hash(read_file(path)) != expected:
            raise EOFError("it is not the one that the record tells of")
    except FileNotFoundError:
        if expected:
            yield Damage("log", path, f"the log {path} is missing", rref.dref, rref)
    except (OSError, EOFError, zlib.error) as error:
        yield Damage("log", path, f"the log {path} is damaged: {error}", rref.dref, rref)
    else:
        yield from _file_mode(path, rref.dref, rref)


def _file_mode(path: str, dref: DRef, rref: RRef | None) -> Iterator[Damage]:
    try:
        found = stat.S_IMODE(os.lstat(path).st_mode)
    except OSError as error:  # It was there just now; who verifies looks again.
        yield Damage("mode", path, f"{path}: {error.strerror}", dref, rref)
        return
    if found != tree.FILE:
        yield Damage("mode", path, f"{path} has the permissions {found:04o}", dref, rref)


def is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
