"""Repair: put right what `verify` has found, without losing anything.

Artifacts come from sources that are asked in turn: another store, the Nix store, a download, a
build. Whatever a source gives is hashed: only what the reference of the realization stands for is
published. What it replaces, and what nobody has any more, is moved into the quarantine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, product

from plxnix.errors import CorruptEntry, NixFormatError, PlxnixError
from plxnix.model import DRef, RRef
from plxnix.nix.nar import nar_hash
from plxnix.ordering import dependencies_first
from plxnix.store import nixroots, sharing, tree, versions
from plxnix.store.arrival import admit, circle
from plxnix.store.inspection import Damage, inspect, inspect_config
from plxnix.store.layout import FORMAT
from plxnix.store.locks import Waiting
from plxnix.store.quarantine import set_aside
from plxnix.store.record import Record, log_hash, rhash
from plxnix.store.sources import Source
from plxnix.store.store import Store
from plxnix.store.temproots import check_unused
from plxnix.store.tree import read_file

#: How many contexts are tried to find the one that a lost record had.
_CONTEXTS = 10_000

#: What a record or artifacts that have to be replaced are reported as.
_REPLACED = frozenset({"record", "artifacts", "missing"})


@dataclass(frozen=True)
class Repair:
    """What became of a damage: how it was put right, empty if it was not, and then why."""

    damage: Damage
    how: str = ""
    why: str = ""


def repair(
    store: Store,
    damages: Iterable[Damage],
    sources: Sequence[Source] = (),
    waiting: Waiting | None = None,
) -> list[Repair]:
    """Put right what was found, as far as that can be done, and say what became of each damage.

    Configs first, then realizations, those that others were made from before these. What running
    processes work with is not replaced. Raises `StoreError` if the store cannot be written.
    """
    return _Repairer(store, sources, waiting).run(list(damages))


class _Repairer:
    def __init__(self, store: Store, sources: Sequence[Source], waiting: Waiting | None) -> None:
        self.store = store
        self.sources = sources
        self.waiting = waiting

    def run(self, damages: list[Damage]) -> list[Repair]:
        done: dict[Damage, Repair] = {}
        realizations: dict[RRef, list[Damage]] = {}
        for damage in damages:
            if damage.rref is not None and not damage.harmless:
                realizations.setdefault(damage.rref, []).append(damage)
                continue
            try:
                with self.store.deleting(self.waiting):
                    done[damage] = self._general(damage)
            except (OSError, PlxnixError) as error:
                done[damage] = Repair(damage, why=_said(error))
        for rref in self._ordered(realizations):
            for result in self._realization(rref, realizations.get(rref, [])):
                done[result.damage] = result
        return [done[damage] for damage in damages]

    def _general(self, damage: Damage) -> Repair:
        """Put right what concerns no realization; the store is locked."""
        layout, path = self.store.layout, damage.path
        if damage.kind == "missing" and path in layout.folders():
            sharing.make_folder(path)
            return Repair(damage, "made anew")
        if damage.kind == "version":
            if os.path.lexists(path):
                set_aside(layout, path, damage.message)
            versions.write_version(layout, FORMAT)
            return Repair(damage, "written anew")
        if damage.kind == "mode":
            os.chmod(path, tree.FILE)
            return Repair(damage, "made read-only")
        if damage.kind == "stray":
            if os.path.dirname(path) == layout.root:
                return Repair(damage, why="it is beside the store: move it away")
            return Repair(damage, f"moved to {set_aside(layout, path, damage.message)}")
        if damage.kind == "config" and damage.dref is not None:
            return self._config(damage, damage.dref)
        if damage.kind == "access":
            return Repair(damage, why="who may write is for its owner to say")
        return Repair(damage, why="it is harmless: gc sweeps it" if damage.harmless else "")

    def _config(self, damage: Damage, dref: DRef) -> Repair:
        for source in self.sources:
            try:
                config = source.config(dref)
            except (OSError, PlxnixError):
                continue
            if config is not None and config.dref == dref:
                if os.path.lexists(damage.path):
                    set_aside(self.store.layout, damage.path, damage.message)
                self.store.forget(dref)
                self.store.restore(config)
                return Repair(damage, f"taken from {source.title}")
        return Repair(damage, why="`plxnix instantiate` of its stage writes it anew")

    # -- realizations --------------------------------------------------------------------------

    def _ordered(self, damaged: Iterable[RRef]) -> list[RRef]:
        """Return realizations, and what is gone that they were made from, that first."""
        known = set(damaged)

        def below(rref: RRef) -> list[RRef]:
            record = self._record(rref)
            found = [] if record is None else [o for some in record.context.values() for o in some]
            place = self.store.layout.realization
            return [one for one in found if one in known or not os.path.isdir(place(one))]

        return list(dependencies_first(sorted(known), below, circle))

    def _record(self, rref: RRef) -> Record | None:
        """Return the record on the disk if it is that of the realization."""
        path = self.store.layout.record(rref)
        try:
            record = Record.parse(read_file(path), path)
        except (OSError, CorruptEntry):
            return None
        found = rhash(rref.dref, record.context, record.nar_hash)
        return record if found == rref.rhash else None

    def _realization(self, rref: RRef, damages: list[Damage]) -> list[Repair]:
        """Put right one realization; without damages, it is gone and others were made from it."""
        how: dict[str, str] = {}
        tried: list[str] = []
        try:
            with self.store.deleting(self.waiting):
                how = self._small(rref, damages)
            left = self._left(rref)
            if left & _REPLACED:
                check_unused(self.store.layout, [rref.dref])
                # A context that does not fit goes with the record that says so.
                said = self._replace(rref, left, tried)
                how.update(dict.fromkeys(_REPLACED, said))
        except (OSError, PlxnixError) as error:
            tried.append(_said(error))
        self.store.forget(rref)
        left = self._left(rref)
        # What was moved away is missing now, whatever it was before.
        bad = left | _REPLACED if left & _REPLACED else left
        why = "; ".join(dict.fromkeys(tried)) or "nothing that could be asked has it"
        return [
            Repair(damage, why=why)
            if damage.kind in bad
            else Repair(damage, how.get(damage.kind) or "whole again")
            for damage in damages
        ]

    def _left(self, rref: RRef) -> set[str]:
        config, _ = inspect_config(self.store, rref.dref)
        return {damage.kind for damage in inspect(self.store, rref, config)}

    def _small(self, rref: RRef, damages: list[Damage]) -> dict[str, str]:
        """Put right permissions, logs and roots in the Nix store; the store is locked."""
        how = {}
        for damage in damages:
            if damage.kind == "mode":
                _freeze(damage.path)
                how["mode"] = "made read-only"
            elif damage.kind == "log":
                how["log"] = "it is lost"
                if os.path.lexists(damage.path):
                    place = set_aside(self.store.layout, damage.path, damage.message)
                    how["log"] = f"moved to {place}"
                if (record := self._record(rref)) is not None and record.log:
                    self._write_record(rref, replace(record, log="").text())
            elif damage.kind == "nix" and (record := self._record(rref)) is not None:
                nixroots.add(self.store, rref, record)
                how["nix"] = "its root in the Nix store was made anew"
        return how

    def _replace(self, rref: RRef, left: set[str], tried: list[str]) -> str:
        """Make the record or the artifacts anew, and return how; empty if nobody has them."""
        layout = self.store.layout
        record, folder = self._record(rref), layout.realization(rref)
        needed = [rref.dref, *(() if record is None else record.context)]
        for source in self.sources:
            candidate = self.store.session().file("repaired")
            try:
                with self.store.keeping(needed, self.waiting):
                    text = source.get(self.store, rref, record, candidate)
                if text is None:
                    continue
                tree.freeze(candidate)
                self._swap(rref, candidate, text)
                return f"taken from {source.title}"
            except (OSError, PlxnixError) as error:
                tried.append(f"{source.title}: {_said(error)}")
            finally:
                tree.remove(candidate)
        if record is None and (said := self._recollect(rref, folder)):
            return said
        if "artifacts" in left and os.path.lexists(folder):
            with self._replacing(rref):
                place = set_aside(layout, folder, f"{rref} is damaged")
            tried.append(f"moved to {place}, so that nobody takes it for whole")
        return ""

    def _recollect(self, rref: RRef, folder: str) -> str:
        """Write a lost record anew, if the artifacts and some context have the right hash."""
        try:
            digest, size = nar_hash(folder)
            config = self.store.config(rref.dref)
        except (OSError, NixFormatError, PlxnixError):
            return ""
        below = [self.store.realizations(dref) for dref in config.dependencies]
        for chosen in islice(product(*below), _CONTEXTS):
            context = {one.dref: (one,) for one in chosen}
            if rhash(rref.dref, context, digest.sri) == rref.rhash:
                record = Record(context, digest.sri, size, flat=_is_flat(rref, folder))
                with self._replacing(rref):
                    self._write_record(rref, record.text())
                return "written anew: its times and host are lost"
        return ""

    @contextmanager
    def _replacing(self, rref: RRef) -> Iterator[None]:
        with self.store.deleting(self.waiting):
            check_unused(self.store.layout, [rref.dref])
            yield

    def _write_record(self, rref: RRef, text: bytes) -> None:
        path = self.store.layout.record(rref)
        if os.path.lexists(path):
            set_aside(self.store.layout, path, f"the record of {rref} is damaged")
        temporary = self.store.session().file("record")
        tree.write_file(temporary, text)
        os.rename(temporary, path)

    def _swap(self, rref: RRef, candidate: str, text: bytes) -> None:
        """Publish what a source gave in the place of what is damaged, if it is the right one."""
        layout = self.store.layout
        text = text or read_file(layout.record(rref))
        parsed = Record.parse(text, f"of {rref}")
        digest, _ = nar_hash(candidate)
        if digest.sri != parsed.nar_hash:
            raise CorruptEntry(f"its bytes have the hash {digest.sri}, not {parsed.nar_hash}")
        if rhash(rref.dref, parsed.context, parsed.nar_hash) != rref.rhash:
            raise CorruptEntry(f"its record is not that of {rref}")
        log = read_file(layout.log(rref)) if os.path.lexists(layout.log(rref)) else b""
        if parsed.log and log_hash(log) != parsed.log:
            text = replace(parsed, log="").text()
        with self._replacing(rref):
            # A record that is whole stays where it is until the new one takes its name: if this
            # process is killed now, the next one knows what the realization was.
            damaged = [] if self._record(rref) else [layout.record(rref)]
            for path in (layout.realization(rref), *damaged):
                if os.path.lexists(path):
                    set_aside(layout, path, f"{rref} is damaged")
            admit(self.store, rref, candidate, text, log)


def _freeze(path: str) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode) or mode & 0o100:
        os.chmod(path, tree.EXECUTABLE)
    elif stat.S_ISREG(mode):
        os.chmod(path, tree.FILE)


def _is_flat(rref: RRef, folder: str) -> bool:
    """Guess whether a builder's output was a file: that alone is in the folder then."""
    return os.listdir(folder) == [rref.name] and os.path.isfile(f"{folder}/{rref.name}")


def _said(error: Exception) -> str:
    if isinstance(error, PlxnixError):
        return error.message.splitlines()[0]
    return str(error)
