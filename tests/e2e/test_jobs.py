"""Stages in processes of their own: what they make, how they fail, how they are stopped."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plxnix.store import Store, verify
from tests.conftest import needed
from tests.interrupting import interrupt, interrupting
from tests.waiting import PATIENCE, is_gone, wait_for

needed("cloudpickle")

#: Stages in a file, with a helper module beside it.
STAGES = """
import os, sys, time
from pathlib import Path
from plxnix import autostage, match_best, selfref
import helper

@autostage(out=[selfref, "out.txt"])
def base(out):
    print("base in", os.getpid())
    out.write_text(helper.text())

@autostage(base=base, nouts=3, matcher=match_best("out.txt", top=2), out=[selfref, "out.txt"])
def many(base, out, rindex, number):
    print("many", number)
    out.write_text(f"{rindex}\\n")

@autostage(out=[selfref, "out.txt"])
def top(below, out):
    out.write_text(" ".join(one.out.read_text().strip() for some in below for one in some))

def graph():
    return top(below=[many(number=n) for n in range(3)])

@autostage(out=[selfref, "pid"])
def sleeps(out, number, seconds=600):
    (out.parent / "begun").write_text(str(os.getpid()))
    print("asleep", number, os.getpid(), flush=True)
    Path(os.environ["HOME"], "asleep").write_text(f"{os.getpid()}\\n")
    time.sleep(seconds)
    out.write_text(str(os.getpid()))

def sleepers(seconds=600, count=2):
    return [sleeps(number=n, seconds=seconds) for n in range(count)]

@autostage(out=[selfref, "out"])
def broken(out, how, wait=False):
    asleep = Path(os.environ["HOME"], "asleep")
    while wait and not (asleep.exists() and asleep.read_text().endswith("\\n")):
        time.sleep(0.01)
    print("about to break", flush=True)
    if how == "raise":
        raise helper.Trouble("deep trouble", 3)
    os._exit(3)

def one_broken():
    return [sleeps(number=1), broken(how="raise", wait=True)]
"""

HELPER = """
class Trouble(Exception):
    def __init__(self, what, number):
        super().__init__(f"{what} {number}")

def text():
    return "first"
