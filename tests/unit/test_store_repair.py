"""Repair: each kind of damage is put right from what there is, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from plxnix import fetchurl, mkfile, mknode
from plxnix.config import Config
from plxnix.errors import StoreError
from plxnix.model import DRef, RRef
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.realize.realizing import realize1
from plxnix.realize.registry import Registry, instantiate
from plxnix.recipes.execute import execute
from plxnix.repairing import repair_store
from plxnix.store import Fsync, Record, Store, tree
from plxnix.store.copying import copyclosure
from plxnix.store.quarantine import quarantined, set_aside
from plxnix.store.repair import Repair, repair
from plxnix.store.sources import Source, store_source
from plxnix.store.verify import verify
from tests.store_samples import build

Damager = Callable[[Store, RRef], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.init(tmp_path / "store", Fsync.NONE)


@pytest.fixture
def data(store: Store) -> RRef:
    """A realization with files, folders, links and a log."""
    entries = {"file": b"text", "run*": b"#!", "dir/file": b"deep", "link": "file", "empty": None}
    return build(store, "data", entries=entries, log=b"printed\n" * 100)


@pytest.fixture
def model(store: Store, data: RRef) -> RRef:
    """A realization made from the first."""
    return build(store, "model", [data], started=7.0)


@pytest.fixture
def backup(store: Store, model: RRef, tmp_path: Path) -> Store:
    """Another store, with copies that share no byte with the first."""
    other = Store.init(tmp_path / "backup", Fsync.NONE)
    copyclosure([model], store, other, share=False)
    return other


def opened(folder: str) -> None:
    """Let the owner write into a folder of a realization."""
    os.chmod(folder, 0o755)


def flip(store: Store, rref: RRef) -> None:
    """Change a byte of a file and leave its size and mode."""
    path = Path(store.layout.realization(rref), "dir", "file")
    path.chmod(0o644)
    path.write_bytes(b"deeq")
    path.chmod(0o444)


def rename(store: Store, rref: RRef) -> None:
    """Give a file another name."""
    folder = store.layout.realization(rref)
    opened(folder)
    os.rename(f"{folder}/file", f"{folder}/File")
    os.chmod(folder, 0o555)


def lose(store: Store, rref: RRef) -> None:
    """Remove a file."""
    folder = store.layout.realization(rref)
    opened(folder)
    os.unlink(f"{folder}/file")
    os.chmod(folder, 0o555)


def add(store: Store, rref: RRef) -> None:
    """Add a pipe, which cannot be archived."""
    folder = store.layout.realization(rref)
    opened(folder)
    os.mkfifo(f"{folder}/pipe")
    os.chmod(folder, 0o555)


def unset(store: Store, rref: RRef) -> None:
    """Take the executable bit of a program."""
    os.chmod(f"{store.layout.realization(rref)}/run", 0o444)


def relink(store: Store, rref: RRef) -> None:
    """Let a link lead elsewhere."""
    folder = store.layout.realization(rref)
    opened(folder)
    os.unlink(f"{folder}/link")
    os.symlink("/etc/passwd", f"{folder}/link")
    os.chmod(folder, 0o555)


def replace_by_file(store: Store, rref: RRef) -> None:
    """Put a file in the place of the whole realization."""
    folder = store.layout.realization(rref)
    tree.remove(folder)
    Path(folder).write_text("gone")


def vanish(store: Store, rref: RRef) -> None:
    """Remove the whole realization, but not its record: those made from it lack it."""
    tree.remove(store.layout.realization(rref))


def vanish_entirely(store: Store, rref: RRef) -> None:
    """Remove the whole realization with its record and log."""
    vanish(store, rref)
    for path in (store.layout.record(rref), store.layout.log(rref)):
        tree.remove(path)


def cut_record(store: Store, rref: RRef) -> None:
    """Cut the record short."""
    path = Path(store.layout.record(rref))
    text = path.read_bytes()
    path.unlink()
    path.write_bytes(text[:-20])


def lose_record(store: Store, rref: RRef) -> None:
    """Remove the record."""
    os.unlink(store.layout.record(rref))


def forge_record(store: Store, rref: RRef) -> None:
    """Let the record tell of other bytes."""
    path = Path(store.layout.record(rref))
    value = json.loads(path.read_bytes())
    path.unlink()
    path.write_text(json.dumps({**value, "nar_hash": "sha256-" + "A" * 43 + "="}))


def forge_context(store: Store, rref: RRef) -> None:
    """Let the record tell of no context, or of one that it cannot have."""
    path = Path(store.layout.record(rref))
    value = json.loads(path.read_bytes())
    path.unlink()
    other = "dref:" + "0" * 32 + "-x"
    path.write_text(json.dumps({**value, "context": {other: ["rref:" + "1" * 32 + other[4:]]}}))


ARTIFACTS: list[Damager] = [flip, rename, lose, add, unset, relink, replace_by_file]
GONE: list[Damager] = [vanish, vanish_entirely]
RECORDS: list[Damager] = [cut_record, lose_record, forge_record, forge_context]


def fix(store: Store, *others: Store) -> list[Repair]:
    """Verify with a fresh store, and repair it from others."""
    fresh = Store(store.root, Fsync.NONE)
    damages = list(verify(fresh))
    assert damages
    return repair(fresh, damages, [*map(store_source, others)])


@pytest.mark.parametrize("damage", [*ARTIFACTS, *GONE, *RECORDS])
def test_another_store_helps(
    store: Store, data: RRef, model: RRef, backup: Store, damage: Damager
) -> None:
    """Whatever is wrong with a realization, one from another store takes its place."""
    record = store.record(data)
    damage(store, data)
    done = fix(store, backup)
    assert [one for one in done if not one.how and not one.damage.harmless] == []
    assert list(verify(Store(store.root))) == []
    if not os.path.exists(store.layout.log(data)):  # Logs stay where they are.
        record = replace(record, log="")
    assert Path(store.layout.record(data)).read_bytes() == record.text()
    assert Store(store.root).record(model).context == {data.dref: (data,)}


@pytest.mark.parametrize("damage", ARTIFACTS)
def test_what_is_damaged_is_not_lost(
    store: Store, data: RRef, model: RRef, backup: Store, damage: Damager
) -> None:
    """What was replaced is in the quarantine as it was, with a text that says what it is."""
    damage(store, data)
    place = store.layout.realization(data)
    before = os.lstat(place).st_ino
    mode = stat.S_IMODE(os.lstat(place).st_mode)
    fix(store, backup)
    (kept,) = quarantined(store.layout)
    assert os.lstat(kept).st_ino == before
    assert stat.S_IMODE(os.lstat(kept).st_mode) == mode
    assert Path(f"{kept}.txt").read_text().splitlines()[0] == place
    assert model


@pytest.mark.parametrize("damage", ARTIFACTS)
def test_what_nobody_has(store: Store, data: RRef, model: RRef, damage: Damager) -> None:
    """Without a source the damage is moved away and said to be; with one later, all is well."""
    other = Store.init(f"{store.root}-later", Fsync.NONE)
    copyclosure([data], store, other, share=False)
    damage(store, data)
    done = fix(store)
    assert {one.how for one in done} == {""}
    assert any("quarantine" in one.why for one in done)
    assert not os.path.lexists(store.layout.realization(data))
    assert os.path.exists(store.layout.record(data))
    left = [one for one in verify(Store(store.root)) if not one.harmless]
    assert [(one.kind, one.rref) for one in left] == [("context", model)]
    fix(store, other)
    assert list(verify(Store(store.root))) == []


@pytest.mark.parametrize("damage", [cut_record, lose_record, forge_record])
def test_a_record_is_computed_anew(store: Store, data: RRef, model: RRef, damage: Damager) -> None:
    """Where artifacts and what they may be made from are whole, the hash tells the record."""
    wrong = build(store, "data", entries={"other": b""})
    damage(store, data)
    damage(store, model)
    done = fix(store)
    said = {one.how for one in done} - {"made read-only"}
    assert said == {"written anew: its times and host are lost"}
    assert list(verify(Store(store.root))) == []
    assert Store(store.root).record(model).context == {data.dref: (data,)}
    assert Store(store.root).record(model).started == 0
    assert wrong


def test_modes_are_put_right(store: Store, data: RRef) -> None:
    """Permissions are those of what is published, of files, folders and beside them."""
    folder = Path(store.path(data))
    paths = [folder, folder / "dir", folder / "file", folder / "run", folder / "dir" / "file"]
    paths += map(Path, (store.layout.record(data), store.layout.config(data.dref)))
    before = [stat.S_IMODE(path.stat().st_mode) for path in paths]
    for path in paths:
        path.chmod(before[paths.index(path)] | 0o202)
    done = fix(store)
    assert {one.how for one in done} == {"made read-only"}
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == before
    assert list(verify(Store(store.root))) == []


def test_a_log_is_moved_away(store: Store, data: RRef) -> None:
    """A log that cannot be read is no reason to lose the realization, and is kept."""
    Path(store.layout.log(data)).unlink()
    Path(store.layout.log(data)).write_bytes(b"no gzip")
    (done,) = fix(store)
    assert done.how.startswith("moved to ")
    assert Path(done.how.removeprefix("moved to ")).read_bytes() == b"no gzip"
    assert list(verify(Store(store.root))) == []


def test_strays_are_moved_away(store: Store, data: RRef) -> None:
    """What has no place in the store is moved; what is beside the store is somebody else's."""
    inside = [Path(store.layout.store, "notes"), Path(store.layout.derivation(data.dref), "bak")]
    for path in inside:
        path.mkdir()
        (path / "file").write_text("months of work")
    beside = Path(store.root, "thesis.tex")
    beside.touch()
    done = {one.damage.path: one for one in fix(store)}
    assert "move it away" in done[str(beside)].why
    assert beside.exists()
    for path in inside:
        place = Path(done[str(path)].how.removeprefix("moved to "))
        assert (place / "file").read_text() == "months of work"
        assert not path.exists()
    assert [one.path for one in verify(Store(store.root))] == [str(beside)]


