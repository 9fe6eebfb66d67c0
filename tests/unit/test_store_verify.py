"""Verification: each kind of damage is found, named, and left as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix.model import DRef, RRef
from plxnix.store import Store, tree
from plxnix.store.gc import collect, plan_gc
from plxnix.store.roots import add_root
from plxnix.store.verify import Damage, verify
from tests.store_samples import build


@pytest.fixture
def data(store: Store) -> RRef:
    """A realization with files, folders, links and a log."""
    entries = {"file": b"text", "run*": b"", "dir/file": b"deep", "link": "file", "empty": None}
    return build(store, "data", entries=entries, log=b"printed\n" * 100)


@pytest.fixture
def model(store: Store, data: RRef) -> RRef:
    """A realization made from the first."""
    return build(store, "model", [data], log=b"printed\n")


def kinds(store: Store) -> list[tuple[str, RRef | None]]:
    """Verify with a fresh store and return what is wrong, without the words."""
    return [(damage.kind, damage.rref) for damage in verify(Store(store.root))]


def rewrite(path: str, text: bytes) -> None:
    """Write a file of the store anew, with the permissions it has to have."""
    os.unlink(path)
    Path(path).write_bytes(text)
    os.chmod(path, tree.FILE)


def test_a_whole_store(store: Store, data: RRef, model: RRef, tmp_path: Path) -> None:
    """A store with roots, locks, failed logs and unfinished work has no damage."""
    add_root(store, tmp_path / "result", model)
    Path(store.layout.failed, "log").touch()
    store.session().folder("unfinished")
    with store.keeping_all(), store.realizing(data.dref):
        assert kinds(store) == []


def test_progress_is_told(store: Store, data: RRef, model: RRef) -> None:
    """Each realization is announced before it is read, and the end is told."""
    told: list[tuple[int, int, str]] = []
    assert list(verify(store, None, lambda *step: told.append(step))) == []
    first, second = sorted([data, model], key=lambda rref: rref.dref)
    assert told == [(0, 2, first), (1, 2, second), (2, 2, "")]


def test_what_is_deleted_meanwhile_is_no_damage(store: Store) -> None:
    """Garbage collection does not wait for who verifies, who does not take it for damage."""
    built = (build(store, f"number-{number}") for number in range(6))
    first, broken, *others = sorted(built, key=lambda rref: rref.dref)
    stray = Path(store.layout.derivation(first.dref), "stray")
    stray.touch()
    Path(store.path(broken), "file").chmod(0o644)

    def collecting(*keep: RRef) -> None:
        opened = Store(store.root)
        collect(opened, plan_gc(opened, keep), pytest.fail)

    def progress(*step: object) -> None:
        if step[0] == 0:  # All derivations are listed.
            collecting(first, broken)

    found = verify(Store(store.root), progress=progress)
    assert next(found).path == str(stray)
    collecting(first, broken, *others[2:])  # The last ones have not been looked at.
    assert [(damage.kind, damage.rref) for damage in found] == [("mode", broken)]
    assert {*store.derivations()} == {first.dref, broken.dref}


@pytest.mark.parametrize("part", ["config", "record", "log"])
def test_what_is_gone_between_two_looks(
    store: Store, data: RRef, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A derivation that is deleted while one of its files is looked at is no damage either."""
    layout, lstat = store.layout, os.lstat
    path = layout.config(data.dref) if part == "config" else getattr(layout, part)(data)

    def late(place: str, **given: int) -> os.stat_result:
        if place == path and os.path.lexists(layout.derivation(data.dref)):
            os.rename(layout.derivation(data.dref), store.session().file("deleted"))
        return lstat(place, **given)

    monkeypatch.setattr(os, "lstat", late)
    assert list(verify(Store(store.root))) == []
    assert [*store.derivations()] == []


def test_some_can_be_chosen(store: Store, data: RRef, model: RRef) -> None:
    """Only the realizations that are named are looked at; one that is not there is said so."""
    Path(store.path(data), "file").chmod(0o644)
    Path(store.layout.store, "stray").touch()
    assert list(verify(store, [model, model])) == []
    assert [damage.kind for damage in verify(store, iter([data, data]))] == ["mode"]
    gone = RRef.make("0" * 32, data.dref)
    unknown = RRef("rref:" + "0" * 32 + "-" + "1" * 32 + "-x")
    found = list(verify(store, [gone, unknown, model]))
    assert sorted((damage.kind, damage.rref) for damage in found) == sorted(
        [("missing", gone), ("missing", unknown)]
    )


