"""Flushing: what a publication waits for before its name is there."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plxnix.errors import StoreError
from plxnix.model import DRef
from plxnix.nix.nar import nar_hash
from plxnix.store import Fsync, Record, Store, flushing, tree
from plxnix.store.publication import publish_known
from plxnix.store.verify import verify
from tests.conftest import missing
from tests.faults.children import STRACE
from tests.store_samples import Entry, build, derive, plant

#: So many that they are not waited for one by one, if the machine has nothing else to write.
MANY = 100

PROGRAM = """
import os, sys
from plxnix.store import flushing
flushing._unwritten = lambda: int(sys.argv[1])
flushing.flush([sys.argv[2]], sys.argv[3:], since=os.open(sys.argv[2], os.O_RDONLY))
"""


def flushed(folder: Path, *arguments: str, unwritten: int = 0) -> list[tuple[str, str]]:
    """Return what is flushed, by which call, when a folder is, and so much else is not written."""
    if STRACE is None:
        missing("strace is not installed; `apt-get install strace` on Debian")
    log = folder.with_name("strace.log")
    trace = (str(STRACE), "-f", "-qq", "-y", "-o", str(log), "-e", "trace=fsync,syncfs")
    flush = (sys.executable, "-c", PROGRAM, str(unwritten), str(folder), *arguments)
    subprocess.run([*trace, *flush], check=True)
    return re.findall(r"(\w+)\(\d+<(.*)>\) += 0$", log.read_text(), re.MULTILINE)


def test_few_are_waited_for_one_by_one(tmp_path: Path) -> None:
    """Each file and folder of a small tree, and what is beside it, but no links."""
    folder = tmp_path / "folder"
    entries: dict[str, Entry] = {"file": b"1", "dir/file": b"2", "link": "file", "empty": None}
    plant(folder, entries)
    beside = tmp_path / "beside"
    beside.write_text("3")
    found = flushed(folder, str(beside))
    names = ("file", "dir/file", "dir", "empty", ".")
    wanted = [*(os.path.normpath(folder / name) for name in names), str(beside)]
    assert sorted(found) == sorted(("fsync", path) for path in wanted)


def test_many_are_waited_for_at_once(tmp_path: Path) -> None:
    """The file system is flushed once, where that does what flushing each file does, no slower."""
    folder = tmp_path / "folder"
    plant(folder, {f"{number % 4}/{number}": b"" for number in range(MANY)})
    kind = subprocess.run(
        ["stat", "-f", "-c", "%t", str(folder)], check=True, capture_output=True, text=True
    )
    found = flushed(folder)
    if int(kind.stdout, 16) in flushing.WHOLE:
        assert found == [("syncfs", str(folder))]
    else:
        assert {call for call, _ in found} == {"fsync"}
    assert {call for call, _ in flushed(folder, unwritten=1 << 30)} == {"fsync"}


@pytest.mark.parametrize("level", Fsync)
def test_several_at_once(tmp_path: Path, level: Fsync) -> None:
    """Folders that were frozen and hashed by others are published together."""
    store = Store.init(tmp_path / "store", level)
    samples: dict[str, dict[str, Entry]] = {"one": {"x": b"1"}, "two": {"y/z": b"2"}, "empty": {}}
    made: list[tuple[DRef, str, Record]] = []
    for name, entries in samples.items():
        folder = store.session().folder(name)
        plant(folder, entries)
        tree.freeze(folder)
        found, size = nar_hash(folder)
        made.append((derive(store, name), folder, Record({}, found.sri, size)))
    rrefs = publish_known(store, made)
    assert list(verify(store)) == []
    other = Store.init(tmp_path / "other", Fsync.NONE)
    assert rrefs == [build(other, name, entries=one) for name, one in samples.items()]
    again = store.session().folder("again")
    plant(again, samples["one"])
    assert publish_known(store, [(made[0][0], again, made[0][2])]) == rrefs[:1]
    assert not os.path.exists(again)
    assert publish_known(store, []) == []


def test_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be flushed is not published."""
    store = Store.init(tmp_path / "store", Fsync.DATA)
    dref, folder = derive(store, "one"), store.session().folder("one")
    found, size = nar_hash(folder)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=f"cannot publish .*{dref}: .*Input/output"):
        publish_known(store, [(dref, folder, Record({}, found.sri, size))])
    assert store.realizations(dref) == []


def test_an_error_that_others_were_told_of(tmp_path: Path) -> None:
    """What a disk has lost is an error, whoever else has flushed it, and more than once."""
    script = """
import ctypes, os, sys
from plxnix.store import flushing
flushing._unwritten = lambda: 0
since = os.open("fs", os.O_RDONLY)
os.mkdir("fs/folder")
for number in range(int(sys.argv[1])):
    os.close(os.open(f"fs/folder/{number}", os.O_CREAT | os.O_WRONLY))
with open("fs/folder/large", "wb") as file:
    file.write(os.urandom(40 << 20))
other = os.open("fs", os.O_RDONLY)
print("another", ctypes.CDLL(None).syncfs(other))
for _ in range(2):
    try:
        flushing.flush(["fs/folder"], since=since)
    except OSError:
        print("an error")
"""
    mount = """
    mkdir disk fs && mount -t tmpfs -o size=24m none disk && truncate -s 200M disk/image &&
    mkfs.ext4 -q -O ^has_journal disk/image && mount -o loop disk/image fs && echo mounted && "$@"
    """
    command = ("unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", script, str(MANY))
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    if done is None or "mounted" not in done.stdout:
        pytest.skip("only root can mount a disk that is too small")
    assert done.stdout.split("\n") == ["mounted", "another -1", "an error", "an error", ""]
