"""Verification: find all that is not as it was put into the store.

Artifacts are hashed again and compared with their records, records with the names of their
realizations, configs with the names of their folders, contexts with configs and with what is
there. What has no place in a store is reported too, hidden files included. Nothing is changed.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from plxnix.config import Config
from plxnix.errors import CorruptEntry, InvalidValue, NixFormatError
from plxnix.model import DRef, RRef
from plxnix.nix.nar import nar_hash
from plxnix.store import nixroots, tree
from plxnix.store.layout import FORMAT, dref_of
from plxnix.store.record import Record, rhash
from plxnix.store.store import Store

#: Called before each realization with how many are done, how many there are, and its reference.
Progress = Callable[[int, int, str], None]


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
        return self.kind == "leftover"


def verify(
    store: Store, rrefs: Iterable[RRef] | None = None, progress: Progress | None = None
) -> Iterator[Damage]:
    """Yield all damage in the store, or in the realizations named and their configs.

    Reads the disk, not what this process remembers; one bad entry never stops the rest. It takes
    no lock, so that it works on a read-only store; where others write meanwhile, a realization may
    be met half published: hold `store.deleting()` to exclude that.

    Cost: all artifacts are read once, in pieces; memory grows with the number of realizations.
    """
    if rrefs is None:
        yield from _surroundings(store)
        if not os.path.isdir(store.layout.store):
            return
        chosen = _by_derivation(_all(store))
        drefs = list(store.derivations())
    else:
        chosen = _by_derivation([RRef.parse(rref) for rref in rrefs])
        drefs = sorted(chosen)
    total = sum(map(len, chosen.values()))
    done = 0
    for dref in drefs:
        folder = store.layout.derivation(dref)
        if rrefs is None and not _is_folder(folder):
            yield Damage("stray", folder, f"{folder} is no folder, as derivations are", dref)
            continue
        config, damage = _config(store, dref)
        if rrefs is None or _is_folder(folder):
            yield from damage
        if rrefs is None:
            yield from _derivation_strays(store, dref)
        for rref in chosen.get(dref, ()):
            if progress is not None:
                progress(done, total, rref)
            yield from _realization(store, rref, config)
            done += 1
    if progress is not None:
        progress(total, total, "")


def _all(store: Store) -> Iterator[RRef]:
    for dref in store.derivations():
        try:
            yield from store.realizations(dref)
        except OSError:
            continue  # `_derivation_strays` says so.


def _by_derivation(rrefs: Iterable[RRef]) -> dict[DRef, list[RRef]]:
    groups: dict[DRef, list[RRef]] = {}
    for rref in dict.fromkeys(rrefs):
        groups.setdefault(rref.dref, []).append(rref)
    return groups


# -- the store as a whole --------------------------------------------------------------------------


def _surroundings(store: Store) -> Iterator[Damage]:
    """Look at the version, the folders of the store, and what lies between the derivations."""
    layout = store.layout
    try:
        with open(layout.version, "rb") as file:
            text = file.read(64)
        if text.strip() != str(FORMAT).encode():
            yield Damage(
                "version", layout.version, f"{layout.version} holds {text!r}, not {FORMAT}"
            )
    except OSError as error:
        yield Damage("version", layout.version, f"{layout.version}: {error.strerror}")
    for folder in layout.folders():
        if not os.path.isdir(folder):
            yield Damage("missing", folder, f"the folder {folder} of the store is missing")
    known = {layout.version, *layout.folders(), *layout.later_folders()}
    for entry in sorted(os.listdir(layout.root)):
        if f"{layout.root}/{entry}" not in known:
            yield _stray(f"{layout.root}/{entry}")
    for entry in sorted(os.listdir(layout.store)) if os.path.isdir(layout.store) else ():
        if dref_of(entry) is None:
            yield _stray(f"{layout.store}/{entry}")


def _derivation_strays(store: Store, dref: DRef) -> Iterator[Damage]:
    """Look at the names in a derivation's folder."""
    layout = store.layout
    folder = layout.derivation(dref)
    try:
        entries = os.listdir(folder)
    except OSError as error:
        yield Damage("config", folder, f"{folder} cannot be listed: {error.strerror}", dref)
        return
    whole = set(layout.rrefs(dref, entries))
    halves = (entry.removesuffix(".json").removesuffix(".log.gz") for entry in entries)
    beside: dict[str, RRef] = {}
    for rref in layout.rrefs(dref, set(halves)):
        beside[layout.record(rref)] = rref
        beside[layout.log(rref)] = rref
    known = {layout.config(dref), *map(layout.realization, whole)}
    for entry in sorted(entries):
        path = f"{folder}/{entry}"
        if path in known:
            continue
        owner = beside.get(path)
        if owner is None:
            yield _stray(path, dref)
        elif owner not in whole:
            yield Damage("leftover", path, f"{path} belongs to no realization", dref, owner)