def test_nothing_is_hidden(store: Store, data: RRef) -> None:
    """Strays are found at every level, whatever they are called."""
    folder = Path(store.layout.derivation(data.dref))
    strays = [
        Path(store.root, "notes"),
        Path(store.root, ".hidden"),
        Path(store.root, "store-v2"),
        Path(store.layout.store, ".DS_Store"),
        Path(store.layout.store, "_private"),
        Path(store.layout.store, "0" * 31 + "-short"),
        Path(store.layout.store, os.fsdecode(b"\xff\xfe")),
        folder / ".nfs0001",
        folder / "config.json.bak",
        folder / f"{data.rhash}.txt",
        folder / f"{data.rhash}.log.gz.json",
        folder / "0123",
    ]
    for number, path in enumerate(strays):
        if number % 3 == 0:
            path.mkdir()
        elif number % 3 == 1:
            path.touch()
        else:
            path.symlink_to("nowhere")
    found = list(verify(store))
    assert {damage.kind for damage in found} == {"stray"}
    assert sorted(damage.path for damage in found) == sorted(map(str, strays))
    for damage in found:
        damage.message.encode()


def test_a_file_in_place_of_a_folder(store: Store, data: RRef) -> None:
    """A file or link that is called like a derivation or a realization is found."""
    other = DRef("dref:" + "0" * 32 + "-x")
    Path(store.layout.derivation(other)).touch()
    assert [damage.dref for damage in verify(store)] == [other]
    folder = store.path(data)
    os.unlink(store.layout.derivation(other))
    os.chmod(folder, 0o755)
    os.rename(folder, f"{store.root}/moved")
    os.symlink(f"{store.root}/moved", folder)
    assert ("artifacts", data) in kinds(store)


def test_leftovers_are_harmless(store: Store, data: RRef) -> None:
    """A record and a log without a realization are told apart from damage."""
    ghost = RRef.make("0" * 32, data.dref)
    for path in (store.layout.record(ghost), store.layout.log(ghost)):
        Path(path).touch()
    found = list(verify(store))
    assert [(damage.kind, damage.rref) for damage in found] == [("leftover", ghost)] * 2
    assert all(damage.harmless for damage in found)
    assert not Damage("artifacts", "", "").harmless
    with store.keeping([data.dref]):  # Perhaps it is published just now.
        assert kinds(store) == []


@pytest.mark.parametrize("text", [b"", b"2\n", b"one", None])
def test_the_version(store: Store, data: RRef, text: bytes | None) -> None:
    """A version file that changed while the store was open is found, and the rest is read."""
    Path(store.layout.version).unlink()
    if text is not None:
        Path(store.layout.version).write_bytes(text)
    Path(store.path(data), "file").chmod(0o644)
    found = list(verify(store))
    assert [damage.kind for damage in found] == ["version", "mode"]
    assert found[0].path == store.layout.version


def test_missing_folders(store: Store) -> None:
    """Each folder of the store has to be there, also the main one."""
    for folder in store.layout.folders():
        shutil.rmtree(folder)
    found = list(verify(store))
    assert [damage.kind for damage in found] == ["missing"] * len(store.layout.folders())
    assert [damage.path for damage in found] == list(store.layout.folders())


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda text: text[:-1],
        lambda text: text + b"\n",
        lambda text: text.replace(b'"', b"'"),
        lambda text: text.replace(b"data", b"datb"),
        lambda text: b"\xff" + text,
        lambda text: json.dumps(json.loads(text), indent=1).encode(),
        lambda _: b"{}",
    ],
)
def test_damaged_configs(store: Store, data: RRef, damage: Callable[[bytes], bytes]) -> None:
    """Any change of a config is found, and its realizations are checked all the same."""
    path = store.layout.config(data.dref)
    rewrite(path, damage(Path(path).read_bytes()))
    Path(store.path(data), "file").chmod(0o644)
    found = list(verify(store))
    assert [(one.kind, one.dref) for one in found] == [("config", data.dref), ("mode", data.dref)]
    assert found[0].path == path


def test_what_stands_in_for_a_file(store: Store, data: RRef) -> None:
    """A missing file, or a link, folder or pipe in its place, is damage; a pipe does not hang."""
    for path, kind in (
        (store.layout.config(data.dref), "config"),
        (store.layout.record(data), "record"),
        (store.layout.log(data), "log"),
    ):
        moved = f"{store.root}/../{kind}"
        os.rename(path, moved)
        assert [damage.kind for damage in verify(store)] == [kind]
        os.symlink(moved, path)
        assert [damage.kind for damage in verify(store)] == [kind]
        os.unlink(path)
        os.mkfifo(path)
        assert [damage.kind for damage in verify(store)] == [kind]
        os.unlink(path)
        os.mkdir(path)
        assert [damage.kind for damage in verify(store)] == [kind]
        os.rmdir(path)
        os.rename(moved, path)
    assert list(verify(store)) == []


@pytest.mark.parametrize("field", ["context", "nar_hash", "nar_size", "started"])
def test_changed_records(store: Store, data: RRef, model: RRef, field: str) -> None:
    """A record whose hashed fields were changed does not fit its name."""
    path = store.layout.record(model)
    value = json.loads(Path(path).read_bytes())
    changes: dict[str, object] = {
        "context": {data.dref: []},
        "nar_hash": "sha256-" + "A" * 43 + "=",
        "nar_size": value["nar_size"] + 1,
        "started": "yesterday",
    }
    rewrite(path, json.dumps({**value, field: changes[field]}).encode())
    found = kinds(store)
    assert ("record", model) in found
    assert {rref for _, rref in found} == {model}
    assert (("artifacts", model) in found) == (field == "nar_hash")


