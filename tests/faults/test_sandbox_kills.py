"""Whoever of plxnix, bubblewrap and the builder is killed: no process is left, and work goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from plxnix import execute
from plxnix.errors import BuildFailed
from plxnix.store import Store
from tests.interrupting import interrupt, interrupting
from tests.stage_samples import Lab
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("bubblewrap")

#: Realizes a command that starts processes of every kind, says so, and waits for ever.
SCRIPT = """
import sys
from pathlib import Path
from plxnix import execute
from tests.stage_samples import Lab
lab = Lab(Path(sys.argv[1]))
wait = "" if len(sys.argv) > 3 else '''
    sleep {0} & setsid sleep {0} > /dev/null 2>&1 &
    setsid bash -c "trap : INT TERM HUP; while :; do sleep {0}; done" &
    exec 5> $out; echo big > /tmp/x; echo ready >&2; sleep {0}; :
'''
command = f"{{wait}} echo done > $out"
print(lab.realize(execute(command.format(sys.argv[2]), registry=lab.registry),
    sandbox="on"), flush=True)
""".replace("{{", "{").replace("}}", "}")


class Sleeper:
    """A process that realizes the command; `mark` is how long it sleeps, which no other does."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.mark = f"3{time.time_ns() % 10**9}.5"
        script = folder / "script.py"
        script.write_text(SCRIPT)
        self.command = [sys.executable, str(script), str(self.store), self.mark]
        self.environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def running(self, *words: str) -> list[int]:
        """Return the processes whose command lines hold all words."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if all(any(word in one for one in line) for word in words):
                    found.append(int(entry.name))
        return found

    def sleepers(self) -> list[int]:
        """Return the processes of the builder that sleep."""
        return self.running("sleep", self.mark)

    def wait(self) -> tuple[int, str]:
        """Wait for the process to end; return its status and what it said."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors

    def check(self) -> None:
        """Nothing runs any more, nothing was published, and the next run works and tidies up."""
        wait_for(lambda: not self.sleepers())
        store = Store(self.store)
        (dref,) = store.derivations()
        assert store.realizations(dref) == []
        done = subprocess.run(
            [*self.command, "go on"],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.stdout.startswith("rref:")
        assert os.listdir(store.layout.tmp) == []


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Sleeper]:
    """The process, when the builder and what it started are asleep."""
    found = Sleeper(tmp_path)
    with found.process:
        try:
            wait_for(lambda: len(found.sleepers()) >= 4)
            yield found
        finally:
            found.process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_plxnix_is_ended(sleeper: Sleeper, number: signal.Signals) -> None:
    """All of the builder ends with it, by whatever signal."""
    _, said = interrupt(sleeper.process, number)
    assert sleeper.process.returncode == -number, said
    sleeper.check()


def test_bubblewrap_is_killed(sleeper: Sleeper) -> None:
    """That ends the builder, and is reported."""
    (process,) = bubblewraps(sleeper.process.pid)
    os.kill(process, signal.SIGKILL)
    status, said = sleeper.wait()
    assert status == 1
    assert "was killed by signal 9" in said
    sleeper.check()


def test_the_builder_is_killed(sleeper: Sleeper) -> None:
    """That ends what it has started, and is reported."""
    for process in sleeper.sleepers():
        # Process 1 of the sandbox is that whose name has two numbers, there the second.
        line = Path(f"/proc/{process}/status").read_text()
        parent = int(line.split("PPid:")[1].split()[0])
        inside = Path(f"/proc/{parent}/status").read_text().split("NSpid:")[1].split("\n")[0]
        if inside.split()[-1] == "1":
            os.kill(parent, signal.SIGKILL)
            break
    status, said = sleeper.wait()
    assert status == 1
    assert "exited with 137" in said
    sleeper.check()


def bubblewraps(parent: int) -> list[int]:
    """Return the children of a process that are bubblewrap."""
    found: list[int] = []
    for thread in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError):  # Threads may end meanwhile.
            found += map(int, (thread / "children").read_text().split())
    return [one for one in found if b"bwrap" in Path(f"/proc/{one}/cmdline").read_bytes()]


WRITERS = (
    "mkdir $out; write() { while :; do echo > $out/$1-$RANDOM; done; }\n"
    "for n in {1..40}; do write $n & done; wait"
)


def until_it_writes(lab: Lab) -> None:
    """Wait until a builder has written into its output."""
    # A folder below tmp/, one of a process, one of the stage, `store`, and its output.
    wait_for(lambda: any(Path(lab.store.root, "tmp").glob("*/*/store/*/*")))


def test_nobody_writes_after_an_interruption(tmp_path: Path) -> None:
    """A command that writes all the time is dead before its folder is removed."""
    lab = Lab(tmp_path / "store")

    def interrupt_this() -> None:
        until_it_writes(lab)
        os.kill(os.getpid(), signal.SIGINT)

    for number in range(5):
        dref = execute(f"{WRITERS}; : {number}", registry=lab.registry)
        with interrupting(interrupt_this), pytest.raises(KeyboardInterrupt):
            lab.realize(dref, sandbox="on")
        assert lab.leftovers() == []


def test_a_builder_that_is_about_to_die(tmp_path: Path) -> None:
    """What still writes for a moment, as its bubblewrap was killed, does not hinder tidying up."""
    lab = Lab(tmp_path / "store")

    def kill() -> None:
        until_it_writes(lab)
        for process in bubblewraps(os.getpid()):
            os.kill(process, signal.SIGKILL)

    for number in range(3):
        dref = execute(f"{WRITERS}; : {number}", registry=lab.registry)
        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(BuildFailed, match="killed by signal 9"):
            lab.realize(dref, sandbox="on")
        thread.join()
        assert lab.leftovers() == []


def test_many_processes(tmp_path: Path) -> None:
    """Two hundred processes that start others are gone when the builder is."""
    sleeper = Sleeper.__new__(Sleeper)
    sleeper.mark = f"3{time.time_ns() % 10**9}.7"
    script = (
        f"start() {{ setsid sh -c 'sleep {sleeper.mark} & wait' & }}\n"
        "for n in {1..200}; do start > /dev/null; done; echo > $out; sleep 0.1"
    )
    lab = Lab(tmp_path / "store")
    lab.realize(execute(script, registry=lab.registry), sandbox="on")
    wait_for(lambda: not sleeper.sleepers())
    assert lab.leftovers() == []
