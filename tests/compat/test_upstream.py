"""Pylightnix's own tests, where a checkout of it is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Looked up when this is imported: within tests, no such variable is set.
CHECKOUT = os.environ.get("PLXNIX_UPSTREAM", "")


@pytest.mark.skipif(not CHECKOUT, reason="PLXNIX_UPSTREAM names no checkout of Pylightnix")
def test_upstream() -> None:
    """All pass but those that are excused; it takes minutes."""
    script = Path(__file__).with_name("run_upstream.py")
    done = subprocess.run(
        [sys.executable, script, CHECKOUT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_usage() -> None:
    """Without a checkout the script says how it is called, and exits with 2."""
    script = Path(__file__).with_name("run_upstream.py")
    done = subprocess.run(
        [sys.executable, script, "no-such-folder"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "CHECKOUT" in done.stderr
    assert "Traceback" not in done.stderr
