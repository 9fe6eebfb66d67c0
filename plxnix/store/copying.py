"""Copying between native stores: closures of realizations, cheaply on one file system.

Files are cloned where the file system can, else hard-linked where both stores are this user's,
else copied. Either way every realization is hashed in its new place before it is published.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from plxnix.errors import CorruptEntry, NixFormatError, StoreError
from plxnix.model import RRef, rref_list
from plxnix.store import tree
from plxnix.store.arrival import admit, closure, derivations, expect
from plxnix.store.current import current_store
from plxnix.store.locks import Waiting
from plxnix.store.store import Store

#: Called before each realization with how many are done, how many there are, and its reference.
Progress = Callable[[int, int, str], None]

#: The request to share a file's blocks until one is written (ioctl_ficlone(2)).
_FICLONE = 0x40049409


def copyclosure(
    rrefs: Iterable[str],
    store_from: Store,
    store_to: Store | None = None,
    *,
    share: bool = True,
    progress: Progress | None = None,
    waiting: Waiting | None = None,
) -> list[RRef]:
    """Copy realizations, and all that they were made from, into another store.

    Configs, contexts, records and logs go along. Each realization appears by one rename, after
    those that it was made from; what is there already is passed over, so that a copy that was
    interrupted is resumed. `share=False` copies every byte. Returns what was copied, dependencies
    first. The copies have no roots.

    Raises `NotInStore`; `CorruptEntry` for what is damaged in `store_from`, which is not
    published; `StoreError` if `store_to` cannot be written. Cost: one read of all that is copied.
    """
    store_from, store_to = current_store(store_from), current_store(store_to)
    wanted = rref_list(rrefs)
    with ExitStack() as stack:
        stack.enter_context(store_from.keeping({rref.dref for rref in wanted}, waiting))
        order = closure(store_from, wanted)
        if os.path.realpath(store_from.root) == os.path.realpath(store_to.root):
            return []
        drefs = derivations(store_from, order)
        stack.enter_context(store_to.keeping(drefs, waiting))
        for dref in drefs:
            store_to.restore(store_from.config(dref))
        copied = []
        copier = _Copier(share)
        for number, rref in enumerate(order):
            if progress is not None:
                progress(number, len(order), rref)
            if not os.path.isdir(store_to.layout.realization(rref)):
                _copy(store_from, store_to, rref, copier)
                copied.append(rref)
        if progress is not None:
            progress(len(order), len(order), "")
    return copied


def _copy(store_from: Store, store_to: Store, rref: RRef, copier: _Copier) -> None:
    layout = store_from.layout
    folder = store_to.session().file("copied")
    try:
        record = tree.read_file(layout.record(rref))
        expect(store_to, rref, record)
        log = tree.read_file(layout.log(rref)) if os.path.lexists(layout.log(rref)) else b""
        copier.tree(layout.realization(rref), folder)
        admit(store_to, rref, folder, record, log)
    except BaseException as error:
        tree.remove(folder)
        if isinstance(error, NixFormatError):
            raise CorruptEntry(error.message, error.hint, layout.realization(rref)) from error
        if isinstance(error, OSError):
            raise StoreError(
                f"cannot copy {rref} to {store_to.root}: {error}",
                "is that store full or read-only, or the first one another user's?",
            ) from error
        raise


def copy_tree(source: str, target: str) -> None:
    """Copy a frozen file or tree of this machine, every byte; the top stays writable.

    Raises `OSError`, and `NixFormatError` for what cannot be archived.
    """
    copier, found = _Copier(share=False), os.lstat(source)
    if stat.S_ISREG(found.st_mode):
        copier.file(source, target, found)
    else:
        copier.tree(source, target)


class _Copier:
    """Copies frozen trees and remembers which ways the file systems allow."""

    def __init__(self, share: bool) -> None:
        self._clones = share
        self._links = share

    def tree(self, source: str, target: str) -> None:
        """Copy a tree with the permissions and times of a frozen one; the top stays writable."""
        os.mkdir(target, 0o700)
        folders = []
        for folder, below, files in os.walk(source, onerror=_raise):
            there = target + folder[len(source) :]
            for name in (*below, *files):
                path, copy = f"{folder}/{name}", f"{there}/{name}"
                found = os.lstat(path)
                if stat.S_ISLNK(found.st_mode):
                    os.symlink(os.readlink(path), copy)
                    os.utime(copy, (1, 1), follow_symlinks=False)
                elif stat.S_ISDIR(found.st_mode):
                    os.mkdir(copy, 0o700)
                    folders.append(copy)
                elif stat.S_ISREG(found.st_mode):
                    self.file(path, copy, found)
                else:
                    raise NixFormatError(f"{path} is no file, folder or symbolic link")
        for folder in reversed(folders):
            tree.seal(folder)

    def file(self, source: str, target: str, found: os.stat_result) -> None:
        """Clone, link or copy a file."""
        mode = stat.S_IMODE(found.st_mode)
        # What another user can still write, or change the permissions of, is not shared by a link.
        frozen = mode in (tree.FILE, tree.EXECUTABLE) and found.st_uid == os.geteuid()
        if self._links and not self._clones and frozen:
            try:
                os.link(source, target, follow_symlinks=False)
            except OSError as error:
                self._links = error.errno == errno.EMLINK
            else:
                return
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            writing = os.open(target, flags, 0o600)
            try:
                if not self._clone(reading, writing):
                    while piece := os.read(reading, tree.SMALL):
                        while piece:
                            piece = piece[os.write(writing, piece) :]
                os.fchmod(writing, tree.EXECUTABLE if mode & 0o100 else tree.FILE)
                os.utime(writing, (1, 1))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _clone(self, source: int, target: int) -> bool:
        if not self._clones:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:
            self._clones = False
        return self._clones


def _raise(error: OSError) -> None:
    raise error
