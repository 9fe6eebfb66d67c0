"""Unpack: bring the realizations of an archive into a store, trusting nothing that it says."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from plxnix.archives.forerunner import is_of_forerunner, unpack_forerunner
from plxnix.archives.form import FORMAT, HEAD, LOG, SMALL
from plxnix.builders.archive import Limits, opened
from plxnix.builders.archive_members import Budget, Member, RuleBroken, shown
from plxnix.config import Config
from plxnix.errors import (
    ArchiveError,
    CorruptEntry,
    HostileArchive,
    InvalidValue,
    NixFormatError,
    NotInStore,
    PlxnixError,
    StoreError,
)
from plxnix.model import DRef, RRef, isrref, path_text
from plxnix.nix.nar import restore
from plxnix.store import Store, current_store, tree
from plxnix.store.arrival import admit, expect
from plxnix.store.copying import Progress
from plxnix.store.layout import dref_of
from plxnix.store.locks import Waiting
from plxnix.store.temproots import Keeping

#: What an archive of a closure may cost: data are larger than sources.
LIMITS = Limits(bytes=1 << 44)


def sunpack(
    file: str | os.PathLike[str],
    store: Store | None = None,
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    waiting: Waiting | None = None,
    keeping: Keeping | None = None,
) -> list[RRef]:
    """Bring the realizations of an archive into a store; return those that `spack` was asked for.

    The archive is not trusted: each config has to have the hash of its reference, and each
    realization that of its config, context and artifacts, before it is published, dependencies
    first. Nothing but the store is written. What is there already is passed over, so that unpacking
    is resumed by doing it again. The form is found in the contents, not in the name. What
    Pylightnix has packed is read as well: see `forerunner`. With `keeping` (see `Store.keeping`)
    what arrives is kept until that ends, else until this returns.

    Raises `ArchiveError` for what is no archive of a closure, or damaged; `HostileArchive` for a
    member that has no place in one, and over `limits`; `StoreError` if the store cannot be
    written. What was whole before the error stays. Takes constant memory but for the references and
    one log.
    """
    path = Path(path_text(file, "the archive"))
    store = current_store(store, create=True)
    bounds = LIMITS if limits is None else limits
    try:
        with path.open("rb") as stream:
            first = stream.read(512)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise ArchiveError(f"archive '{path}' cannot be read: {error.strerror}") from error
    name = b""
    with ExitStack() as stack:
        if keeping is None:
            keeping = stack.enter_context(store.keeping((), waiting))
        arriving = _Arriving(path, store, keeping, bounds, progress)
        try:
            with opened(path, first, bounds, Budget(bounds, size)) as members:
                for member in members:
                    name = member.name
                    arriving.member(member)
            return arriving.finish()
        except _OfForerunner:
            return unpack_forerunner(path, store, keeping, bounds, progress)
        except RuleBroken as broken:
            culprit = name if broken.member is None else broken.member
            raise HostileArchive(
                f"archive '{path}' is refused because of its member {shown(culprit)}: "
                f"{broken.rule}",
                "it was not written by `plxnix pack`, or changed since: do not trust it",
            ) from None
        except (CorruptEntry, NixFormatError, InvalidValue, NotInStore) as error:
            raise ArchiveError(
                f"archive '{path}' is damaged at its member {shown(name)}: {error.message}",
                "fetch it again, or pack it again where it comes from",
            ) from error
        except OSError as error:
            if isinstance(error, PlxnixError):
                raise
            raise StoreError(
                f"cannot unpack '{path}' into the store {store.root}: {error.strerror or error}",
                "is the store full or read-only?",
            ) from error
        finally:
            arriving.close()


class _OfForerunner(Exception):
    """The archive is one of Pylightnix."""


class _Arriving:
    """Takes the members of one archive in their order."""

    def __init__(
        self,
        archive: Path,
        store: Store,
        keeping: Keeping,
        limits: Limits,
        progress: Progress | None,
    ) -> None:
        self._archive = archive
        self._store = store
        self._keeping = keeping
        self._limits = limits
        self._progress = progress
        self._roots: list[RRef] | None = None
        self._total = 0
        self._arrived: set[RRef] = set()
        self._configs: set[DRef] = set()
        #: The realization whose record was last, and that record and log.
        self._next: tuple[RRef, bytes, bytes] | None = None
        self._folder = ""

    def member(self, member: Member) -> None:
        """Take one member; raise `RuleBroken` if it has no place here, or what is wrong with it."""
        parts = [part.decode("utf-8", "replace") for part in member.path]
        if self._roots is None:
            self._head(member, parts)
            return
        if member.kind != "file" or member.sparse:
            raise RuleBroken("it is no plain file")
        dref = dref_of(parts[0]) if len(parts) == 2 else None
        if dref is None:
            raise RuleBroken("its name is not that of a part of a closure")
        if parts[1] == "config.json":
            self._config(dref, member)
            return
        rhash, _, kind = parts[1].partition(".")
        rref = f"rref:{rhash}-{dref[5:]}"
        if not isrref(rref):
            raise RuleBroken("its name is not that of a part of a closure")
        self._part(RRef(rref), kind, member)

    def _head(self, member: Member, parts: list[str]) -> None:
        if is_of_forerunner(parts):
            raise _OfForerunner
        if parts != [HEAD] or member.kind != "file":
            raise ArchiveError(
                f"archive '{self._archive}' is not that of a closure: it starts with "
                f"{shown(member.name)}",
                "`plxnix pack` writes them; `fetchurl` and `unpack` take other archives",
            )
        try:
            head = json.loads(_whole(member, SMALL))
            if head["format"] != FORMAT:
                raise ArchiveError(
                    f"archive '{self._archive}' has the format {head['format']!r}; this plxnix "
                    f"knows {FORMAT}",
                    "use the plxnix that wrote it, or a newer one",
                )
            self._roots = [RRef.parse(one) for one in head["roots"]]
            self._total = int(head["realizations"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ArchiveError(
                f"archive '{self._archive}' has a head that cannot be read: {error!r:.200}",
                "fetch it again, or pack it again where it comes from",
            ) from None

    def _config(self, dref: DRef, member: Member) -> None:
        if dref in self._configs:
            raise RuleBroken("it is there twice")
        config = Config.parse(_whole(member, SMALL))
        if config.dref != dref:
            raise RuleBroken(f"it is the config of {config.dref}")
        self._keeping.add([dref])
        self._configs.add(dref)
        self._store.restore(config)

    def _part(self, rref: RRef, kind: str, member: Member) -> None:
        if kind == "json":
            if self._next is not None or rref in self._arrived:
                raise RuleBroken("it is there twice, or not in its place")
            if rref.dref not in self._configs:
                raise RuleBroken("its config does not come before it")
            if self._progress is not None:
                self._progress(len(self._arrived), self._total, rref)
            self._next = rref, _whole(member, SMALL), b""
            return
        if self._next is None or self._next[0] != rref:
            raise RuleBroken("it is not in its place")
        _, record, log = self._next
        if kind == "log.gz" and not log:
            self._next = rref, record, _whole(member, LOG)
        elif kind == "nar":
            if not os.path.isdir(self._store.layout.realization(rref)):
                self._realization(rref, record, log, member)
            self._arrived.add(rref)
            self._next = None
        else:
            raise RuleBroken("its name is not that of a part of a closure")

    def _realization(self, rref: RRef, record: bytes, log: bytes, member: Member) -> None:
        expected = expect(self._store, rref, record)
        self._folder = self._store.session().file("unpacked")
        # `restore` only reads, and reads no more than it is given.
        stream = cast("io.BufferedReader", io.BufferedReader(_Pieces(member.pieces), 1 << 20))
        restore(stream, self._folder, expected.nar_size, self._limits.members)
        if stream.read(1):
            raise RuleBroken("there is more in it than a NAR")
        if not os.path.islink(self._folder) and os.path.isdir(self._folder):
            tree.freeze(self._folder)
        admit(self._store, rref, self._folder, record, log)

    def finish(self) -> list[RRef]:
        """Return the realizations that were asked for; raise `ArchiveError` if any is missing."""
        missing = [rref for rref in self._roots or () if rref not in self._arrived]
        if self._roots is None or self._next is not None or missing:
            raise ArchiveError(
                f"archive '{self._archive}' is cut off: it lacks "
                f"{missing[0] if missing else 'realizations'}",
                "fetch it again, or pack it again where it comes from",
            )
        if self._progress is not None:
            self._progress(len(self._arrived), self._total, "")
        return self._roots

    def close(self) -> None:
        """Remove what was not published."""
        if self._folder:
            tree.remove(self._folder)


class _Pieces(io.RawIOBase):
    """The contents of a member as a stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Give as much as there is at once."""
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _whole(member: Member, limit: int) -> bytes:
    """Return the contents of a small member; raise `RuleBroken` if it is none."""
    data = bytearray()
    for piece in member.pieces:
        data += piece
        if len(data) > limit:
            raise RuleBroken(f"it is over {limit} bytes")
    return bytes(data)
