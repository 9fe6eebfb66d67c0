"""The command line in tests: run in this process, with files of stages to run it on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plxnix.cli import main

#: Four stages: `numbers`, three `runs` of which `best` is kept, and a `report` of it.
STAGES = """
from plxnix import autostage, match_best, selfref

@autostage(out=[selfref, "numbers.txt"])
def numbers(out, count=3):
    print("counting to", count)
    out.write_text(" ".join(map(str, range(count))))

@autostage(data=numbers, nouts=3, matcher=match_best("score.txt"), score=[selfref, "score.txt"])
def runs(data, score, rindex, rate=0.5):
    score.write_text(str(rindex))

@autostage(best=runs, out=[selfref, "report.txt"], extra=[selfref, "more", "extra.txt"])
def report(best, out, extra):
    out.write_text("best: " + best.score.read_text())
    extra.parent.mkdir()
    extra.write_text("more")
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit status and what it wrote."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.out.decode("utf-8", "surrogateescape").splitlines()

    @property
    def fields(self) -> list[list[str]]:
        """Standard output as a table."""
        return [line.split("\t") for line in self.lines]

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class CommandLine:
    """Runs `plxnix` in this process, on the store and the files below one folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder = folder
        self.store = folder / "plxnix"
        self._capture = capture

    def __call__(self, *arguments: str | Path) -> Outcome:
        """Run a command and return what came of it."""
        self._capture.readouterr()
        with _own_modules(self.folder):
            status = main([str(argument) for argument in arguments])
        out, err = self._capture.readouterr()
        return Outcome(status, out, err.decode())

    def ok(self, *arguments: str | Path) -> Outcome:
        """Run a command that has to succeed."""
        outcome = self(*arguments)
        assert outcome.status == 0, outcome.err
        return outcome

    def fails(self, *arguments: str | Path, status: int = 1) -> str:
        """Run a command that has to fail, without a result, and return what it says."""
        outcome = self(*arguments)
        assert outcome.status == status, outcome
        assert outcome.out == b""
        assert outcome.err.count("plxnix: error: ") == 1
        assert "Traceback" not in outcome.err
        return outcome.err

    def file(self, text: str, name: str = "stages.py") -> Path:
        """Write a file of stages."""
        path = self.folder / name
        path.write_text(text)
        return path


@contextmanager
def _own_modules(folder: Path) -> Iterator[None]:
    """Forget afterwards what was imported from `folder`, as a new process would not know it."""
    searched = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = searched
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(folder)):
                del sys.modules[name]
        sys.path_importer_cache.clear()