def test_folders_and_the_version_are_made_anew(store: Store, data: RRef) -> None:
    """What every store has is put back."""
    store.session().close()
    fresh = Store(store.root)
    for path in (store.layout.failed, store.layout.downloads):
        shutil.rmtree(path)
    os.unlink(store.layout.version)
    done = repair(fresh, list(verify(fresh)))
    assert sorted(one.how for one in done) == ["made anew", "made anew", "written anew"]
    assert list(verify(Store(store.root))) == []
    assert data


def test_a_config_comes_from_another_store(
    store: Store, data: RRef, model: RRef, backup: Store
) -> None:
    """A damaged config is taken from elsewhere if it is the right one; else the hint says how."""
    path = Path(store.layout.config(data.dref))
    path.chmod(0o644)
    path.write_text('{"name":"else"}')
    assert "instantiate" in next(one.why for one in fix(store) if one.damage.kind == "config")
    assert {one.how for one in fix(store, backup)} == {f"taken from the store {backup.root}"}
    assert list(verify(Store(store.root))) == []
    assert Path(quarantined(store.layout)[0]).read_text() == '{"name":"else"}'
    assert model


def test_both_below_and_above(store: Store, data: RRef, model: RRef, backup: Store) -> None:
    """What was made from something damaged is repaired after that, whatever their order."""
    flip(store, data)
    tree.remove(store.layout.realization(model))
    Path(store.layout.realization(model)).write_text("x")
    cut_record(store, model)
    assert all(one.how for one in fix(store, backup))
    assert list(verify(Store(store.root))) == []


