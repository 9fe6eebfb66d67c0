"""The command line as a process: streams, signals, terminals."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interrupting import interrupt
from tests.waiting import PATIENCE, wait_for

PLXNIX = [sys.executable, "-m", "plxnix"]

#: The same, to which nothing takes long.
PATIENT = [
    *(sys.executable, "-c"),
    "import sys; from plxnix.cli import main, progress; progress.PATIENCE = 1e6; sys.exit(main())",
]

STAGES = r"""
import os, subprocess, sys, time
from plxnix import autostage, selfref

@autostage(out=[selfref, "x"])
def loud(out):
    print("from python")
    print("from python's stderr", file=sys.stderr)
    subprocess.run(["echo", "from a child"], check=True)
    os.write(1, b"from the descriptor\n")
    out.write_text("x")

@autostage(out=[selfref, "x"])
def many(out):
    for step in range(2):
        print("python", step)
        subprocess.run(f"echo child {step} > /dev/stderr", shell=True, check=True)
    os.write(1, b"\xff of the descriptor\n")
    if os.fork() == 0:
        print("forked")
        os.system("echo grandchild")
        os._exit(0)
    os.wait()
    subprocess.run(["seq", "0", "49999"], check=True)
    out.write_text("x")

@autostage(out=[selfref, "x"])
def slow(out):
    for step in range(4):
        print("step", step)
        while step == 2 and not os.path.exists("go on"):
            time.sleep(0.01)
    out.write_text("x")

@autostage(out=[selfref, "x"])
def endless(out):
    out.write_text("half")
    with open("started", "w"):
        pass
    time.sleep(600)

@autostage(out=[selfref, "x"])
def colourful(out):
    print("\x1b[31mred\x1b]0;title\x07")
    out.write_text("x")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of stages; this project is importable from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "stages.py").write_text(STAGES)
    return tmp_path


