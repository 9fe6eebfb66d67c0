"""What is shown while stages are realized, on a terminal and elsewhere."""

from __future__ import annotations

import os
import threading
import time

import pytest

from plxnix.cli import progress
from plxnix.cli.console import Console
from plxnix.cli.progress import Progress
from plxnix.model import DRef, RRef
from tests.command_line import CommandLine

A, B, C, D = (DRef(f"dref:{'0' * 32}-{name}") for name in "abcd")

#: Two stages of one name, of which the second fails.
NAMESAKES = """\
from plxnix import autostage, selfref

@autostage(out=[selfref, "out"])
def train(out, rate):
    print("training")
    if rate == 0.2:
        raise ValueError("too fast")
    out.write_text("")

def all():
    return [train(rate=0.1), train(rate=0.2)]
"""


class Terminal:
    """A terminal that keeps what is written on it."""

    def __init__(self) -> None:
        self._end, other = os.openpty()
        self.stream = os.fdopen(other, "w")
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._end, 1 << 16):
                self._seen += data
        except OSError:  # Nobody has its other end any more.
            return

    def close(self) -> str:
        """Return what was written, when all of it is."""
        self.stream.close()
        self._reader.join()
        os.close(self._end)
        return self._seen.decode()


def drawn(monkeypatch: pytest.MonkeyPatch, total: int) -> tuple[Terminal, Progress]:
    """Return a terminal, and a progress that is being drawn on it."""
    monkeypatch.setattr(progress, "PATIENCE", 0.3)
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal.stream)
    console = Console(color="never")
    console.stream = terminal.stream
    shown = Progress(console)
    shown.planned(total)
    deadline = time.monotonic() + 60
    while shown._display is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return terminal, shown


def refresh(shown: Progress) -> None:
    """Draw it now."""
    assert shown._display is not None
    shown._display._rich.refresh()


def test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that failed and is tried again is not counted as failed; each failed one is once."""
    terminal, shown = drawn(monkeypatch, 4)
    shown.cached(A, [RRef(f"rref:{'0' * 32}-{A[5:]}")])
    for dref in (B, C, B, C):
        shown.started(dref)
    shown.failed(B, ValueError())
    shown.failed(C, ValueError())
    refresh(shown)
    shown.started(B)
    shown.started(D)
    refresh(shown)
    shown.close()
    seen = terminal.close()
    assert "1 of 4 stages, 1 cached, 2 failed" in seen
    assert seen.rindex("1 of 4 stages, 1 cached, 1 failed") > seen.rindex("2 failed")


def test_what_an_executor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was handed over is counted, and has a line when it runs; so many lines at most."""
    terminal, shown = drawn(monkeypatch, 20)
    drefs = [DRef(f"dref:{'0' * 32}-s{number}") for number in range(20)]
    for dref in drefs:
        shown.queued(dref)
    shown.started(drefs[3])
    refresh(shown)
    for dref in drefs[:3] + drefs[4:18]:
        shown.started(dref)
    shown.stopped(drefs[18])
    shown.finished(drefs[3], [RRef(f"rref:{'0' * 32}-{drefs[3][5:]}")], 1.0)
    refresh(shown)
    shown.close()
    seen = terminal.close()
    assert "0 of 20 stages, 1 running, 19 handed over" in seen
    assert "1 of 20 stages, 17 running, 1 handed over" in seen
    assert "  s3 " in seen
    assert "  and 5 more" in seen
    assert "s18 " not in seen


def test_namesakes(plxnix: CommandLine) -> None:
    """In lines, and of failures, it is said which of the stages of one name is meant."""
    plxnix.file(NAMESAKES)
    assert "train (rate=0.2)" not in plxnix.ok("realize", "stages.py:all", "--dry-run").out.decode()
    done = plxnix("realize", "stages.py:all", "-v", "-k")
    assert "realized train (rate=0.1) in " in done.err
    assert "  this is train (rate=0.2)\n" in done.err
    assert "the last lines that train (rate=0.2) printed" in done.err
