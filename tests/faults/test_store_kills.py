"""Killing processes at every step: the store has the whole realization or none.

A program forks a child, which works on a store and is killed, and then a second child, which has
to find everything in order and to complete the work. The kills come before each single system
operation that Python reports to its audit hooks (PEP 578), and also at random times.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
from plxnix import (
    Registry, Store, build_outpath, build_wrapper, instantiate, match_only, mkdrv, realize1,
)
from plxnix.store import Fsync, tree
from plxnix.store.gc import collect, plan_gc
from plxnix.store.verify import verify
import gzip, tempfile, shutil, secrets  # so that importing them is not part of the steps

what, place, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
STEPS = ("open", "os.", "shutil.", "fcntl.", "socket.gethostname")

def work(build):
    print("printed")
    out = build_outpath(build)
    (out / "dir").mkdir()
    (out / "empty").mkdir()
    for name in ("a", "dir/b", "dir/run"):
        (out / name).write_text(name * 100)
    (out / "dir" / "run").chmod(0o755)
    (out / "link").symlink_to("dir/b")

def stage():
    if what == "realize":
        return mkdrv({"name": "only"}, match_only(), build_wrapper(work))
    below = mkdrv({"name": "below"}, match_only(), build_wrapper(work))
    return mkdrv({"name": "above", "below": below}, match_only(), build_wrapper(work))

def once(root, fsync=Fsync.NONE):
    sys.stdout = open(os.devnull, "w")
    store = Store.init(root, fsync)
    return store, realize1(instantiate(stage, registry=Registry(store)))

def collecting(root):
    store = Store(root)
    collect(store, plan_gc(store, everything=True))

def killed_at(step):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event.startswith(STEPS):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def forked(function):
    pid = os.fork()
    if pid == 0:
        function()
        sys.exit(0)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def fail(*words):
    print(*words, file=sys.stderr, flush=True)
    sys.exit(1)

def check(root, label):
    # What the kill left behind: whole realizations, and at most one that was not sealed yet.
    if os.path.exists(root + "/version"):
        store = Store(root)
        for damage in verify(store):
            top = damage.rref and damage.path == store.layout.realization(damage.rref)
            if not (damage.harmless or (damage.kind == "mode" and top)):
                fail(label, "left", damage)

def complete(root, expected, label):
    store, rref = once(root)
    store.session()  # Whoever writes next sweeps; where all was published, nobody has to write.
    if rref != expected:
        fail(label, "gave", rref)
    if sorted(p.name for p in Path(store.path(rref)).rglob("*")) != [
        "a", "b", "dir", "empty", "link", "run"
    ]:
        fail(label, "lost files")
    if what == "collect":
        # It closes what was left open, and sweeps records without realizations.
        collect(store, plan_gc(store, [rref]))
    for damage in verify(store):
        fail(label, "kept", damage)

read, write = os.pipe()
def tell():
    os.write(write, once(place + "/reference")[1].encode())
begun = time.perf_counter()
status = ended(forked(tell))
seconds = time.perf_counter() - begun
expected = os.read(read, 1000).decode()
if status != 0 or not expected.startswith("rref:"):
    fail("the reference failed")

step = kills = 0
while rounds == 0 or step < rounds:
    step += 1
    root, label = f"{place}/{step}", f"{what} killed at {step}"
    if what == "collect" and ended(forked(lambda: once(root))) != 0:
        fail(label, "could not be prepared")
    def victim():
        if rounds == 0:
            killed_at(step)
        collecting(root) if what == "collect" else once(root, Fsync.FULL)
    pid = forked(victim)
    if rounds:
        time.sleep(random.uniform(0, 1.2 * seconds))
        os.kill(pid, signal.SIGKILL)
    status = ended(pid)
    if status not in (0, -signal.SIGKILL):
        fail(label, "ended with", status)
    kills += status != 0
    check(root, label)
    if ended(forked(lambda: complete(root, expected, label))) != 0:
        fail(label, "could not be completed")
    if os.listdir(root + "/tmp"):
        fail(label, "left unfinished work", os.listdir(root + "/tmp"))
    tree.remove(root)
    if status == 0 and rounds == 0:
        break
print(kills)
"""


def run(folder: Path, what: str, rounds: int) -> int:
    """Run the program and return how many processes it killed."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, str(folder), str(rounds)],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert not result.stderr, result.stderr
    assert result.returncode == 0
    return int(result.stdout)


@pytest.mark.parametrize("what", ["realize", "collect"])
def test_killed_before_every_operation(tmp_path: Path, what: str) -> None:
    """Whichever operation of a realization or collection is the last, the next run is right."""
    assert run(tmp_path, what, 0) > 60


def test_killed_at_random_times(tmp_path: Path) -> None:
    """A realization that is killed at any time leaves a store in which the next one is right."""
    run(tmp_path, "realize", 20)