def test_liars_are_not_believed(store: Store, data: RRef) -> None:
    """What a source gives is hashed: wrong bytes, wrong records and wrong configs are refused."""

    def wrong_bytes(*asked: object) -> bytes:
        folder = str(asked[-1])
        Path(folder).mkdir()
        Path(folder, "file").write_text("trojan")
        return b""

    def wrong_record(*asked: object) -> bytes:
        wrong_bytes(*asked)
        digest, size = nar_hash(str(asked[-1]))
        return Record({}, digest.sri, size).text()

    def failing(*_: object) -> bytes:
        raise StoreError("out of order")

    def other(_: DRef) -> Config:
        return Config({"name": "other"})

    flip(store, data)
    liars = [Source("a", wrong_bytes, other), Source("b", wrong_record), Source("c", failing)]
    damages = list(verify(store))
    (done,) = repair(store, damages, liars)
    assert not done.how
    assert "a: its bytes have the hash" in done.why
    assert "b: its record is not that of" in done.why
    assert "c: out of order" in done.why
    assert os.listdir(store.session().path) == ["lock"]
    assert list(store.realizations(data.dref)) == []
    path = Path(store.layout.config(data.dref))
    path.chmod(0o644)
    path.write_text("{}")
    fresh = Store(store.root)
    (done,) = repair(fresh, [one for one in verify(fresh) if one.kind == "config"], liars)
    assert not done.how
    assert list(Store(store.root).derivations()) == [data.dref]


def test_quarantine_keeps_all_of_one_name(store: Store) -> None:
    """Things of one name do not replace each other there, and a failure leaves nothing."""
    for text in ("one", "two"):
        Path(store.layout.tmp, "name").write_text(text)
        set_aside(store.layout, f"{store.layout.tmp}/name", "why")
    assert {Path(path).read_text() for path in quarantined(store.layout)} == {"one", "two"}
    with pytest.raises(OSError, match="nothing"):
        set_aside(store.layout, f"{store.layout.tmp}/nothing", "why")
    assert len(os.listdir(store.layout.quarantine)) == 4