def _stray(path: str, dref: DRef | None = None) -> Damage:
    return Damage("stray", path, f"{path!r} was not put into the store by plxnix", dref)


# -- one derivation --------------------------------------------------------------------------------


def _config(store: Store, dref: DRef) -> tuple[Config | None, list[Damage]]:
    """Return the config, None if it is damaged, and what is wrong with it."""
    path = store.layout.config(dref)
    try:
        text = _read(path)
        config = Config.parse(text)
    except OSError as error:
        return None, [Damage("config", path, f"the config {path}: {error.strerror}", dref)]
    except InvalidValue as error:
        return None, [Damage("config", path, f"the config {path}: {error.message}", dref)]
    if config.dref != dref:
        message = f"the config {path} is that of {config.dref}"
        return None, [Damage("config", path, message, dref)]
    return config, list(_file_mode(path, dref, None))


def _realization(store: Store, rref: RRef, config: Config | None) -> Iterator[Damage]:
    """Check the artifacts, the record, the context and the log of one realization."""
    folder, dref = store.layout.realization(rref), rref.dref
    if not _is_folder(folder):
        if os.path.lexists(folder):
            yield Damage("artifacts", folder, f"{folder} is no folder any more", dref, rref)
        else:
            yield Damage("missing", folder, f"there is no realization {rref}", dref, rref)
        return
    path = store.layout.record(rref)
    record = None
    try:
        record = Record.parse(_read(path), path)
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
        yield from _context(store, rref, record, config)
        for place, message in nixroots.faults(store, rref, record):
            yield Damage("nix", place, message, dref, rref)
    yield from _artifacts(store, rref, record)
    yield from _log(store, rref)


def _artifacts(store: Store, rref: RRef, record: Record | None) -> Iterator[Damage]:
    folder, dref = store.layout.realization(rref), rref.dref
    try:
        for path in tree.wrong_modes(folder):
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
            elif not _is_folder(store.layout.realization(one)):
                message = f"{rref} was made from {one}, which is gone"
                yield Damage("context", path, message, dref, rref)


def _log(store: Store, rref: RRef) -> Iterator[Damage]:
    import gzip

    path = store.layout.log(rref)
    try:
        with _open(path) as file, gzip.open(file) as log:
            if not log.read(1):
                raise EOFError("it is empty")
            while log.read(1 << 20):
                pass
    except FileNotFoundError:
        return  # The realizer printed nothing.
    except (OSError, EOFError, zlib.error) as error:
        yield Damage("log", path, f"the log {path} is damaged: {error}", rref.dref, rref)
    else:
        yield from _file_mode(path, rref.dref, rref)


def _file_mode(path: str, dref: DRef, rref: RRef | None) -> Iterator[Damage]:
    found = stat.S_IMODE(os.lstat(path).st_mode)
    if found != tree.FILE:
        yield Damage("mode", path, f"{path} has the permissions {found:04o}", dref, rref)


def _read(path: str) -> bytes:
    with _open(path) as file:
        return file.read()


def _open(path: str) -> BinaryIO:
    """Open a file of the store; a link, a folder or a pipe in its place is an `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return open(descriptor, "rb")


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
