"""Killing processes that copy or unpack closures: each realization is there whole or not at all.

As in `test_store_kills.py`, a child is killed before one of the system operations that Python
reports to its audit hooks, and a second child has to complete the work.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys
from plxnix import Store, copyclosure, spack, sunpack
from plxnix.store import Fsync
from plxnix.store.verify import verify
from tests.store_samples import build
import gzip, lzma, shutil, tarfile, zipfile, zlib  # so that importing them is no step

what, place, stride = sys.argv[1], sys.argv[2], int(sys.argv[3])
STEPS = ("open", "os.", "shutil.", "fcntl.")
ENTRIES = {"dir/file": b"file" * 1000, "run*": b"run", "link": "dir/file", "empty": None}

source = Store.init(place + "/source", Fsync.NONE)
below = build(source, "below", entries=ENTRIES, log=b"said")
above = build(source, "above", [below], entries=ENTRIES)
spack([above], place + "/closure.tar", source)

def carry(target):
    if what == "copy":
        copyclosure([above], source, target)
    else:
        sunpack(place + "/closure.tar", target)

def child(root, step):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event.startswith(STEPS):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
    target = Store.init(root, Fsync.NONE)
    sys.addaudithook(hook)
    carry(target)
    os._exit(0)

def fail(*words):
    print(*words, file=sys.stderr, flush=True)
    os._exit(1)

step, killed = 1, 0
while True:
    root = f"{place}/target{step}"
    pid = os.fork()
    if pid == 0:
        child(root, step)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        break
    if status != -signal.SIGKILL:
        fail("step", step, "ended with", status)
    killed += 1
    target = Store(root)
    for damage in verify(target):
        top = damage.rref and damage.path == target.layout.realization(damage.rref)
        if not (damage.harmless or (damage.kind == "mode" and top)):
            fail("step", step, "left", damage)
    if os.path.isdir(target.layout.realization(above)):
        target.path(below)
    carry(Store(root))
    again = Store(root)
    for damage in verify(again):
        if damage.kind != "mode":
            fail("step", step, "kept", damage)
    if again.log(below) != "said" or again.record(above) != source.record(above):
        fail("step", step, "lost something")
    if len(os.listdir(again.layout.tmp)) != 1:
        fail("step", step, "left temporary folders")
    again.session().close()
    step += stride
print(killed)
"""


@pytest.mark.parametrize("what", ["copy", "unpack"])
def test_killed_at_each_step(tmp_path: Path, what: str) -> None:
    """Wherever it is killed, nothing half is there, and doing it again completes it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, str(tmp_path), "3"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
