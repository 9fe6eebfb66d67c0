"""Waiting for what happens, for as long as a slow and busy machine may take over it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which what was waited for will not happen: disks have stood still for 20.
PATIENCE = 300.0


def wait_for(condition: Callable[[], T]) -> T:
    """Wait until a condition holds, and return what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"it does not happen in {PATIENCE:.0f} s")
        time.sleep(0.005)
    return found


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, though perhaps nobody has asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
