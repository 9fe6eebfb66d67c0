"""Publication: how a finished folder becomes a realization.

Freeze, hash, flush, write the record, rename the folder: the rename is the commit. A crash before
it leaves a temporary folder, which the next process sweeps, and perhaps a record without a folder,
which nobody sees and the next publication replaces.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from plxnix.errors import BuildFailed, NixFormatError, StoreError, ToolFailed, ToolMissing
from plxnix.model import DRef, RRef
from plxnix.nix.nar import nar_hash
from plxnix.store import fixed, flushing, nixroots, tree
from plxnix.store.record import Record, log_hash, rhash
from plxnix.store.settings import Fsync
from plxnix.store.store import Store


def publish(
    store: Store,
    dref: DRef,
    folder: str,
    record: Record,
    log: bytes = b"",
    linked: bool = False,
) -> RRef:
    """Make `folder` a realization of `dref` and return its reference; atomic.

    `folder` is consumed. It is moved where the file system can, and copied otherwise; after an
    error it is at its place again, unless it had to be copied. Of `record`, the NAR hash and size
    are filled in here. If the store already has the same artifacts in the same context, that
    realization is returned. If `linked`, frozen files with other hard links are links to published
    ones (see `tree.freeze`). Raises `BuildFailed` if there is no folder, it is published already or
    holds the store, or it holds what cannot be archived; `StoreError` if the store cannot be
    written; `ToolMissing` or `ToolFailed` if Nix does not keep what the record has as its `root`.
    """
    _check_folder(store, dref, folder)
    given = folder
    packed = _compress(log) if log else b""
    try:
        folder = _bring(store, folder)
        tree.freeze(folder, str(record.nix.get("path", "")), linked)
        found, size = nar_hash(folder)
        record = _complete(replace(record, nar_hash=found.sri, nar_size=size), packed)
        rref = RRef.make(rhash(dref, record.context, record.nar_hash), dref)
        nixroots.add(store, rref, record)
        if os.path.isdir(store.layout.realization(rref)):
            tree.remove(folder)
            fixed.note(store, rref, record)
            return rref
        commit(store, rref, folder, record.text(), packed, linked)
        fixed.note(store, rref, record)
    except (ToolMissing, ToolFailed):  # Nix gives no root for what the folder links to.
        _give_back(folder, given)
        raise
    except NixFormatError as error:
        _give_back(folder, given)
        raise BuildFailed(
            f"the realizer of {dref} left what cannot be archived: {error.message}",
            "a realization holds files, folders and symbolic links only",
            dref,
        ) from error
    except OSError as error:
        _give_back(folder, given)
        raise StoreError(
            f"cannot publish a realization of {dref}: {error}",
            "is the store full or read-only?",
        ) from error
    return rref


def publish_known(store: Store, made: Iterable[tuple[DRef, str, Record]]) -> list[RRef]:
    """Publish folders whose makers have frozen and hashed them; return their references.

    Each is in a folder of this process in the store, with the derivation and a record that has the
    NAR hash and size, and names nothing in Nix; it is consumed. They are flushed together. Raises
    `StoreError` if the store cannot be written.
    """
    found, new = [], []
    try:
        for dref, folder, record in made:
            rref = RRef.make(rhash(dref, record.context, record.nar_hash), dref)
            found.append(rref)
            if os.path.isdir(store.layout.realization(rref)):
                tree.remove(folder)
            else:
                new.append(Finished(rref, folder, _complete(record).text()))
        commit_all(store, new)
    except OSError as error:
        raise StoreError(
            f"cannot publish what belongs to {found[-1].dref}: {error}",
            "is the store full or read-only?",
        ) from error
    return found


def _complete(record: Record, packed: bytes = b"") -> Record:
    """Return a record that says where it was made, by what, and with which log."""
    return replace(
        record,
        host=os.uname().nodename,
        plxnix=_version(),
        python=sys.version.split()[0],
        log=log_hash(packed),
    )


def commit(
    store: Store,
    rref: RRef,
    folder: str,
    record: bytes,
    log: bytes = b"",
    linked: bool = False,
) -> None:
    """Give a frozen folder of this process the place of `rref`, with its record and packed log.

    The caller knows that they belong together. If the realization is there already, `folder` is
    removed. Raises `OSError`.
    """
    commit_all(store, [Finished(rref, folder, record, log)], linked)


@dataclass(frozen=True)
class Finished:
    """What is to be a realization: a frozen folder of this process, its record and packed log."""

    rref: RRef
    folder: str
    record: bytes
    log: bytes = b""


def commit_all(store: Store, ones: Sequence[Finished], linked: bool = False) -> None:
    """Do what `commit` does for several, which are flushed together; each is atomic by itself."""
    layout, level, since = store.layout, store.fsync, store.session().descriptor
    beside: dict[str, str] = {}
    for one in ones:
        if one.log:
            beside[layout.log(one.rref)] = _write(store, one.log)
        beside[layout.record(one.rref)] = _write(store, one.record)
    if level is not Fsync.NONE:
        configs = dict.fromkeys(layout.config(one.rref.dref) for one in ones)
        flushing.flush([one.folder for one in ones], [*configs, *beside.values()], linked, since)
    for path, temporary in beside.items():
        os.rename(temporary, path)
    derivations = dict.fromkeys(layout.derivation(one.rref.dref) for one in ones)
    if level is Fsync.FULL:
        # Else the folder's name might outlive a power cut that the record's does not.
        flushing.flush((), [*derivations], since=since)
    moved = [one for one in ones if _move(one.folder, layout.realization(one.rref))]
    if level is Fsync.FULL and moved:
        targets = [layout.realization(one.rref) for one in moved]
        flushing.flush((), [*targets, *derivations, layout.store], since=since)


def _move(folder: str, target: str) -> bool:
    """Give a folder its place, and close it; if the place is taken, remove the folder."""
    try:
        os.rename(folder, target)
    except OSError:
        if not os.path.isdir(target):
            raise
        tree.remove(folder)
        return False
    tree.seal(target)
    return True


def _write(store: Store, data: bytes) -> str:
    """Write a temporary file, and return its path."""
    temporary = store.session().file("beside")
    tree.write_file(temporary, data)
    return temporary


def _compress(log: bytes) -> bytes:
    import gzip

    return gzip.compress(log, mtime=1)


def _check_folder(store: Store, dref: DRef, folder: str) -> None:
    try:
        mode = os.lstat(folder).st_mode
    except OSError:
        mode = 0
    if not stat.S_ISDIR(mode):
        raise BuildFailed(
            f"the realizer of {dref} left no folder at {folder}",
            "a realizer returns the folders with its artifacts, one for each realization",
            dref,
        )
    if os.path.dirname(folder) == store.session().path:
        return
    # The folder is about to be moved away: it must not be a realization, nor hold the store.
    real, published = os.path.realpath(folder), os.path.realpath(store.layout.store)
    if os.path.commonpath([real, published]) in (real, published):
        raise BuildFailed(
            f"the realizer of {dref} gave {folder}, which is not its own: it is or holds a part of "
            f"the store {store.root}",
            "copy what is published into a new folder, or link to it, and return that",
            dref,
        )


def _bring(store: Store, folder: str) -> str:
    """Bring `folder` into this process's temporary folder, where nobody else has a name for it."""
    work = store.session()
    # Only a folder that is writable can be moved to another parent.
    os.chmod(folder, os.stat(folder).st_mode | 0o700)
    if os.path.dirname(os.path.abspath(folder)) == work.path:
        return folder
    brought = work.file("brought")
    try:
        os.rename(folder, brought)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        import shutil

        shutil.copytree(folder, brought, symlinks=True, copy_function=_copy)
        tree.remove(folder)
    return brought


def _give_back(brought: str, given: str) -> None:
    if brought != given:
        try:
            os.rename(brought, given)
        except OSError:
            tree.remove(brought)


def _copy(source: str, target: str) -> None:
    import shutil

    if not stat.S_ISREG(os.lstat(source).st_mode):
        raise NixFormatError(f"{source} is no file, folder or symbolic link")
    shutil.copy2(source, target, follow_symlinks=False)


def _version() -> str:
    from plxnix.version import VERSION

    return VERSION


def keep_log(store: Store, dref: DRef, log: bytes) -> str:
    """Keep what a failed realizer printed, replacing that of the last failure; return its place.

    An empty log is not kept, and the place is then an empty string.
    """
    if not log:
        return ""
    place = store.layout.failed_log(dref)
    try:
        os.rename(_write(store, _compress(log)), place)
    except OSError:
        return ""  # The failure itself is what the user has to see.
    return place
