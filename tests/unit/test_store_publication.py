"""Publication: what becomes of a folder that a realizer has filled."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plxnix import (
    Build,
    Registry,
    build_outpath,
    build_wrapper,
    current_registry,
    instantiate,
    match_only,
    mkconfig,
    mkdrv,
    realize1,
)
from plxnix.errors import BuildFailed, StoreError
from plxnix.model import DRef
from plxnix.store import Fsync, Record, Store, tree
from plxnix.store.publication import keep_log, publish
from plxnix.store.record import rhash
from plxnix.store.verify import verify
from tests.store_samples import Entry, build, derive, plant

#: A bit of everything that an archive can hold.
EVERYTHING: dict[str, Entry] = {
    "file": b"text\n",
    "empty": b"",
    "run*": b"#!/bin/sh\n",
    "dir/deep/file": b"\0" * 1000,
    "dir/nothing": None,
    "link": "dir/deep/file",
    "loop": "loop",
    "away": "/nonexistent",
    "folder-link": "dir",
    os.fsdecode(b"\xff\xfe name\n"): b"not UTF-8",
    "été": b"",
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the store."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = shm / f"plxnix-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    yield folder
    tree.remove(str(folder))


def contents(folder: str | Path) -> dict[str, Entry]:
    """Return a tree in the form that `plant` takes."""
    found: dict[str, Entry] = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name + ("*" if path.stat().st_mode & 0o100 else "")] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name] = None
    return found


def test_everything_is_kept(store: Store) -> None:
    """Files, executables, empty folders, links and odd names come out as they went in."""
    rref = build(store, "all", entries=EVERYTHING)
    assert contents(store.path(rref)) == EVERYTHING
    assert list(verify(store)) == []


def test_an_empty_folder_is_a_result(store: Store) -> None:
    """A realizer may produce nothing at all."""
    rref = build(store, "none", entries={})
    assert os.listdir(store.path(rref)) == []
    assert store.realizations(rref.dref) == [rref]


def test_results_are_read_only(store: Store) -> None:
    """All files and folders lose their write permission, and who is not root cannot write."""
    rref = build(store, "all", entries=EVERYTHING)
    folder = Path(store.path(rref))
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.name == "run"
            assert stat.S_IMODE(path.stat().st_mode) == (0o555 if executable else 0o444)
    assert stat.S_IMODE(os.stat(store.layout.record(rref)).st_mode) == 0o444
    if not os.access(folder / "file", os.W_OK):  # root may write all the same
        for attempt in ("file", "new", "dir/deep/new"):
            with pytest.raises(PermissionError):
                (folder / attempt).write_text("changed")
        with pytest.raises(PermissionError):
            (folder / "file").unlink()


def test_the_name_follows_from_the_contents(store: Store) -> None:
    """The reference is computed from the derivation, the context and the archive's hash."""
    below = build(store, "below")
    rref = build(store, "one", [below])
    record = store.record(rref)
    assert rref.rhash == rhash(rref.dref, {below.dref: [below]}, record.nar_hash)
    assert record.nar_hash.startswith("sha256-")
    assert record.nar_size > 100
    assert record.host == os.uname().nodename


@pytest.mark.parametrize(
    "other",
    [
        {"a": b"x", "b": b""},
        {"a*": b""},
        {"A": b""},
        {"a": None},
        {"a": "a"},
        {"a": b"", "b": None},
        {"a": b"", "_hidden": b""},
        {"a": b"", ".hidden": b""},
        {"d/a": b""},
        {},
    ],
)
def test_different_results_differ(store: Store, other: dict[str, Entry]) -> None:
    """No two trees that differ in anything but times share a reference."""
    assert build(store, "one", entries={"a": b""}) != build(store, "one", entries=other)


def test_the_same_result_twice(store: Store) -> None:
    """The same artifacts in the same context are one realization with its first record."""
    first = build(store, "one", entries=EVERYTHING, started=1.0, log=b"first")
    second = build(store, "one", entries=EVERYTHING, started=2.0, log=b"second")
    assert first == second
    assert store.realizations(first.dref) == [first]
    assert Store(store.root).record(first).started == 1.0
    assert store.log(first) == "first"
    assert os.listdir(store.session().path) == ["lock"]


def test_the_folder_is_consumed(store: Store, tmp_path: Path) -> None:
    """A folder outside the store is moved, also one that is read-only or private."""
    for mode in (0o555, 0o700, 0o755):
        folder = tmp_path / f"result-{mode}"
        plant(folder, {"file": b"%d" % mode})
        folder.chmod(mode)
        inode = folder.stat().st_ino
        rref = publish(store, derive(store, "one"), str(folder), Record({}, "", 0))
        assert not folder.exists()
        assert os.stat(store.path(rref)).st_ino == inode
        assert list(verify(store, [rref])) == []