"""


class Command:
    """Runs `plxnix realize` as a process of its own, on files and a store below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "plxnix"
        (folder / "stages.py").write_text(STAGES)
        (folder / "helper.py").write_text(HELPER)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start it; it is killed where the block ends before it does."""
        with subprocess.Popen(
            [sys.executable, "-m", "plxnix", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Run it and return what it printed."""
        with self.running(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, err
        return out, err

    def clean(self, killed: bool = False) -> None:
        """Check that the store is sound, and that nothing is left in its temporary folders.

        Who was killed has left the files of the locks that it held, and of its temporary roots.
        """
        store = Store(self.store)
        assert os.listdir(store.layout.tmp) == []
        assert killed or os.listdir(store.layout.locks) == ["store"]
        assert killed or os.listdir(store.layout.temproots) == []
        assert [each for each in verify.verify(store) if not each.harmless] == []


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command line in a folder with the stages."""
    return Command(tmp_path)


def wait_for_lines(process: subprocess.Popen[str], count: int, text: str) -> list[str]:
    """Return the lines of standard error that hold a text, as soon as there are so many."""
    assert process.stderr is not None
    found: list[str] = []
    while len(found) < count:
        line = process.stderr.readline()
        assert line, "it ended"
        if text in line:
            found.append(line)
    return found


def test_the_same_as_one_after_another(command: Command, tmp_path: Path) -> None:
    """Two processes give what one does: selections, logs, what is printed; then all is cached."""
    out, err = command.run("realize", "stages.py:graph", "-j", "2")
    assert "base in" in err
    (rref,) = out.split()
    store = Store(command.store)
    text = Path(store.path(rref), "out.txt").read_text()
    assert text == "2 1 2 1 2 1"
    logs = [store.log(one) for some in store.record(rref).context.values() for one in some]
    assert sorted(logs) == sorted(f"many {n}\n" * 3 for n in range(3) for _ in range(2))
    again, err = command.run("realize", "stages.py:graph", "-j", "2")
    assert (again, "nothing to do" in err) == (out, True)
    command.clean()
    other = {**os.environ, "PLXNIX_ROOT": str(tmp_path / "other")}
    alone = subprocess.run(
        [sys.executable, "-m", "plxnix", "realize", "stages.py:base", "--print", "rrefs"],
        cwd=command.folder,
        env=other,
        capture_output=True,
        text=True,
        check=True,
    )
    (base,) = (dref for dref in store.derivations() if dref.name == "base")
    assert store.realizations(base) == alone.stdout.split()


def test_an_error_in_a_process(command: Command) -> None:
    """It is shown as if it had happened here: the place in the user's code, and the last lines."""
    _, err = command.run("realize", "stages.py:broken", "-a", "how=raise", "-j", "2", status=1)
    assert "raised Trouble: deep trouble 3" in err
    assert "in broken: raise helper.Trouble" in err
    assert "about to break" in err
    assert "Traceback" not in err
    command.clean()


def test_a_process_that_dies(command: Command) -> None:
    """It fails its stage and nothing else; a retry gets a new process."""
    (command.folder / "more.py").write_text(
        "from stages import *\n"
        "def both():\n"
        "    return [broken(how='die'), sleeps(number=1, seconds=1)]\n"
    )
    _, err = command.run(
        "realize", "more.py:both", "-j", "2", "--keep-going", "--retries", "1", status=1
    )
    assert "ended before it was done" in err
    assert "trying again" in err
    assert "1 stage failed" in err
    store = Store(command.store)
    (dref,) = (one for one in store.derivations() if one.name == "sleeps")
    assert len(store.realizations(dref)) == 1
    command.clean()


def test_timeout(command: Command) -> None:
    """Code that takes too long is killed, whatever it does."""
    started = time.monotonic()
    _, err = command.run("realize", "stages.py:sleepers", "--timeout", "1.5", status=1)
    assert time.monotonic() - started < PATIENCE
    assert "longer than 1.5 s" in err
    command.clean()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(command: Command, number: signal.Signals) -> None:
    """Ctrl-C ends the processes and removes what they began; after kill -9 they end as well."""
    with command.running("realize", "stages.py:sleepers", "-j", "2") as process:
        pids = [int(line.split()[-1]) for line in wait_for_lines(process, 2, "asleep")]
        assert len(set(pids)) == 2
        _, err = interrupt(process, number)
    assert process.returncode != 0
    wait_for(lambda: all(map(is_gone, pids)))
    if number == signal.SIGINT:
        assert "Traceback" not in err
        command.clean()
    command.run("realize", "stages.py:sleepers", "-j", "2", "-a", "seconds=0")
    command.clean(killed=number == signal.SIGKILL)


def test_interrupted_in_threads(command: Command) -> None:
    """Threads cannot be stopped: that is said, and a second Ctrl-C does not wait for them."""
    options = ("-j", "2", "--executor", "threads")
    with command.running("realize", "stages.py:sleepers", *options) as process:
        # One: what two threads print may stand on one line.
        wait_for_lines(process, 1, "asleep")
        with interrupting(partial(process.send_signal, signal.SIGINT)):
            wait_for_lines(process, 1, "cannot be stopped")
        interrupt(process)
    assert process.returncode == 130
    command.run("realize", "stages.py:sleepers", "-j", "2", "-a", "seconds=0")
    command.clean(killed=True)


def test_a_failure_kills_the_others(command: Command) -> None:
    """The first failure ends what sleeps beside it."""
    started = time.monotonic()
    _, err = command.run("realize", "stages.py:one_broken", "-j", "2", status=1)
    assert time.monotonic() - started < PATIENCE
    assert "deep trouble" in err
    pid = int((command.folder / "home" / "asleep").read_text())
    wait_for(lambda: is_gone(pid))
    command.clean()


def test_events(command: Command) -> None:
    """The event log has a JSON object a line, with the time and the stage, in order."""
    log = command.folder / "events.jsonl"
    command.run("realize", "stages.py:graph", "-j", "2", "--events", str(log))
    events: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert events[0]["event"] == "planned"
    assert events[0]["total"] == 5
    kinds = [one["event"] for one in events]
    assert (kinds.count("started"), kinds.count("finished")) == (5, 5)
    assert all(one["time"] <= two["time"] for one, two in itertools.pairwise(events))
    last = events[-1]
    assert (last["event"], last["name"], len(last["rrefs"])) == ("finished", "top", 1)
    assert last["seconds"] >= 0
    command.run("realize", "stages.py:graph", "--events", str(log))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one["event"] for one in events] == ["planned", *["cached"] * 5]


def test_what_runs_is_what_was_hashed(command: Command) -> None:
    """A file that is edited after it was imported does not reach the processes."""
    (command.folder / "script.py").write_text(
        "from pathlib import Path\n"
        "import helper, stages\n"
        "from plxnix import current_store, instantiate, realize\n"
        "closure = instantiate(stages.base)\n"
        "Path('helper.py').write_text(\"def text():\\n    return 'edited'\\n\")\n"
        "rref = realize(closure, jobs=2)\n"
        "print(Path(current_store().path(rref), 'out.txt').read_text())\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=command.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["first"], done.stderr
    command.clean()
