"""Opening stores, and what configs and records do in them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from plxnix.config import Config
from plxnix.errors import (
    CorruptEntry,
    InvalidReference,
    InvalidSetting,
    NotInStore,
    StoreError,
    StoreNotFound,
    StoreVersionError,
)
from plxnix.model import DRef, RRef
from plxnix.store import Fsync, Record, Store, current_storage, current_store, fsinit, tree
from plxnix.store.query import path2rref
from plxnix.store.settings import default_fsync, default_root
from tests.store_samples import build, derive


def test_init_twice(tmp_path: Path) -> None:
    """A store that is there is opened as it is."""
    rref = build(Store.init(tmp_path / "store"), "one")
    again = Store.init(tmp_path / "store")
    assert again.realizations(rref.dref) == [rref]
    assert os.listdir(again.layout.tmp) == [os.path.basename(again.session().path)]


def test_no_store(tmp_path: Path) -> None:
    """Where there is no store, opening says so and makes nothing."""
    (tmp_path / "file").touch()
    for place in (tmp_path / "missing", tmp_path / "file", tmp_path):
        with pytest.raises(StoreNotFound) as caught:
            Store(place)
        assert str(place) in caught.value.message
        assert isinstance(caught.value, FileNotFoundError)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    ("text", "error"), [("2\n", StoreVersionError), ("1.2.3\n", CorruptEntry), ("", CorruptEntry)]
)
def test_other_formats_are_refused(tmp_path: Path, text: str, error: type[StoreError]) -> None:
    """A newer store, or a folder of something else, is refused and left as it is."""
    (tmp_path / "version").write_text(text)
    before = sorted(os.listdir(tmp_path))
    for open_store in (Store, Store.init):
        with pytest.raises(error) as caught:
            open_store(tmp_path)
        assert str(tmp_path) in caught.value.message
    assert sorted(os.listdir(tmp_path)) == before


def test_no_room_for_a_store(tmp_path: Path) -> None:
    """A place where no folder can be made is a `StoreError`."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make a store"):
        Store.init(tmp_path / "file" / "store")


def test_fsinit_options(tmp_path: Path) -> None:
    """An existing store is an error or is emptied on request, but only if it is a store."""
    place = tmp_path / "store"
    place.mkdir()
    rref = build(fsinit(place, remove_existing=True, use_as_default=False), "one")
    with pytest.raises(StoreError, match="exists already"):
        fsinit(place, check_not_exist=True, use_as_default=False)
    emptied = fsinit(place, remove_existing=True, use_as_default=False)
    assert emptied.realizations(rref.dref) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(StoreNotFound):
        fsinit(tmp_path / "mine", remove_existing=True, use_as_default=False)
    assert (tmp_path / "mine" / "file").exists()


def test_the_current_store(tmp_path: Path, store: Store) -> None:
    """The block's store is meant, then the default one, which is made only if that is allowed."""
    with current_storage(store) as opened:
        assert opened is current_store() is store
        other = Store.init(tmp_path / "other")
        assert current_store(other) is other
        with current_storage(tmp_path / "other"):
            assert current_store().root == other.root


def test_settings() -> None:
    """Places and levels come from the environment, and unusable ones are errors."""
    assert default_root({"PLXNIX_ROOT": "/a/../b"}) == "/b"
    assert default_root({"XDG_DATA_HOME": "/data"}) == "/data/plxnix"
    assert default_root({"XDG_DATA_HOME": "not/absolute"}).endswith("/.local/share/plxnix")
    assert default_fsync({}) is default_fsync({"PLXNIX_FSYNC": ""}) is Fsync.DATA
    assert default_fsync({"PLXNIX_FSYNC": "full"}) is Fsync.FULL
    with pytest.raises(InvalidSetting, match="'always'"):
        default_fsync({"PLXNIX_FSYNC": "always"})


def test_configs_are_kept(store: Store) -> None:
    """What is added can be read by another process, read-only and in canonical form."""
    config = Config({"name": "one", "rate": 0.5})
    dref = store.add(config)
    assert dref == config.dref
    assert Store(store.root).config(dref) == config
    path = Path(store.layout.config(dref))
    assert path.read_bytes() == config.canonical
    assert stat.S_IMODE(path.stat().st_mode) == tree.FILE
    assert list(store.derivations()) == [dref]


def test_references_are_checked(store: Store) -> None:
    """Text that is no reference, and references to what is not there, are told apart."""
    dref = DRef("dref:" + "0" * 32 + "-none")
    rref = RRef.make("1" * 32, dref)
    for question in (store.config, store.realizations):
        with pytest.raises(InvalidReference):
            question("none")
    for ask in (store.path, store.record, store.log):
        with pytest.raises(InvalidReference):
            ask("none")
        with pytest.raises(NotInStore) as caught:
            ask(rref)
        assert caught.value.reference == rref
    with pytest.raises(NotInStore):
        store.config(dref)
    assert store.realizations(dref) == []


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b'{"dependencies":[],"name":"two"}',
        b'{"dependencies": [], "name": "one"}',
        b"\xff",
        None,
    ],
)
def test_damaged_configs(store: Store, damage: bytes | None) -> None:
    """A damaged config is never used, and adding it again puts it right, its results kept."""
    rref = build(store, "one")
    config = store.config(rref.dref)
    path = store.layout.config(rref.dref)
    os.unlink(path)
    if damage is not None:
        Path(path).write_bytes(damage)
    with pytest.raises(NotInStore if damage is None else CorruptEntry):
        Store(store.root).config(rref.dref)
    for again in (Store(store.root).add, store.restore):
        assert again(config) == rref.dref
        assert Path(path).read_bytes() == config.canonical
        os.chmod(path, 0o644)
        Path(path).write_bytes(config.canonical[:-2] + b"?}")
    assert store.restore(config) == rref.dref
    assert Store(store.root).config(rref.dref) == config
    assert store.realizations(rref.dref) == [rref]


