"""Stores that a group shares, that nobody may write, and that others may write."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plxnix import Registry, Store, instantiate, match_only, mkdrv, realize1
from plxnix.errors import StoreError
from plxnix.realize.build import build_outpath, build_wrapper
from plxnix.store import Fsync, sharing
from plxnix.store.gc import collect, plan_gc
from plxnix.store.roots import add_root
from plxnix.store.verify import verify
from tests.command_line import CommandLine
from tests.store_samples import build

#: Two users of one group, who need not exist.
GROUP, ALICE, BOB = 54321, 54322, 54323


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)


def run_as(user: int, function: Callable[[], object]) -> None:
    """Run a function as another user, in a process of its own, with a strict umask."""
    if os.geteuid() != 0:
        pytest.skip("only root can be several users")
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([GROUP])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            function()
        except BaseException:  # noqa: BLE001  # whatever it is, it must not run the parent's tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def realize(root: Path, name: str) -> str:
    """Realize a stage of this name, made from one that all share."""

    def make(one: object) -> None:
        (build_outpath(one) / "file").write_text(name)  # type: ignore[arg-type]

    def stage() -> object:
        below = mkdrv({"name": "below"}, match_only(), build_wrapper(make))
        return mkdrv({"name": name, "below": below}, match_only(), build_wrapper(make))

    return realize1(instantiate(stage, registry=Registry(Store(root, Fsync.NONE))))


def test_a_group_shares_a_store(place: Path) -> None:
    """Members build on each other's results and make roots, whatever their umasks."""
    root = place / "store"
    store = Store.init(root, Fsync.NONE, group=str(GROUP))
    assert store.shared
    for folder in store.layout.folders():
        found = os.stat(folder)
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o2775, GROUP)
    # Alice has died with a lock in her hands, and Bob goes on.
    run_as(ALICE, lambda: realize(root, "alice"))
    run_as(ALICE, lambda: Path(store.layout.locks, "left").touch())
    run_as(BOB, lambda: realize(root, "bob"))
    run_as(ALICE, lambda: realize(root, "bob"))
    rrefs = [rref for dref in store.derivations() for rref in store.realizations(dref)]
    assert sorted(rref.name for rref in rrefs) == ["alice", "below", "bob"]
    run_as(BOB, lambda: add_root(Store(root), f"{store.layout.gcroots}/it", rrefs[0]))
    assert list(verify(Store(root))) == []


def test_each_member_collects_their_own(place: Path) -> None:
    """Garbage of other users stays and is said to; what is one's own goes."""
    root = place / "store"
    store = Store.init(root, Fsync.NONE, group=str(GROUP))
    run_as(ALICE, lambda: realize(root, "alice"))
    run_as(BOB, lambda: realize(root, "bob"))

    def gc() -> None:
        opened = Store(root)
        done = collect(opened, plan_gc(opened, everything=True))
        if [one.rref.name for one in done.deleted] != ["bob"]:
            raise AssertionError(done)
        if sorted(set(done.kept.values())) != [f"of the user {ALICE}"]:
            raise AssertionError(done)

    run_as(BOB, gc)
    names = sorted(dref.name for dref in Store(root).derivations())
    assert names == ["alice", "below"]
    assert store.shared


def test_a_store_is_shared_later(place: Path) -> None:
    """The commands of docs/store.md make a private store one that a group shares."""
    root = place / "store"
    store = Store.init(root, Fsync.NONE)
    above = realize(root, "above")
    add_root(store, place / "result", above)
    text = (Path(__file__).parents[2] / "docs" / "store.md").read_text()
    commands = [line.strip() for line in text.splitlines() if "/srv/plxnix" in line]
    commands = [line for line in commands if line.startswith(("chgrp", "find"))]
    assert len(commands) == 2
    for line in commands:
        line = line.replace("/srv/plxnix", str(root)).replace("science", str(GROUP))
        if os.geteuid() == 0:
            subprocess.run(line, shell=True, check=True)
    run_as(BOB, lambda: realize(root, "bob"))
    run_as(BOB, lambda: realize(root, "above"))
    assert list(verify(Store(root))) == []


def test_others_cannot_enter_a_private_store(place: Path) -> None:
    """Who may only read a store gets what is in it, and a clear error for what is not."""
    root = place / "store"
    store = Store.init(root, Fsync.NONE)
    rref = build(store, "one")

    def look() -> None:
        opened = Store(root)
        with opened.keeping_all():
            opened.path(rref)
        with pytest.raises(StoreError, match="cannot write below"):
            opened.session()
        with pytest.raises(StoreError):
            build(opened, "two")

    run_as(BOB, look)


