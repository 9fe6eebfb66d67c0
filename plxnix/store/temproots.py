"""Temporary roots: what running processes rest on stays, and garbage collection does not wait.

Who realizes, copies or unpacks names derivations in a file below `temproots/` for as long as that
lasts: these stay, with all realizations that they have or get, and all that those were made from.
When they are named, whoever deletes just now, with the store's lock alone, is waited for; who does
so later sees them. Only then is the store asked about them. The file is locked while its process
lives; one that is not is that of a dead process, and means nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from plxnix.errors import StoreError
from plxnix.model import DRef, isdref
from plxnix.store import locks
from plxnix.store.layout import Layout
from plxnix.store.locks import Waiting
from plxnix.store.sharing import make_folder

#: How the first line says whose file it is; the following ones are derivations.
_OWNER = re.compile(r"process \d+ on [\w.-]+")

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Keeping:
    """The derivations that a block keeps from garbage collection; see `Store.keeping`."""

    def __init__(self, layout: Layout, path: str = "") -> None:
        self._layout = layout
        #: The file that names them; without one everything is kept.
        self._path = path

    def add(self, drefs: Iterable[DRef], waiting: Waiting | None = None) -> None:
        """Keep more derivations from now on; raise `StoreError` if that cannot be written.

        Cost: one write for all of them; nothing is flushed, since a dead process keeps nothing.
        """
        if not self._path:
            return
        try:
            # Not made anew where somebody has removed it: that file would not be locked.
            with open(os.open(self._path, _APPEND), "ab", buffering=0) as file:
                left = memoryview("".join(f"{dref}\n" for dref in drefs).encode())
                while left:
                    left = left[file.write(left) :]
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror}",
                "is there space, or has somebody removed what keeps this process's work from gc?",
            ) from error
        # For a moment only: else those who begin could keep out who deletes for ever.
        with locks.shared(self._layout.store_lock(), waiting):
            pass


@contextmanager
def keep(
    layout: Layout, drefs: Iterable[DRef], waiting: Waiting | None = None
) -> Iterator[Keeping]:
    """Keep derivations from garbage collection while the block runs; see `Store.keeping`."""
    with ExitStack() as stack:
        try:
            keeping = Keeping(layout, stack.enter_context(_file(layout)))
            keeping.add(drefs, waiting)
        except StoreError as error:
            if not locks.is_caused_by(error, *locks.UNWRITABLE, errno.ENOSPC, errno.EDQUOT):
                raise
            stack.enter_context(locks.shared(layout.store_lock(), waiting))
            keeping = Keeping(layout)
        yield keeping


@contextmanager
def _file(layout: Layout) -> Iterator[str]:
    """Make a file that is locked for the block, and that all users can read."""
    try:
        make_folder(layout.temproots)
    except OSError as error:
        raise StoreError(
            f"cannot make {layout.temproots}: {error.strerror}",
            "is the store read-only, full or another user's?",
        ) from error
    path = f"{layout.temproots}/{os.getpid()}-{os.urandom(8).hex()}"
    with locks.exclusive(path):
        if os.stat(path).st_mode & 0o444 != 0o444:
            os.chmod(path, 0o644)
        yield path


def kept(layout: Layout) -> dict[DRef, str]:
    """Return the derivations that running processes keep, each with the process that does.

    Who holds the store's lock alone sees all of them. Raises `StoreError` if a file cannot be read.
    Cost: a few system calls a file.
    """
    found: dict[DRef, str] = {}
    try:
        names = sorted(os.listdir(layout.temproots))
    except FileNotFoundError:
        return found
    except OSError as error:
        raise _unreadable(layout.temproots, error) from error
    for name in names:
        for dref, owner in parse(_read(f"{layout.temproots}/{name}")).items():
            found.setdefault(dref, owner)
    return found


def parse(text: bytes) -> dict[DRef, str]:
    """Return the derivations that a file names, each with whose file it is.

    Other lines mean nothing: it may be another user's, and torn.
    """
    lines = text.decode(errors="replace").split("\n")
    owner = lines[0] if _OWNER.fullmatch(lines[0]) else "another process"
    return {DRef(line): owner for line in lines if isdref(line)}


def _read(path: str) -> bytes:
    """Return the contents of a file whose process lives; else nothing."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read()
            return b""
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> StoreError:
    return StoreError(
        f"cannot read {path}: {error.strerror}",
        "a process that builds may have written it; if none does, remove it by hand",
    )


def check_unused(layout: Layout, drefs: Iterable[DRef] | None = None) -> None:
    """Raise `StoreError` if a running process keeps any of these derivations, or any at all."""
    used = kept(layout)
    for dref in used if drefs is None else sorted(drefs):
        if dref in used:
            raise StoreError(f"{used[dref]} works with {dref}", "do it again when that is done")