def test_another_file_system(store: Store, elsewhere: Path) -> None:
    """A folder on another file system is copied, whatever it holds, and then removed."""
    same = build(store, "one", entries=EVERYTHING)
    plant(elsewhere / "result", EVERYTHING)
    record = Record({}, "", 0)
    rref = publish(store, derive(store, "one"), str(elsewhere / "result"), record)
    assert rref == same
    with store.deleting():
        store.remove([rref])
    plant(elsewhere / "result", EVERYTHING)
    assert publish(store, derive(store, "one"), str(elsewhere / "result"), record) == same
    assert contents(store.path(rref)) == EVERYTHING
    assert list(elsewhere.iterdir()) == []
    assert list(verify(store)) == []


def _special(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    else:
        # The name of a socket is short, and a test's folder may be deep.
        with socket.socket(socket.AF_UNIX) as end:
            descriptor = os.open(path.parent, os.O_RDONLY)
            end.bind(f"/proc/self/fd/{descriptor}/{path.name}")
            os.close(descriptor)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_special_files_are_refused(store: Store, kind: str) -> None:
    """A pipe or socket in a result is an error that names it, and nothing is published."""
    dref = derive(store, "one")
    folder = Path(store.session().folder("one"))
    plant(folder, {"dir/file": b""})
    _special(kind, folder / "dir" / "odd")
    with pytest.raises(BuildFailed, match="dir/odd") as caught:
        publish(store, dref, str(folder), Record({}, "", 0))
    assert caught.value.dref == dref
    assert store.realizations(dref) == []
    assert list(verify(store)) == []


def test_special_files_elsewhere_are_refused(store: Store, elsewhere: Path) -> None:
    """A pipe on another file system is refused too, without waiting for who writes into it."""
    (elsewhere / "result").mkdir()
    os.mkfifo(elsewhere / "result" / "odd")
    with pytest.raises(BuildFailed, match="odd"):
        publish(store, derive(store, "one"), str(elsewhere / "result"), Record({}, "", 0))


@pytest.mark.parametrize("kind", ["missing", "file", "link"])
def test_a_result_is_a_folder(store: Store, tmp_path: Path, kind: str) -> None:
    """No folder, a file, or a link to a folder is not taken for a result."""
    path = tmp_path / "result"
    if kind == "file":
        path.touch()
    elif kind == "link":
        (tmp_path / "folder").mkdir()
        path.symlink_to(tmp_path / "folder")
    with pytest.raises(BuildFailed, match="left no folder") as caught:
        publish(store, derive(store, "one"), str(path), Record({}, "", 0))
    assert str(path) in caught.value.message


def test_an_unknown_derivation(store: Store, tmp_path: Path) -> None:
    """A result of a derivation that the store does not have is a `StoreError`."""
    plant(tmp_path / "result", {"file": b""})
    with pytest.raises(StoreError, match="cannot publish"):
        publish(store, DRef("dref:" + "0" * 32 + "-x"), str(tmp_path / "result"), Record({}, "", 0))


@pytest.mark.parametrize("level", Fsync)
def test_levels_of_flushing(tmp_path: Path, level: Fsync) -> None:
    """Each level publishes the same."""
    store = Store.init(tmp_path / "store", level)
    rref = build(store, "all", entries=EVERYTHING, log=b"printed")
    assert contents(store.path(rref)) == EVERYTHING
    assert list(verify(store)) == []
    other = Store.init(tmp_path / "other", Fsync.NONE)
    assert build(other, "all", entries=EVERYTHING) == rref


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    """Neither freezing nor removing touches what a link in a result points to."""
    outside = tmp_path / "outside"
    plant(outside, {"file": b"mine"})
    entries: dict[str, Entry] = {"folder": str(outside), "file": str(outside / "file")}
    rref = build(store, "one", entries=entries)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (outside, outside / "file")]
    assert modes == [0o755, 0o644]
    with store.deleting():
        store.remove([rref], [rref.dref])
    assert (outside / "file").read_bytes() == b"mine"


def test_failed_logs_replace_each_other(store: Store) -> None:
    """The log of the last failure is kept, and an empty one is not."""
    dref = derive(store, "one")
    assert keep_log(store, dref, b"") == ""
    keep_log(store, dref, b"first")
    place = keep_log(store, dref, b"second")
    assert os.listdir(store.layout.failed) == [os.path.basename(place)]
    shown = subprocess.run(["gzip", "-dc", place], check=True, capture_output=True).stdout
    assert shown == b"second"
    shutil.rmtree(store.layout.failed)
    assert keep_log(store, dref, b"third") == ""


def test_hard_links_to_the_outside_are_cut(store: Store, tmp_path: Path) -> None:
    """A published file shares nothing with a file of the user's that it was linked from."""
    original = tmp_path / "mine.txt"
    original.write_text("mine")

    def realizer(build: Build) -> None:
        os.link(original, build_outpath(build) / "linked.txt")

    with current_registry(Registry(store)):
        rref = realize1(
            instantiate(mkdrv(mkconfig({"name": "x"}), match_only(), build_wrapper(realizer)))
        )
    original.write_text("changed")
    assert os.access(original, os.W_OK)
    assert Path(store.path(rref), "linked.txt").read_text() == "mine"
    assert original.stat().st_nlink == 1
