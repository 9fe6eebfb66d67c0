"""A realization that is killed or interrupted at any point leaves a store that works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plxnix.errors import BuildFailed
from plxnix.store import Store, verify
from plxnix.store.session import sweep
from tests.interrupting import interrupt
from tests.stage_samples import Lab
from tests.waiting import PATIENCE

#: Realizes a chain of three stages, and kills itself when it has touched the disk so many times.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.stage_samples import Lab

limit, touched = int(sys.argv[2]), 0
watched = {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "os.utime"}

def hook(event, arguments):
    global touched
    if event in watched and (event != "open" or sys.argv[1] in str(arguments[0])):
        touched += 1
        if touched == limit:
            os.kill(os.getpid(), signal.SIGKILL)

if limit >= 0:
    sys.addaudithook(hook)
lab = Lab(Path(sys.argv[1]))

def talk(build):
    print("working on", build.dref.name)
    (build.outpaths[0] / "folder").mkdir()
    (build.outpaths[0] / "folder" / "big").write_bytes(b"x" * 100_000)
    return "done"

dref = lab.stage("s0", content=talk)
for number in (1, 2):
    dref = lab.stage(f"s{number}", dref, content=talk)
rref = lab.realize(dref)
print(lab.runs, file=sys.stderr)
print(touched, rref)
"""


def run(tmp_path: Path, store: str, limit: int) -> subprocess.CompletedProcess[str]:
    """Run the script on a store."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, str(script), str(tmp_path / store), str(limit)],
        # What is compiled and kept in one run would not be in the next.
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_killed_at_any_point(tmp_path: Path) -> None:
    """However far it got, the next run finishes the work, sweeps the rest, and all is sound."""
    whole = run(tmp_path, "whole", 1_000_000)
    assert whole.returncode == 0, whole.stderr
    touched, rref = whole.stdout.split()[-2:]
    assert int(touched) > 50
    step = max(1, int(touched) // 14)
    for limit in range(1, int(touched), step):
        name = f"killed-{limit}"
        killed = run(tmp_path, name, limit)
        assert killed.returncode == -signal.SIGKILL
        after = run(tmp_path, name, -1)
        assert after.returncode == 0, f"killed at {limit}: {after.stderr}"
        assert after.stdout.split()[-1] == rref
        store = Store(tmp_path / name)
        # Between its two last steps a realization is whole but its top folder still writable: a
        # read-only folder cannot be moved to where it is published.
        damage = [each for each in verify.verify(store) if not each.harmless]
        assert {each.kind for each in damage} <= {"mode"}, f"killed at {limit}: {damage}"
        if "[]" in after.stderr:
            # A run that has nothing to make writes nothing, and leaves this to the next one.
            sweep(store.layout.tmp)
        assert os.listdir(store.layout.tmp) == []
        again = run(tmp_path, name, -1)
        assert "[]" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C removes what was begun at once; after SIGTERM the next process does."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.stage_samples import Lab\n"
        "lab = Lab(Path(sys.argv[1]))\n"
        "def wait(build):\n"
        "    (build.outpaths[0] / 'half').write_text('x')\n"
        "    print('waiting', flush=True)\n"
        "    if len(sys.argv) == 2: time.sleep(600)\n"
        "    return 'done'\n"
        "lab.realize(lab.stage('waits', content=wait))\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        _, errors = interrupt(process, number)
    assert process.returncode == -number, errors
    store = Store(tmp_path / "store")
    if number == signal.SIGINT:
        assert os.listdir(store.layout.tmp) == []
        assert os.listdir(store.layout.locks) == ["store"]
    (dref,) = store.derivations()
    assert store.realizations(dref) == []
    subprocess.run([*command, "go on"], env=environment, check=True, capture_output=True)
    assert len(store.realizations(dref)) == 1
    assert os.listdir(store.layout.tmp) == []


def test_full_log_folder_does_not_hide_the_failure(tmp_path: Path) -> None:
    """If neither log nor folder can be kept, the failure itself is still what is raised."""
    lab = Lab(tmp_path / "store")
    os.rmdir(lab.store.layout.failed)
    Path(lab.store.layout.failed).write_text("in the way")

    def fail(_: object) -> str:
        print("words")
        raise ValueError("the failure")

    with pytest.raises(BuildFailed, match="the failure") as caught:
        lab.realize(lab.stage("a", content=fail), keep_failed=True)
    assert caught.value.log == ""