def test_who_may_only_read_holds_off_gc(place: Path) -> None:
    """A reader without the right to write holds the store's lock as long as anything is kept."""
    store = Store.init(place / "store", Fsync.NONE)
    rref = build(store, "one")
    with store.keeping_all():
        pass

    def read() -> None:
        with Store(store.root).keeping([rref.dref]):
            Path(Store(store.root).path(rref), "file").read_text()
            descriptor = os.open(store.layout.store_lock(), os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    run_as(BOB, read)


@pytest.mark.parametrize("group", [None, str(GROUP)])
def test_what_others_work_with_stays(place: Path, group: str | None) -> None:
    """Who collects sees what other users' processes work with, whatever their umasks."""
    root = place / "store"
    place.chmod(0o777)
    run_as(BOB, lambda: Store.init(root, Fsync.NONE, group=group))
    run_as(BOB, lambda: realize(root, "bob"))
    (above,) = [dref for dref in Store(root).derivations() if dref.name == "bob"]

    def gc() -> None:
        opened = Store(root)
        done = collect(opened, plan_gc(opened, everything=True))
        owner = f"process {os.getppid()} on {os.uname().nodename}"
        if done.deleted or f"{owner} works with it" not in done.kept.values():
            raise AssertionError(done)

    before = os.umask(0o077)
    try:
        with Store(root).keeping([above]):
            run_as(BOB, gc)
    finally:
        os.umask(before)


def test_a_store_is_shared_when_it_is_made(tmp_path: Path) -> None:
    """A group that does not exist, and a store that is there and private, are errors."""
    with pytest.raises(StoreError, match="no group 'nobody-has-this'"):
        Store.init(tmp_path / "new", group="nobody-has-this")
    Store.init(tmp_path / "old")
    with pytest.raises(StoreError, match="not shared"):
        Store.init(tmp_path / "old", group=str(os.getgid()))
    shared = Store.init(tmp_path / "mine", group=str(os.getgid()))
    assert shared.shared
    assert Store.init(tmp_path / "mine", group=str(os.getgid())).shared


def test_sharing_on_the_command_line(plxnix: CommandLine, tmp_path: Path) -> None:
    """`init --group` makes a store that is shared, and `info` says who may write into a store."""
    plxnix.ok("init", tmp_path / "shared", "--group", str(os.getgid()))
    plxnix.ok("init", tmp_path / "private")
    said = [
        plxnix.ok("info", "--json", "--store", tmp_path / name).json["written_by"]
        for name in ("shared", "private")
    ]
    assert said == [f"the group {os.getgid()}", "its owner"]
    assert "not shared" in plxnix.fails("init", tmp_path / "private", "--group", str(os.getgid()))


@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o755, ""), (0o775, "its group"), (0o2775, ""), (0o777, "everybody"), (0o1777, "")],
)
def test_who_else_may_write(tmp_path: Path, mode: int, who: str) -> None:
    """A store that others may write is told from one that is shared."""
    tmp_path.chmod(mode)
    assert sharing.intruders(str(tmp_path)) == who


READER = """
import sys
from plxnix import Registry, Store, instantiate, match_only, mkdrv, realize1
from plxnix.cli import main
from plxnix.realize.build import build_wrapper
from plxnix.errors import StoreError
store = Store(sys.argv[1])
def stage(name="one"):
    return mkdrv({"name": name}, match_only(), build_wrapper(lambda build: 1 / 0))
closure = instantiate(stage, registry=Registry(store))
closure.derivations[closure.dref]
print(realize1(closure))
try:
    realize1(instantiate(stage, name="two", registry=Registry(store)))
except StoreError as error:
    print("refused", "read-only" in str(error).lower())
for command in (["ls"], ["info"], ["du"], ["tree"], ["verify"], ["roots"], ["gc", "-n", "--all"],
                ["why", sys.argv[2]], ["path", sys.argv[2]], ["find"], ["du", "--tree"]):
    if main(["--quiet", "--store", sys.argv[1], *command]) != 0:
        print("failed", command)
"""


def test_a_store_on_a_read_only_file_system(tmp_path: Path, bubblewrap: str) -> None:
    """All reading commands work, and so does realizing what is there; the rest is refused."""
    store = Store.init(tmp_path / "store", Fsync.NONE)

    def make(one: object) -> None:
        (build_outpath(one) / "file").write_text("x")  # type: ignore[arg-type]

    def stage() -> object:
        return mkdrv({"name": "one"}, match_only(), build_wrapper(make))

    rref = realize1(instantiate(stage, registry=Registry(store)))
    add_root(store, tmp_path / "result", rref)
    box = [bubblewrap, "--dev-bind", "/", "/", "--ro-bind", store.root, store.root]
    for locked in (True, False):
        if not locked:
            Path(store.layout.store_lock()).unlink()
        done = subprocess.run(
            [*box, sys.executable, "-c", READER, store.root, rref],
            check=False,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"]},
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert lines[:2] == [rref, "refused True"]
        assert not [line for line in lines if line.startswith("failed")], done.stderr
