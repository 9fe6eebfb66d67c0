"""What is drawn on a terminal while stages are realized."""

from __future__ import annotations

import os
import threading

import pytest

from plxnix.cli import progress
from plxnix.cli.console import Console
from plxnix.cli.progress import Progress
from plxnix.model import DRef, RRef

A, B, C, D = (DRef(f"dref:{'0' * 32}-{name}") for name in "abcd")


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


def test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that failed and is tried again is not counted as failed; each failed one is once."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    console = Console(color="never")
    monkeypatch.setattr("sys.stderr", terminal.stream)
    console.stream = terminal.stream
    shown = Progress(console)
    shown.planned(4)
    while shown._display is None:
        threading.Event().wait(0.01)
    shown.cached(A, [RRef(f"rref:{'0' * 32}-{A[5:]}")])
    for dref in (B, C, B, C):
        shown.started(dref)
    shown.failed(B, ValueError())
    shown.failed(C, ValueError())
    shown._display._rich.refresh()
    shown.started(B)
    shown.started(D)
    shown._display._rich.refresh()
    shown.close()
    seen = terminal.close()
    assert "1 of 4 stages, 1 cached, 2 failed" in seen
    assert seen.rindex("1 of 4 stages, 1 cached, 1 failed") > seen.rindex("2 failed")
