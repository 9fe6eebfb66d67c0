"""Scripts in tests: run as their authors would, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_twice(script: str, folder: Path, *flags: str) -> list[str]:
    """Run a script twice, each in a process of its own; return the lines that both print."""
    (folder / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    printed = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *flags, "script.py"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    assert printed[0] == printed[1]
    return printed[0]
