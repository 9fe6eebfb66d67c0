"""Copying closures of realizations from one store to another."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from plxnix.errors import CorruptEntry, NotInStore, StoreError
from plxnix.model import RRef
from plxnix.store import Fsync, Record, Store
from plxnix.store.arrival import closure, expect
from plxnix.store.copying import copyclosure
from plxnix.store.gc import collect, plan_gc
from plxnix.store.publication import publish
from plxnix.store.record import rhash
from plxnix.store.verify import verify
from tests.store_samples import Entry, build, derive

ENTRIES: dict[str, Entry] = {
    "data/file": b"bytes",
    "run*": b"#!/bin/sh\n",
    "link": "data/file",
    "empty": None,
}


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store to copy from."""
    return Store.init(tmp_path / "source", Fsync.NONE)


@pytest.fixture
def target(tmp_path: Path) -> Store:
    """An empty store to copy to."""
    return Store.init(tmp_path / "target", Fsync.NONE)


def diamond(store: Store) -> tuple[RRef, RRef, RRef, RRef]:
    """Make four realizations: one, two made from it, and one made from those."""
    bottom = build(store, "bottom", entries=ENTRIES, log=b"said\n")
    left, right = build(store, "left", [bottom]), build(store, "right", [bottom])
    return bottom, left, right, build(store, "top", [left, right], started=5.0)


def files(store: Store, rref: RRef) -> dict[str, bytes]:
    """Return the regular files of a realization."""
    top = Path(store.path(rref))
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("share", [True, False])
def test_a_closure_is_copied_whole(source: Store, target: Store, share: bool) -> None:
    """Everything a realization was made from comes along, byte for byte, and nothing else."""
    made = diamond(source)
    build(source, "stranger")
    copied = copyclosure([made[3]], source, target, share=share)
    assert sorted(copied) == sorted(made)
    assert copied[0] == made[0]
    assert copied[-1] == made[3]
    fresh = Store(target.root)
    assert list(verify(fresh)) == []
    assert "stranger" not in [dref.name for dref in fresh.derivations()]
    for rref in made:
        assert files(fresh, rref) == files(source, rref)
        for path in (fresh.layout.record, fresh.layout.log):
            there, here = Path(path(rref)), Path(path(rref).replace("target", "source"))
            assert there.exists() == here.exists()
            assert not here.exists() or there.read_bytes() == here.read_bytes()
    assert fresh.log(made[0]) == "said\n"
    assert os.readlink(f"{fresh.path(made[0])}/link") == "data/file"
    assert os.listdir(target.session().path) == ["lock"]


def test_files_are_shared_only_if_that_is_allowed(source: Store, target: Store) -> None:
    """On one file system no byte is written twice, if `share` allows; removing one leaves one."""
    rref = build(source, "data", entries={"one": b"1" * 10, "two": b"2" * 10, "three": b"3"})
    copyclosure([rref], source, target)
    linked = [os.stat(f"{target.path(rref)}/{name}").st_nlink for name in ("one", "two", "three")]
    # The first is copied where the file system cannot clone; where it can, none is linked.
    assert sorted(linked) in ([1, 2, 2], [1, 1, 1])
    source.remove([rref])
    assert list(verify(target)) == []
    again = Store.init(Path(target.root).with_name("apart"), Fsync.NONE)
    copyclosure([rref], target, again, share=False)
    assert os.stat(f"{again.path(rref)}/two").st_ino != os.stat(f"{target.path(rref)}/two").st_ino


def test_copying_is_resumed(source: Store, target: Store) -> None:
    """What is there already is not copied again; a second copy does nothing."""
    made = diamond(source)
    assert copyclosure([made[1]], source, target) == [made[0], made[1]]
    assert copyclosure([made[3]], source, target) == [made[2], made[3]]
    assert copyclosure([made[3]], source, target) == []
    assert copyclosure([made[3]], source, source) == []


def test_dependencies_without_realizations_come_as_configs(source: Store, target: Store) -> None:
    """Configs are copied with all they refer to, also if a matcher selected no realization."""
    below = derive(source, "below")
    dref = derive(source, "above", [below])
    folder = source.session().folder("above")
    rref = publish(source, dref, folder, Record({below: ()}, "", 0))
    copyclosure([rref], source, target)
    assert target.config(below) == source.config(below)


def test_damage_does_not_arrive(source: Store, target: Store) -> None:
    """A realization that was changed in the source is refused; what it was made from is there."""
    made = diamond(source)
    path = Path(source.path(made[1]), "file")
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    with pytest.raises(CorruptEntry, match="its artifacts have the hash"):
        copyclosure([made[3]], source, target)
    assert os.path.isdir(target.layout.realization(made[0]))
    assert not os.path.exists(target.layout.realization(made[1]))
    assert not os.path.exists(target.layout.realization(made[3]))
    assert list(verify(target)) == []
    assert os.listdir(target.session().path) == ["lock"]