def test_circles_of_contexts_are_found(store: Store) -> None:
    """Records that say that realizations were made from each other are found, by themselves."""
    one, two = build(store, "one"), build(store, "two")
    above = build(store, "above", [two])
    for rref, below in ((one, two), (two, one)):
        path = Path(store.layout.record(rref))
        value = json.loads(path.read_bytes())
        path.unlink()
        path.write_text(json.dumps({**value, "context": {below.dref: [below]}}))
    said = {damage.rref for damage in verify(store) if "made from itself" in damage.message}
    assert said == {one, two}
    assert above


def test_threads_find_the_same(store: Store, data: RRef, model: RRef) -> None:
    """With several threads the same damage is found, in the same order."""
    for number in range(20):
        flip(store, build(store, f"n{number}", entries={"dir/file": b"deep"}))
    assert list(verify(store, jobs=4)) == list(verify(store))
    assert len(list(verify(store, jobs=4))) == 20
    assert data
    assert model


# -- what is made again ----------------------------------------------------------------------------


def damaged(store: Store, rref: RRef) -> Path:
    """Damage the first file of a realization and return its place."""
    path = min(path for path in Path(store.path(rref)).rglob("*") if path.is_file())
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    path.chmod(0o444)
    return path


def test_recipes_are_run_again(store: Store) -> None:
    """What a recipe made is made again from the config and the record, files and commands alike."""

    def stage() -> DRef:
        below = mkfile("below", contents="one\n")
        return execute(name="above", below=below / "below", command='cat "$below" > "$out"')

    above = realize1(instantiate(stage, registry=Registry(store)), sandbox="off")
    (below,) = store.record(above).context.values()
    texts = {path: path.read_bytes() for rref in (above, *below) for path in files(store, rref)}
    assert set(texts.values()) == {b"one\n"}
    for rref in (above, *below):
        damaged(store, rref)
    fresh = Store(store.root)
    done = repair_store(fresh, list(verify(fresh)))
    assert {one.how for one in done} == {"taken from its recipe"}
    assert {path: path.read_bytes() for path in texts} == texts
    assert list(verify(Store(store.root))) == []


def files(store: Store, rref: RRef) -> list[Path]:
    """Return the files of a realization."""
    return [path for path in Path(store.path(rref)).rglob("*") if path.is_file()]


def test_a_recipe_that_gives_other_bytes(store: Store, tmp_path: Path) -> None:
    """What is not deterministic is not taken for what it was."""
    clock = tmp_path / "clock"
    clock.write_text("1")

    def stage() -> DRef:
        return execute(name="now", command=f'cp {clock} "$out"', deterministic=False)

    rref = realize1(instantiate(stage, registry=Registry(store)))
    clock.write_text("2")
    damaged(store, rref)
    fresh = Store(store.root)
    (done,) = repair_store(fresh, list(verify(fresh)))
    assert "its recipe: it gives other bytes now" in done.why


def test_fetches_are_downloaded_again(store: Store, tmp_path: Path) -> None:
    """A fetched file is downloaded again if that is allowed, and not taken if it has changed."""
    source = tmp_path / "source.txt"
    source.write_text("contents")

    def stage() -> DRef:
        return fetchurl(url=source.as_uri(), hash=Hash.of_file(source, "sha256").sri)

    rref = realize1(instantiate(stage, registry=Registry(store)))
    place = damaged(store, rref)
    fresh = Store(store.root)
    damages = list(verify(fresh))
    source.write_text("changed!")
    (done,) = repair_store(fresh, damages, refetch=True)
    assert "hash" in done.why
    source.write_text("contents")
    (done,) = repair_store(fresh, damages)
    assert "--refetch" in done.why
    (done,) = repair_store(fresh, damages, refetch=True)
    assert done.how == "taken from its recipe"
    assert place.read_text() == "contents"
    assert list(verify(Store(store.root))) == []


def test_python_code_is_not_run_again(store: Store) -> None:
    """What Python code made cannot be made from a config alone; the report says what to do."""
    rref = realize1(instantiate(lambda: mknode({"name": "node"}), registry=Registry(store)))
    plain = build(store, "plain")
    damaged(store, plain)
    fresh = Store(store.root)
    (done,) = repair_store(fresh, list(verify(fresh)))
    assert "Python code made it: realize its stage again" in done.why
    assert store.path(rref)
