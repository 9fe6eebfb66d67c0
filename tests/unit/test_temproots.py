"""Temporary roots: garbage collection does not wait for builds, and they lose nothing by it."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plxnix import Build, Config, DRef, RRef, Store, build_deref, build_wrapper
from plxnix.errors import StoreError
from plxnix.realize.parcels import Answer, Task, pack_call
from plxnix.realize.worker import perform
from plxnix.shell_functions import rmref
from plxnix.store import Fsync, locks, temproots
from plxnix.store.gc import GcPlan, collect, plan_gc
from plxnix.store.repair import repair
from plxnix.store.verify import verify
from tests.store_samples import build, derive

#: Realizes three stages, one above the other; the second says so and waits for a file.
BUILDER = """
import os, sys, time
from plxnix import Registry, Store, build_wrapper, instantiate, match_only, mkdrv, realize1
root, go, arguments = sys.argv[1:]
def make(build):
    if build.dref.name == "middle":
        print("runs", flush=True)
        while not os.path.exists(go):
            time.sleep(0.01)
    (build.outpaths[0] / "out").write_text(build.dref.name)
def stage():
    dref = None
    for name in ("below", "middle", "above"):
        config = {"name": name, **({} if dref is None else {"below": dref})}
        dref = mkdrv(config, match_only(), build_wrapper(make))
    return dref
rref = realize1(instantiate(stage, registry=Registry(Store(root))), **eval(arguments))
print(rref, flush=True)
sys.stdin.readline()
"""


@contextmanager
def building(store: Store, arguments: str = "{}") -> Iterator[subprocess.Popen[str]]:
    """Run a process that stands in the middle of its second stage."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDER, store.root, f"{store.root}-go", arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def go_on(store: Store, process: subprocess.Popen[str]) -> str:
    """Let the process go on, and return what it says then."""
    Path(f"{store.root}-go").touch()
    assert process.stdout is not None
    return process.stdout.readline().strip()


def clean(store: Store) -> GcPlan:
    """Collect all garbage; waiting for anybody is a failure."""
    opened = Store(store.root, Fsync.NONE)
    return collect(opened, plan_gc(opened, everything=True), pytest.fail)


def names(rrefs: object) -> list[str]:
    """Return the names of realizations, sorted."""
    assert isinstance(rrefs, list)
    return sorted(rref.name for rref in rrefs)


@pytest.mark.parametrize("arguments", ["{}", "{'jobs': 2}", "{'jobs': 2, 'executor': 'threads'}"])
def test_gc_in_the_middle_of_a_stage(store: Store, arguments: str) -> None:
    """It deletes what does not concern the running stages; they go on and find all they need."""
    build(store, "garbage")
    with building(store, arguments) as process:
        done = clean(store)
        assert [one.rref.name for one in done.deleted] == ["garbage"]
        assert [dref.name for dref in done.drefs] == ["garbage"]
        ((rref, why),) = done.kept.items()
        assert rref.name == "below"
        assert re.fullmatch(r"process \d+ on \S+ works with it", why)
        assert names([*store.derivations()]) == ["below", "middle"]
        above = RRef(go_on(store, process))
        assert [*Store(store.root).record(above).context] == [
            dref for dref in store.derivations() if dref.name == "middle"
        ]
        assert list(verify(Store(store.root))) == []
        # Its work is done, though the process lives.
        assert names([one.rref for one in clean(store).deleted]) == ["above", "below", "middle"]


def test_what_the_dead_kept_is_free(store: Store) -> None:
    """A killed builder keeps nothing, and its file goes."""
    with building(store) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(os.listdir(store.layout.temproots)) == 1
        assert names([one.rref for one in plan_gc(store, everything=True).deleted]) == ["below"]
        assert os.listdir(store.layout.temproots) != []
        clean(store)
        assert os.listdir(store.layout.temproots) == []
        assert list(store.derivations()) == []


def test_a_worker_keeps_what_it_works_with(store: Store) -> None:
    """Who works for another process does not rely on that one: it may be dead."""
    below, root = build(store, "below"), store.root
    config = Config({"name": "above", "below": str(below.dref)})

    def make(build: Build) -> None:
        opened = Store(root)
        collect(opened, plan_gc(opened, everything=True))
        (build.outpaths[0] / "out").write_text(build_deref(build, below.dref))

    task = Task(
        dref=config.dref,
        config=config.canonical,
        context={below.dref: [below]},
        call=pack_call(config.dref, build_wrapper(make), {}),
        store=root,
        proof=store.session().path,
        fsync=Fsync.NONE,
        keep_failed=False,
        search=(),
        token="",
    )
    answer: Answer = pickle.loads(perform(pickle.dumps(task)))  # noqa: S301 (of ourselves)
    assert answer.error is None
    assert list(verify(store, [*answer.rrefs, below])) == []
    assert temproots.kept(store.layout) == {}