def plxnix(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with both streams in pipes."""
    return subprocess.run(
        [*PLXNIX, *arguments], check=False, capture_output=True, text=True, timeout=PATIENCE
    )


def on_terminal(*arguments: str, command: Sequence[str] = PLXNIX, go_on: bytes = b"\0") -> str:
    """Run a command on a terminal and return all that it draws; it has to succeed.

    When `go_on` has been drawn, `slow` goes on.
    """
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*command, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        drawn = b""
        while True:
            try:
                ready = select.select([leader], [], [], PATIENCE)[0]
                piece = os.read(leader, 4096) if ready else b""
            except OSError:  # the other side is closed
                piece = b""
            if not piece:
                break
            drawn += piece
            if go_on in drawn:
                Path("go on").touch()
        os.close(leader)
    assert process.returncode == 0, drawn
    return drawn.decode()


def test_standard_output_is_for_data(folder: Path) -> None:
    """Whatever a stage prints, in Python, by descriptor or by a child, goes to standard error."""
    done = plxnix("realize", "stages.py:loud", "--print", "paths")
    assert done.returncode == 0, done.stderr
    (path,) = done.stdout.splitlines()
    assert (folder / path / "x").read_text() == "x"
    for said in ("from python\n", "python's stderr", "from a child", "from the descriptor"):
        assert said in done.stderr


@pytest.mark.parametrize("options", [(), ("-j", "2"), ("--quiet",)])
def test_all_that_is_printed_is_in_the_log(options: tuple[str, ...]) -> None:
    """So is what children print, forked ones too, and what goes past Python, in its order."""
    done = plxnix("realize", "stages.py:many", *options)
    assert done.returncode == 0, done.stderr
    lines = plxnix("log", "many").stdout.splitlines()
    assert lines[:5] == ["python 0", "child 0", "python 1", "child 1", "\ufffd of the descriptor"]
    assert lines[5:7] == ["forked", "grandchild"]
    assert lines[7:] == [str(number) for number in range(50000)]
    if options != ("--quiet",):
        known = set(lines)
        assert [line for line in done.stderr.splitlines() if line in known] == lines
    else:
        assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(folder: Path, closed: str) -> None:
    """Whatever stream is closed, stages run and print into their logs."""
    command = f'"$@" realize stages.py:loud --print none {closed}'
    done = subprocess.run(["sh", "-c", command, "sh", *PLXNIX], timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert "from a child\nfrom the descriptor\n" in plxnix("log", "loud").stdout
    assert not list((folder / "plxnix").glob("store-v1/*/from*"))


def test_long_stages_are_announced_in_plain_lines() -> None:
    """Without a terminal, a stage of more than a second gets a line when it is one old, and one
    at its end; others get none.
    """
    command = [*PLXNIX, "realize", "stages.py:slow", "stages.py:loud", "--print", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stderr or ():
            lines.append(line)
            if line == "realizing slow ...\n":
                Path("go on").touch()
    assert lines.index("realizing slow ...\n") < lines.index("step 3\n")
    said = re.findall(r"realized (\w+) in (.*)", "".join(lines))
    assert "slow" in dict(said)
    assert all(float(took.removesuffix(" s")) >= 1 for _, took in said if "min" not in took), said
    assert "\x1b" not in "".join(lines)
    log = plxnix("log", "slow").stdout
    assert "step 3" in log
    assert "realizing" not in log


def test_interrupt_leaves_the_store_clean(folder: Path) -> None:
    """Ctrl-C: exit status 130, one line, and no unfinished work is left."""
    with subprocess.Popen(
        [*PLXNIX, "realize", "stages.py:endless"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for((folder / "started").exists)
        out, err = interrupt(process)
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if line] == ["plxnix: error: interrupted"]
    assert list((folder / "plxnix" / "tmp").iterdir()) == []
    assert plxnix("verify").returncode == 0


def test_reader_that_goes_away() -> None:
    """When the reader of the output is gone, the command ends quietly."""
    plxnix("realize", "stages.py:loud")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PLXNIX, "ls"], check=False, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", ["ls", "realize stages.py:loud"])
def test_closed_standard_output_is_an_error(command: str) -> None:
    """Results that cannot be printed are not lost silently."""
    plxnix("realize", "stages.py:loud")
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m plxnix {command} >&-', sys.executable],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert "plxnix: error: standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_disk_is_an_error() -> None:
    """A result that cannot be written is one clear message."""
    plxnix("init")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PLXNIX, "info"], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "plxnix: error: No space left on device\n"


def test_progress_is_drawn_on_a_terminal() -> None:
    """What takes more than a second is drawn, with the stage and the count; what is printed stays
    whole above it, and the drawing is gone in the end.
    """
    drawn = on_terminal("realize", "stages.py:slow", go_on=b"0 of 1 stage")
    assert "0 of 1 stage" in drawn
    assert [f"step {step}\r\n" in drawn for step in range(4)] == [True] * 4
    assert drawn.splitlines()[-1].startswith("realized 1 stage, 0 cached, in ")
    assert "\x1b[?25h" in drawn  # the cursor is shown again


def test_quick_work_draws_nothing() -> None:
    """Under a second there is no progress, on a terminal either."""
    plxnix("instantiate", "stages.py:loud")
    drawn = on_terminal("realize", "stages.py:loud", command=PATIENT)
    assert "of 1 stage" not in drawn
    assert "\x1b" not in drawn


def test_terminals_get_tables_and_no_foreign_escapes() -> None:
    """Tables have heads and short hashes; escape sequences in logs are shown, not obeyed."""
    plxnix("realize", "stages.py:colourful")
    drawn = on_terminal("ls")
    assert "NAME" in drawn
    assert "dref:" not in drawn
    assert on_terminal("log", "colourful") == "\\x1b[31mred\\x1b]0;title\\x07\r\n"
    assert plxnix("log", "colourful").stdout == "\x1b[31mred\x1b]0;title\x07\n"


def test_colours_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and --color never leave tables without styles, also on a terminal."""
    plxnix("instantiate", "stages.py:loud")
    assert "\x1b[" not in on_terminal("ls", "--color", "never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in on_terminal("ls")


def test_rm_asks_on_a_terminal(folder: Path) -> None:
    """On a terminal `rm` asks first, and anything but yes deletes nothing."""
    plxnix("realize", "stages.py:loud")
    for answer, left in (("n\n", 1), ("y\n", 0)):
        leader, follower = pty.openpty()
        os.write(leader, answer.encode())
        status = subprocess.run(
            [*PLXNIX, "rm", "loud"], stdin=follower, stdout=follower, stderr=follower, check=False
        ).returncode
        os.close(leader)
        os.close(follower)
        assert status == left
        assert len(list((folder / "plxnix" / "store-v1").iterdir())) == left
