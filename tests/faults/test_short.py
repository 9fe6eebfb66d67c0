"""The short part of the fault tests: every part of `make test-faults`, with fewer trials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.faults.children import STRACE
from tests.faults.run import PARTS, TRACED


@pytest.mark.parametrize("part", PARTS)
def test_part(part: str, tmp_path: Path) -> None:
    """Whatever the part does to stores, nothing is lost and nothing goes unseen."""
    if part in TRACED and STRACE is None:
        missing("strace is not installed; `apt-get install strace` on Debian")
    program = str(Path(__file__).with_name("run.py"))
    # In a process of its own: the part forks, and this one may have threads.
    result = subprocess.run(
        [sys.executable, program, "--short", "--seed", "1", "--only", part],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout + result.stderr