def test_damaged_log_does_not_arrive(source: Store, target: Store) -> None:
    """A log that cannot be unpacked is refused."""
    rref = build(source, "talks", log=b"said")
    log = Path(source.layout.log(rref))
    log.chmod(0o644)
    log.write_bytes(log.read_bytes()[:-6])
    with pytest.raises(CorruptEntry, match="its log is damaged"):
        copyclosure([rref], source, target)


def test_a_record_of_another_is_refused(source: Store) -> None:
    """A record has to have the realization's hash, a fitting context, and all that is in it."""
    bottom, left, right, _ = diamond(source)
    with pytest.raises(CorruptEntry, match="its record is that of"):
        expect(source, right, Path(source.layout.record(left)).read_bytes())
    record = Path(source.layout.record(left)).read_bytes()
    assert expect(source, left, record).context == {bottom.dref: (bottom,)}
    source.remove([bottom])
    with pytest.raises(CorruptEntry, match="which is not here"):
        expect(source, left, record)


def test_forged_contexts_are_refused(source: Store) -> None:
    """A context fits the config and lists realizations under their derivations, whatever its hash.

    The hash of a realization says what somebody claimed, not that it makes sense.
    """
    bottom, left, right, _ = diamond(source)
    nar_hash = source.record(left).nar_hash
    for context in ({}, {bottom.dref: (right,)}, {bottom.dref: (bottom,), right.dref: (right,)}):
        forged = RRef.make(rhash(left.dref, context, nar_hash), left.dref)
        with pytest.raises(CorruptEntry, match="context"):
            expect(source, forged, Record(context, nar_hash, 0).text())


def test_forged_circles_are_refused(source: Store, target: Store) -> None:
    """Records that name each other end no copy in a loop: it says which do."""
    drefs = [derive(source, name) for name in ("one", "two")]
    rrefs = [RRef.make("0" * 32, dref) for dref in drefs]
    for number, rref in enumerate(rrefs):
        os.mkdir(source.layout.realization(rref))
        record = Record({drefs[1 - number]: (rrefs[1 - number],)}, "sha256-x", 1)
        Path(source.layout.record(rref)).write_bytes(record.text())
    with pytest.raises(CorruptEntry, match=f"{rrefs[0]} was made from itself, through {rrefs[1]}"):
        copyclosure(rrefs[:1], source, target)


def test_a_wrong_size_is_refused(source: Store, target: Store) -> None:
    """The size in a record is checked, though no hash covers it."""
    rref = build(source, "data")
    path = Path(source.layout.record(rref))
    path.chmod(0o644)
    path.write_bytes(replace(source.record(rref), nar_size=1).text())
    with pytest.raises(CorruptEntry, match="bytes, not 1"):
        copyclosure([rref], source, target)


def test_what_is_not_there_is_an_error(source: Store, target: Store) -> None:
    """A realization that the source lacks is named."""
    rref = build(source, "gone")
    source.remove([rref])
    with pytest.raises(NotInStore, match="gone"):
        copyclosure([rref], source, target)


def test_order_depends_on_references_alone(source: Store) -> None:
    """A closure has each realization once, dependencies first, however it was asked for."""
    made = diamond(source)
    order = closure(source, made)
    assert order == closure(source, reversed(made)) == closure(source, [made[3]])
    assert len(order) == 4


def test_progress(source: Store, target: Store) -> None:
    """Progress says how many are done, also of those that were there."""
    made = diamond(source)
    copyclosure([made[0]], source, target)
    seen: list[tuple[int, int]] = []
    copyclosure([made[3]], source, target, progress=lambda *told: seen.append(told[:2]))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_target_that_cannot_be_written(source: Store, target: Store) -> None:
    """If the target cannot take a realization, that is one clear error, and nothing is left."""
    rref = build(source, "data")
    target.restore(source.config(rref.dref))
    Path(target.layout.record(rref)).mkdir()
    with pytest.raises(StoreError, match="cannot copy rref:"):
        copyclosure([rref], source, target)
    assert not os.path.exists(target.layout.realization(rref))


def test_collecting_meanwhile(source: Store, target: Store) -> None:
    """While one store is copied to the other, garbage is collected in both; the copy is whole."""
    made = diamond(source)
    garbage = []

    def look(done: int, total: int, rref: str) -> None:
        del done, total, rref
        for store in (source, target):
            opened = Store(store.root)
            garbage.append(build(opened, "garbage"))
            gone = collect(opened, plan_gc(opened, everything=True), pytest.fail)
            assert [one.rref for one in gone.deleted] == garbage[-1:]

    copied = copyclosure([made[3]], source, target, progress=look)
    assert len(garbage) == 2 * len(copied) + 2
    assert list(verify(target)) == list(verify(source)) == []
    assert set(copied) == set(made)
