"""Processes forked from one with threads: they use the store, whatever the threads are doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE

SCRIPT = """
import os, signal, sys, threading
from contextlib import ExitStack
from plxnix import Store, autostage, instantiate, realize, selfref
from plxnix.codehash import hashes
from plxnix.purecode.program import _lock
from plxnix.realize import parcels, run, worker
from plxnix.store import Fsync, flushing, session

modules = flushing, parcels, run, session, worker
locks = [hashes._lock, _lock, *(module._guard for module in modules)]

@autostage(out=[selfref, "out"])
def stage(out):
    print("in the child")
    out.write_text("made")

store = Store.init(sys.argv[1], Fsync.FULL)
held, done = threading.Event(), threading.Event()

def hold():
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(250)
    rref = realize(instantiate(stage, store=store))
    for lock in locks:
        with lock:
            pass
    print(store.log(rref), flush=True)
    os._exit(0)
status = os.waitpid(child, 0)[1]
done.set()
thread.join()
print(status)
"""


def test_locks_of_other_threads(tmp_path: Path) -> None:
    """What another thread holds at the moment of the fork is free in the child."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout.split() == ["in", "the", "child"] * 2 + ["0"], done.stderr