def test_what_is_worked_with_is_not_removed(store: Store) -> None:
    """Neither `rm` nor a repair takes away what a process works with; they name that."""
    data, other = build(store, "data"), build(store, "other")
    Path(store.path(data), "file").chmod(0o600)
    Path(store.path(data), "file").write_text("x")
    with store.keeping([data.dref]):
        for force in (False, True):
            with pytest.raises(
                StoreError, match=f"process {os.getpid()} on .* works with {data.dref}"
            ):
                rmref(data, store, force=force)
        repaired = repair(store, verify(store, [data]))
        assert {one.why for one in repaired if one.damage.kind == "artifacts"} == {
            f"process {os.getpid()} on {os.uname().nodename} works with {data.dref}"
        }
        rmref(other, store)
    rmref(data, store)
    assert names([rref for dref in store.derivations() for rref in store.realizations(dref)]) == []


def test_litter_of_a_running_stage_stays(store: Store) -> None:
    """What was downloaded, and what was written for a realization that is about to appear, stay."""
    dref = derive(store, "running")
    ghost = RRef.make("0" * 32, dref)
    paths = [store.layout.record(ghost), store.layout.download(dref), store.layout.failed_log(dref)]
    for path in paths:
        Path(path).write_text("{}")
        os.utime(path, (0, 0))
    os.mkdir(store.layout.nixroots)
    os.symlink("/", store.layout.nix_root(ghost))
    paths.append(store.layout.nix_root(ghost))
    with store.keeping([dref]):
        opened = Store(store.root)
        collect(opened, plan_gc(opened, older_than=1, everything=True))
        assert [path for path in paths if not os.path.lexists(path)] == []
    clean(store)
    assert [path for path in paths if os.path.lexists(path)] == []


def test_more_is_kept_later(store: Store) -> None:
    """Derivations can be added while the block runs; each block ends by itself."""
    rrefs = [build(store, name) for name in ("one", "two", "three")]
    with store.keeping([rrefs[0].dref]) as keeping:
        with store.keeping([rrefs[1].dref]):
            keeping.add([rrefs[2].dref])
            assert {*temproots.kept(store.layout)} == {rref.dref for rref in rrefs}
            assert clean(store).deleted == []
        assert names([one.rref for one in clean(store).deleted]) == ["two"]
    assert names([one.rref for one in clean(store).deleted]) == ["one", "three"]
    assert os.listdir(store.layout.temproots) == []


def test_a_file_that_somebody_removed(store: Store) -> None:
    """More cannot be kept without it, and that is said; a file that nobody locks is not made."""
    with store.keeping([]) as keeping:
        (name,) = os.listdir(store.layout.temproots)
        os.unlink(f"{store.layout.temproots}/{name}")
        with pytest.raises(StoreError, match=f"cannot write .*{name}: No such file"):
            keeping.add([build(store, "more").dref])
        assert os.listdir(store.layout.temproots) == []


def test_many_derivations_are_kept_at_once(store: Store) -> None:
    """Ten thousand are kept, and read back."""
    drefs = [DRef(f"dref:{number:032x}-name") for number in range(10_000)]
    with store.keeping(drefs):
        assert sorted(temproots.kept(store.layout)) == drefs


#: Begins to use a store, again and again, without a gap.
USER = """
import sys
from plxnix import Store
store = Store(sys.argv[1])
print("begins", flush=True)
while True:
    with store.keeping([]):
        pass
"""


def test_who_begins_does_not_keep_gc_out_for_ever(store: Store) -> None:
    """Where processes begin one after the other, who waits to delete has their turn."""
    command = [sys.executable, "-c", USER, store.root]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    users = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(6)
    ]
    try:
        for user in users:
            assert user.stdout is not None
            assert user.stdout.readline() == "begins\n"
        begun = time.monotonic()
        for _ in range(3):
            with store.deleting():
                pass
        assert time.monotonic() - begun < 60
    finally:
        for user in users:
            user.kill()
            user.communicate()


def test_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file can be written, what is there can be used, and garbage collection waits."""
    mkdir = os.mkdir

    def full(path: str, mode: int = 0o777) -> None:
        if path == store.layout.temproots:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", full)
    with (
        store.keeping([]),
        open(store.layout.store_lock()) as lock,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with store.deleting(pytest.fail):
        pass


def test_keeping_waits_for_who_deletes(store: Store) -> None:
    """Who begins while something is deleted waits for the end of that, and says for whom."""
    said: list[str] = []
    waits = threading.Event()

    def waiting(message: str) -> None:
        said.append(message)
        waits.set()

    def keep() -> None:
        with store.keeping([], waiting):
            said.append("begins")

    with store.deleting():
        thread = threading.Thread(target=keep)
        thread.start()
        assert waits.wait(60)
        said.append("deleted")
    thread.join(60)
    waits_for = f"waiting for process {os.getpid()}, which holds store"
    assert said == [waits_for, "deleted", "begins"]


def test_files_that_are_none(store: Store) -> None:
    """What is no reference in a locked file keeps nothing; what cannot be read is an error."""
    Path(store.layout.temproots).mkdir()
    dref = derive(store, "real")
    path = Path(store.layout.temproots, "strange")
    path.write_bytes(b"\xff\0process 1\ndref:x\n" + dref.encode() + b"x/..\n" + dref.encode())
    assert temproots.kept(store.layout) == {}
    with locks.shared(str(path)):
        assert temproots.kept(store.layout) == {}  # Shared, it is not held.
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert temproots.kept(store.layout) == {dref: "another process"}
    os.close(descriptor)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="cannot read"):
        plan_gc(store)
