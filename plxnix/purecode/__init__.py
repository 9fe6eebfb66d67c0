"""Programs of pure stages: a function and what it uses, as text that any Python can run.

What a function uses is found by reading, as for the hash of code (`codehash/`): statements of the
user's own modules go along, installed packages are imported where the program runs.
"""

from __future__ import annotations

from pathlib import Path

from plxnix.purecode.program import program

__all__ = ["program", "runner_file"]


def runner_file() -> Path:
    """Return the path of the program that runs programs: RUNNER PROGRAM INPUTS."""
    return Path(__file__).with_name("runner.py")
