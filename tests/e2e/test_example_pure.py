"""The example of pure stages, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plxnix.nix.nar import nar_hash
from tests.nix_environment import NixEnv
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"
REPORT = f"{EXAMPLES / 'pure.py'}:report"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that is not the project's; the package is the one under test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))


def plxnix(*arguments: str, **variables: str) -> str:
    """Run a command that has to succeed, and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "plxnix", *arguments],
        check=False,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def realize(*arguments: str, **variables: str) -> Any:
    """Realize the report and return what `--json` says."""
    return json.loads(plxnix("realize", REPORT, "--json", *arguments, **variables))


def test_report(nix_env: NixEnv, tmp_path: Path) -> None:
    """It is the same from both builders; a second time nothing runs; a parameter is a reason."""
    first = realize()
    (place,) = first["targets"][0]["paths"]
    assert Path(place, "report.txt").read_text() == (
        "of words with at least 2 letters\n     for *******\n      be *\n     boy *\nin 28 words\n"
    )
    assert realize(PYTHONHASHSEED="7")["realized"] == []
    said = plxnix("realize", REPORT, "-a", "top=1", "--dry-run")
    assert "top changed from 3 to 1" in said
    tree = plxnix("tree", "report")
    assert "counts" in tree
    assert "__source__" not in tree
    plxnix("export", REPORT, "--toolchain", "host", "-o", "default.nix")
    assert nar_hash(nix_env.build(tmp_path / "default.nix")) == nar_hash(place)


def test_lock_form(nix_env: NixEnv, tmp_path: Path) -> None:
    """The lock, read by the library for Nix, gives the same derivations."""
    (place,) = realize()["targets"][0]["paths"]
    arguments = ("--format", "lock", "--toolchain", "host", "-o", "plxnix.lock.json")
    plxnix("export", REPORT, *arguments)
    library = EXAMPLES.parent / "nix" / "lib"
    file = tmp_path / "read.nix"
    file.write_text(f"((import {library}).fromLock {{ lock = ./plxnix.lock.json; }}).default")
    assert nar_hash(nix_env.build(file)) == nar_hash(place)


def test_drv_form(nix_env: NixEnv) -> None:
    """The derivations themselves are put into the Nix store, and can be built."""
    (place,) = realize()["targets"][0]["paths"]
    (path,) = plxnix("export", REPORT, "--format", "drv").split()
    assert path.endswith("-report.drv")
    assert nar_hash(nix_env.build(path)) == nar_hash(place)