def test_strays_have_no_realizations(store: Store) -> None:
    """A file in a derivation's place is passed over, and so are foreign names in its folder."""
    rref = build(store, "one")
    other = DRef("dref:" + "0" * 32 + "-stray")
    Path(store.layout.derivation(other)).touch()
    Path(store.layout.derivation(rref.dref), "f" * 31).mkdir()
    Path(store.layout.store, "notes.txt").touch()
    assert store.realizations(other) == []
    assert store.realizations(rref.dref) == [rref]
    assert list(store.derivations()) == sorted([rref.dref, other])


def test_realizations_of_a_context(store: Store) -> None:
    """Realizations are told apart by what they were made from, order included."""
    low, high = (build(store, "data", entries={"n": text}) for text in (b"1", b"2"))
    one, both, swapped = (
        build(store, "model", below, {"m": b"x"}) for below in ([low], [low, high], [high, low])
    )
    assert len({one, both, swapped}) == 3
    dref = one.dref
    assert store.realizations(dref) == sorted([one, both, swapped])
    assert store.realizations(dref, {low.dref: [low]}) == [one]
    assert store.realizations(dref, {low.dref: (high, low)}) == [swapped]
    assert store.realizations(dref, {}) == []


def test_records(store: Store) -> None:
    """A record keeps what it was given, and a lost one is a `CorruptEntry` that names its file."""
    rref = build(store, "one", started=5.0, log=b"said \xff\n")
    fresh = Store(store.root)
    record = fresh.record(rref)
    assert (record.started, record.context, record.index) == (5.0, {}, 0)
    assert Record.parse(record.text(), "path") == record
    assert fresh.log(rref) == "said �\n"
    os.unlink(store.layout.record(rref))
    with pytest.raises(CorruptEntry, match="missing") as caught:
        Store(store.root).record(rref)
    assert caught.value.path == store.layout.record(rref)
    assert fresh.log(build(store, "silent")) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"nar_size": -1},
        {"nar_size": 1.5},
        {"nar_size": True},
        {"started": float("nan")},
        {"started": 1e20},
        {"stopped": -(10**400)},
        {"stopped": float("inf")},
        {"started": "now"},
        {"index": None},
        {"host": 3},
        {"flat": 1},
        {"nar_hash": "md5-abc"},
        {"nar_hash": None},
        {"nix": []},
        {"context": []},
        {"context": {"none": []}},
        {"context": {"dref:" + "0" * 32 + "-x": ["none"]}},
        {"context": {"dref:" + "0" * 32 + "-x": 3}},
    ],
)
def test_damaged_records(change: dict[str, object]) -> None:
    """A record with a field of the wrong kind is damaged."""
    whole = Record({}, "sha256-x", 1)
    value = {**json.loads(whole.text()), **change}
    with pytest.raises(CorruptEntry, match="somewhere"):
        Record.parse(json.dumps(value).encode(), "somewhere")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_record(text: bytes) -> None:
    """Text that is no record at all is damaged too."""
    with pytest.raises(CorruptEntry):
        Record.parse(text, "somewhere")


def test_fields_of_later_records_are_passed_over() -> None:
    """A record with a field that this version does not know can be read."""
    whole = Record({}, "sha256-x", 1)
    value = {**json.loads(whole.text()), "energy": 3}
    assert Record.parse(json.dumps(value).encode(), "somewhere") == whole


def test_removing(store: Store) -> None:
    """What is removed is gone with its record and log, the rest stays."""
    first, second = (build(store, "one", entries={"n": n}, log=b"x") for n in (b"1", b"2"))
    with store.deleting():
        store.remove([first])
    folder = store.layout.derivation(first.dref)
    assert sorted(os.listdir(folder)) == sorted(
        ["config.json", second.rhash, f"{second.rhash}.json", f"{second.rhash}.log.gz"]
    )
    with pytest.raises(NotInStore):
        store.record(first)
    with store.deleting():
        store.remove([second], [second.dref])
    assert list(store.derivations()) == []
    assert derive(store, "one") == second.dref
    assert store.config(second.dref).name == "one"


def test_paths_lead_back(store: Store, tmp_path: Path) -> None:
    """The realization of a path, or of a link to it, is found; other paths have none."""
    rref = build(store, "one", entries={"dir/file": b""})
    inside = Path(store.path(rref), "dir", "file")
    (tmp_path / "link").symlink_to(inside)
    for path in (store.path(rref), inside, tmp_path / "link"):
        assert path2rref(path, store) == rref
    for path in (store.root, store.layout.config(rref.dref), store.layout.record(rref), tmp_path):
        assert path2rref(path, store) is None


def test_a_store_with_strangers_is_not_removed(tmp_path: Path) -> None:
    """`remove_existing` removes stores only: one that holds other files is left alone."""
    place = tmp_path / "store"
    fsinit(place, use_as_default=False)
    (place / "thesis.tex").write_text("ten years of work")
    with pytest.raises(StoreError, match="thesis"):
        fsinit(place, remove_existing=True, use_as_default=False)
    assert (place / "thesis.tex").exists()
