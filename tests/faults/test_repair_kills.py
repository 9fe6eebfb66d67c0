"""Killing a repair or a migration before each of its operations: the next one is right.

Whatever was damaged is still there afterwards, in its place or in the quarantine. Each run of these
tests tries every so manieth operation, from a random one on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, random, signal, sys
from pathlib import Path
from plxnix.store import Fsync, Store, tree
from plxnix.store.copying import copyclosure
from plxnix.store.quarantine import quarantined
from plxnix.store.repair import repair
from plxnix.store.sources import store_source
from plxnix.store.verify import verify
from plxnix.store.versions import migrate
from tests.store_samples import build
import fcntl, secrets, shutil, tempfile, zlib, gzip  # importing them is not part of the steps

what, place, stride = sys.argv[1], sys.argv[2], int(sys.argv[3])

def killed_at(step):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event.startswith(("open", "os.", "fcntl.")):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def forked(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException as error:
            print(what, "at", step, repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def prepare():
    store = Store.init(root, Fsync.NONE)
    data = build(store, "data", entries={"dir/file": b"deep", "run*": b"#!"}, log=b"printed")
    model = build(store, "model", [data])
    if what == "repair":
        copyclosure([model], store, Store.init(root + "-backup", Fsync.NONE), share=False)
        path = Path(store.path(data), "dir", "file")
        path.chmod(0o644)
        path.write_bytes(b"DEEP")
        path.chmod(0o444)
        Path(root + "-inode").write_text(str(os.stat(store.path(data)).st_ino))
    else:
        store.session().close()
        os.unlink(store.layout.version)
        for folder in (store.layout.failed, store.layout.tmp, store.layout.locks):
            tree.remove(folder)

def work():
    if what == "migrate":
        migrate(root)
        return
    store = Store(root)
    done = repair(store, list(verify(store)), [store_source(Store(root + "-backup"))])
    left = [one for one in done if not one.how and not one.damage.harmless]
    if left:
        raise AssertionError(left)

def victim():
    killed_at(step)
    work()

def complete():
    work()
    store = Store(root)
    left = [damage for damage in verify(store) if not damage.harmless]
    if left:
        raise AssertionError(left)
    if sum(len(store.realizations(dref)) for dref in store.derivations()) != 2:
        raise AssertionError("something is lost")
    store.session()  # Whoever writes next sweeps.
    if what == "repair":
        inode = int(Path(root + "-inode").read_text())
        if inode not in [os.stat(path).st_ino for path in quarantined(store.layout)]:
            raise AssertionError("what was damaged is lost")

step, kills = random.randrange(stride), 0
while True:
    step += stride
    root = f"{place}/{step}"
    for function in (prepare, victim, complete):
        status = forked(function)
        if function is victim and status == -signal.SIGKILL:
            kills += 1
        elif status != 0:
            sys.exit(1)
        elif function is victim:
            print(kills)
            sys.exit(0)
    if os.listdir(root + "/tmp"):
        print("left", os.listdir(root + "/tmp"), file=sys.stderr)
        sys.exit(1)
"""


@pytest.mark.parametrize(("what", "stride"), [("repair", 8), ("migrate", 4)])
def test_killed_before_operations(tmp_path: Path, what: str, stride: int) -> None:
    """Whichever operation is the last one, the next run completes the work and loses nothing."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, str(tmp_path), str(stride)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ":".join([str(Path(__file__).parents[2]), *sys.path])},
    )
    assert not result.stderr, result.stderr
    assert result.returncode == 0
    assert int(result.stdout) >= 4
