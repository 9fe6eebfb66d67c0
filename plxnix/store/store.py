"""The native store: configs and realizations on disk, and what can be asked of them.

Readers never lock. Everything that appears in the store appears by one `rename`, so what a reader
sees is whole. `publication.py` writes realizations; this module opens stores, keeps configs and
answers questions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from plxnix.config import Config
from plxnix.errors import (
    CorruptEntry,
    NotInStore,
    StoreError,
)
from plxnix.model import Context, DRef, RRef, isdref, path_text
from plxnix.store import configs, locks, making, sharing, temproots, tree, versions
from plxnix.store.configs import unreadable
from plxnix.store.layout import Layout, dref_of
from plxnix.store.locks import Waiting
from plxnix.store.record import Record
from plxnix.store.session import Session, session
from plxnix.store.settings import Fsync, default_fsync


class Store:
    """A native store, opened; many threads and processes may use one at the same time.

    Configs and records never change, so each is read from the disk once and then kept in memory.
    """

    def __init__(self, root: str | os.PathLike[str], fsync: Fsync | None = None) -> None:
        """Open the store at `root`.

        Raises `StoreNotFound`, `StoreVersionError` if it has another format.
        """
        self.layout = Layout(os.path.abspath(path_text(root, "the store's folder")))
        self.fsync = fsync or default_fsync()
        self._configs: dict[DRef, Config] = {}
        #: Those of them that are on the disk, as far as this object has seen.
        self._written: set[DRef] = set()
        self._records: dict[RRef, Record] = {}
        versions.check_version(self.layout)

    @classmethod
    def init(
        cls,
        root: str | os.PathLike[str],
        fsync: Fsync | None = None,
        group: str | None = None,
    ) -> Store:
        """Open the store at `root`, making it first if there is none; two may do so at once.

        With `group`, a name or number, a new store is shared with that group (see `sharing`).
        Raises what opening it raises, and `StoreError`.
        """
        layout = Layout(os.path.abspath(path_text(root, "the store's folder")))
        existed = os.path.lexists(layout.version) or versions.is_nameless(layout)
        if existed:
            cls(root, fsync)  # Raises before anything is made in what is not ours.
            if group is not None and not sharing.is_shared(layout.root):
                raise StoreError(
                    f"{layout.root} is a store already, and not shared",
                    "docs/store.md says how its owner shares it",
                )
        making.make_store(layout, fsync or default_fsync(), group if not existed else None)
        return cls(root, fsync)

    @property
    def root(self) -> str:
        """The folder of the store."""
        return self.layout.root

    def session(self) -> Session:
        """Return the temporary folder of this process, on the store's own file system."""
        return session(self.layout.tmp)

    @property
    def shared(self) -> bool:
        """Whether the store is shared with a group (see `sharing`)."""
        return sharing.is_shared(self.root)

    def keeping(
        self, drefs: Iterable[DRef], waiting: Waiting | None = None
    ) -> AbstractContextManager[temproots.Keeping]:
        """Keep derivations from garbage collection while the block runs.

        They stay with all realizations that they have or get, and with all that those were made
        from; more can be added. Who publishes keeps what it publishes and what that is made from,
        and names it before looking what there is. Garbage collection goes on meanwhile; in a
        store that this user cannot write, or that is full, it waits, as for `keeping_all`. Raises
        `StoreError`. Cost: one small file for all of them.
        """
        return temproots.keep(self.layout, drefs, waiting)

    def keeping_all(self, waiting: Waiting | None = None) -> AbstractContextManager[None]:
        """Hold off whoever deletes, for a moment; where nothing can be written, if it can be."""
        return locks.shared(self.layout.store_lock(), waiting)

    def deleting(self, waiting: Waiting | None = None) -> AbstractContextManager[None]:
        """Hold off those who begin to use the store while the block runs.

        Who has begun goes on: `temproots.kept` are the derivations that are left alone.
        """
        return locks.alone(self.layout.store_lock(), waiting)

    def realizing(self, dref: DRef, waiting: Waiting | None = None) -> AbstractContextManager[None]:
        """Hold a derivation alone while the block runs, so that it is realized once."""
        return locks.exclusive(self.layout.lock(dref), waiting)

    # -- configs -------------------------------------------------------------------------------

    def add(self, config: Config) -> DRef:
        """Write a config into the store and return its reference; atomic, and cheap if it is there.

        Cost: one small read, and one rename for what is new.
        """
        return config.dref if config.dref in self._written else self.restore(config)

    def know(self, config: Config) -> DRef:
        """Remember a config, so that questions about it are answered, and write nothing."""
        self._configs.setdefault(config.dref, config)
        return config.dref

    def restore(self, config: Config) -> DRef:
        """Write a config that is only known, or was removed or damaged since it was written.

        A realizer calls this within `keeping`, since garbage collection may have taken the
        derivation away between its instantiation and its realization.
        """
        dref = config.dref
        if not configs.is_same(self.layout, config):
            configs.write(self.layout, self.session(), config)
        self._configs[dref] = config
        self._written.add(dref)
        return dref

    def config(self, dref: str) -> Config:
        """Return the config of a derivation.

        Raises `InvalidReference`, `NotInStore`, and `CorruptEntry` if the file is not what the
        reference says.
        """
        reference = DRef.parse(dref)
        found = self._configs.get(reference)
        if found is None:
            found = self._configs[reference] = configs.read(self.layout, reference)
        return found

    def derivations(self) -> Iterator[DRef]:
        """Yield the derivations in the store, sorted; strays are passed over (see `verify`)."""
        for entry in sorted(_listed(self.layout.store)):
            dref = dref_of(entry)
            if dref is not None:
                yield dref

    # -- realizations --------------------------------------------------------------------------

    def realizations(self, dref: str, context: Context | None = None) -> list[RRef]:
        """Return the realizations of a derivation, sorted; with `context`, those made from it.

        Cost: one listing of a folder, and with `context` one small read for each realization.
        Raises `InvalidReference`; a derivation that is not in the store has none.
        """
        reference = DRef.parse(dref)
        try:
            entries = os.listdir(self.layout.derivation(reference))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unreadable(self.layout.derivation(reference), error) from error
        found = self.layout.rrefs(reference, entries)
        if context is None or not found:
            return found
        wanted = {key: tuple(rrefs) for key, rrefs in context.items()}
        return [rref for rref in found if self.record(rref).context == wanted]

    def record(self, rref: str) -> Record:
        """Return the record of a realization; raise `NotInStore` or `CorruptEntry`."""
        reference = RRef.parse(rref)
        found = self._records.get(reference)
        if found is None:
            path = self.layout.record(reference)
            try:
                text = tree.read_file(path)
            except FileNotFoundError:
                self.path(reference)
                raise CorruptEntry(
                    f"the record {path} is missing",
                    "`plxnix rm` removes the realization, and realizing makes it anew",
                    path,
                ) from None
            except OSError as error:
                raise unreadable(path, error) from error
            found = self._records[reference] = Record.parse(text, path)
        return found

    def readable_record(self, rref: str) -> Record | None:
        """Return the record of a realization, None if it is damaged or gone."""
        try:
            return self.record(rref)
        except (CorruptEntry, NotInStore):
            return None

    def path(self, rref: str) -> str:
        """Return the folder with the artifacts of a realization; raise `NotInStore`.

        If its publisher was killed before it could make the folder read-only, that is done now.
        """
        reference = RRef.parse(rref)
        path = self.layout.realization(reference)
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            mode = 0
        if stat.S_ISDIR(mode):
            if mode & 0o222:
                tree.close(path)
        else:
            raise NotInStore(
                f"the store {self.root} has no realization {reference}",
                "realize its stage; `plxnix ls` lists what there is",
                reference,
            )
        return path

    def log(self, reference: str) -> str:
        """Return what the realizer printed; of a derivation, what the last one that failed did.

        Empty if it printed nothing, or none has failed. Raises `NotInStore`, `CorruptEntry`.
        """
        import gzip
        import zlib

        if isdref(reference):
            path, hint = self.layout.failed_log(DRef(reference)), "the next run writes another"
        else:
            self.path(reference)
            path = self.layout.log(RRef.parse(reference))
            hint = "`plxnix verify --repair` moves it away"
        try:
            with tree.open_file(path) as file, gzip.open(file) as log:
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        except (OSError, EOFError, zlib.error) as error:
            raise CorruptEntry(f"the log {path} is damaged: {error}", hint, path) from error

    def remove(self, rrefs: Sequence[RRef], drefs: Sequence[DRef] = ()) -> None:
        """Do what `take_away` does for realizations, then whole derivations, and free the bytes."""
        tree.discard(*map(self.take_away, rrefs), *map(self.take_away, drefs))

    def take_away(self, reference: DRef | RRef) -> str:
        """Move a realization, or a whole derivation, out of sight by one rename; return its place.

        The caller holds `deleting`, knows that nothing kept depends on it, and gives the place to
        `tree.discard` when others may begin. Raises `NotInStore`, `OSError`.
        """
        layout, moved = self.layout, self.session().file("deleted")
        beside: tuple[str, ...] = ()
        if isinstance(reference, DRef):
            path, folder = layout.derivation(reference), layout.store
        else:
            path, folder = self.path(reference), layout.derivation(reference.dref)
            beside = layout.log(reference), layout.record(reference), layout.nix_root(reference)
            os.chmod(path, 0o700)
        os.rename(path, moved)
        if self.fsync is Fsync.FULL:
            # What is moved must not come back without what is removed from here on.
            tree.flush_file(folder)
        for one in beside:
            tree.remove(one)
        self.forget(reference)
        return moved

    def forget(self, reference: DRef | RRef) -> None:
        """Read a config or record from the disk again when it is asked for next."""
        if isinstance(reference, RRef):
            self._records.pop(reference, None)
        else:
            self._configs.pop(reference, None)
            self._written.discard(reference)

    def __repr__(self) -> str:
        return f"Store({self.root!r})"


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise unreadable(folder, error) from error