def test_forged_contexts(store: Store, data: RRef, model: RRef) -> None:
    """A context with a stranger, without a dependency, or with another's realization is found."""
    path = store.layout.record(model)
    value = json.loads(Path(path).read_bytes())
    stranger = build(store, "stranger")
    for context, said in (
        ({}, f"lacks {data.dref}"),
        ({data.dref: [data], stranger.dref: [stranger]}, f"stranger {stranger.dref}"),
        ({data.dref: [stranger]}, f"lists {stranger} under {data.dref}"),
    ):
        rewrite(path, json.dumps({**value, "context": context}).encode())
        found = [damage for damage in verify(store) if damage.kind == "context"]
        assert [damage.rref for damage in found] == [model]
        assert said in found[0].message


def test_dangling_contexts(store: Store, data: RRef, model: RRef) -> None:
    """A realization whose dependency was removed is found, and says which."""
    with store.deleting():
        store.remove([data])
    found = list(verify(store))
    assert [(damage.kind, damage.rref) for damage in found] == [("context", model)]
    assert f"{data}, which is gone" in found[0].message


def test_wrong_modes_name_the_files(store: Store, data: RRef) -> None:
    """Each file and folder that can be written is named, the realization's own folder included."""
    folder = Path(store.path(data))
    wrong = [folder / "file", folder / "dir", folder / "dir" / "file", folder]
    for path in wrong:
        path.chmod(0o755 if path.is_dir() else 0o644)
    beside = [store.layout.config(data.dref), store.layout.record(data), store.layout.log(data)]
    for other in beside:
        os.chmod(other, 0o644)
    found = list(verify(store))
    assert {damage.kind for damage in found} == {"mode"}
    assert sorted(damage.path for damage in found) == sorted([*map(str, wrong), *beside])
    for path in wrong:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for other in beside:
        os.chmod(other, 0o444)
    (folder / "run").chmod(0o4555)
    assert [damage.path for damage in verify(store)] == [str(folder / "run")]


@pytest.mark.parametrize("place", [0, 5, 20, -1])
def test_damaged_logs(store: Store, data: RRef, place: int) -> None:
    """A log that was cut or changed is found."""
    path = store.layout.log(data)
    text = bytearray(Path(path).read_bytes())
    text[place] ^= 0x10
    rewrite(path, bytes(text) if place != 5 else bytes(text[:5]))
    assert kinds(store) == [("log", data)]
    rewrite(path, b"")
    assert kinds(store) == [("log", data)]


def test_special_files_are_damage(store: Store, data: RRef, model: RRef) -> None:
    """A pipe that appeared in a realization is found without being read, and the rest goes on."""
    folder = Path(store.path(data), "dir")
    folder.chmod(0o755)
    os.mkfifo(folder / "pipe")
    folder.chmod(0o555)
    Path(store.path(model), "file").chmod(0o644)
    assert sorted(kinds(store)) == sorted([("artifacts", data), ("mode", model)])


def test_nothing_is_changed(store: Store, data: RRef, model: RRef) -> None:
    """Verifying a damaged store leaves every byte, name, permission and time as it is.

    Only what it looks at twice is named in `temproots/` meanwhile.
    """
    with store.keeping([]):
        pass
    Path(store.path(data), "file").chmod(0o644)
    Path(store.path(data), "file").write_bytes(b"other")
    Path(store.layout.record(model)).unlink()
    Path(store.layout.store, "stray").touch()

    def state() -> list[tuple[str, int, int, int]]:
        paths = [Path(store.root), *Path(store.root).rglob("*")]
        assert os.listdir(store.layout.temproots) == []
        found = ((path, path.lstat()) for path in paths if path.name != "temproots")
        return sorted((str(p), s.st_mode, s.st_size, s.st_mtime_ns) for p, s in found)

    before = state()
    assert len(list(verify(store))) >= 4
    assert state() == before


def test_every_byte_of_a_record_and_a_log(store: Store, data: RRef) -> None:
    """A flipped byte is found wherever it is, in what is told and in what gzip does not look at."""
    for path, kind in ((store.layout.record(data), "record"), (store.layout.log(data), "log")):
        text = Path(path).read_bytes()
        os.chmod(path, 0o644)
        for place in range(len(text)):
            Path(path).write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
            kinds = {damage.kind for damage in verify(store, [data])} - {"mode"}
            assert kinds, f"byte {place} of the {kind}"
        Path(path).write_bytes(text + b"\n")
        assert kind in {damage.kind for damage in verify(store, [data])}
        Path(path).write_bytes(text)
        os.chmod(path, 0o444)
    assert list(verify(store)) == []
