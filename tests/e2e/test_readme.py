"""What README.md shows runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nix_environment import NixEnv
from tests.waiting import PATIENCE

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()

#: The Python listings, in their order.
LISTINGS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)

#: The commands: what is indented and begins with the program's name.
COMMANDS = [
    command.strip()
    for line in re.findall(r"^    (plxnix .*)$", README, re.MULTILINE)
    for command in line.partition("#")[0].split(";")
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder from which only the examples are seen; no store is chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.delenv("PLXNIX_ROOT")
    for name in ("docs", "examples"):
        (tmp_path / name).symlink_to(PROJECT / name)


def run(listing: str, file: str = "listing.py") -> str:
    """Run a listing as a script; return what it prints."""
    Path(file).write_text(listing)
    result = subprocess.run(
        [sys.executable, "-W", "error", file],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_there_are_listings() -> None:
    """The tour and the recipes; more of them need tests of their own."""
    assert len(LISTINGS) == 3
    assert "autostage" in LISTINGS[0]
    assert "fetchurl" in LISTINGS[1]
    assert "pure=True" in LISTINGS[2]
    assert len(COMMANDS) > 5


def test_the_tour(tmp_path: Path) -> None:
    """Twelve runs, the best three kept; the second time nothing runs, for the same result."""
    first = run(LISTINGS[0])
    assert re.fullmatch(r"rref:[0-9a-f]{32}-[0-9a-f]{32}-ensemble\n", first)

    def results() -> list[Path]:
        return sorted(tmp_path.rglob("*-train/*/score.txt"))

    before = results()
    assert len(before) == 12
    scores = sorted((float(path.read_text()) for path in before), reverse=True)
    (best,) = tmp_path.rglob("*-ensemble/*/best.txt")
    assert [float(line) for line in best.read_text().splitlines()] == scores[:3]
    assert run(LISTINGS[0]) == first
    assert results() == before


def test_the_recipes() -> None:
    """They are instantiated: fetched is nothing here."""
    ending = "\nfrom plxnix import fsinit, instantiate\nfsinit('_recipes')\n"
    printed = run(LISTINGS[1] + ending + "print(*instantiate(hello).derivations)")
    names = [dref[38:] for dref in printed.split()]
    assert names == ["hello-2.10.tar.gz", "unpack", "hello"]


def test_the_pure_stage() -> None:
    """It goes on from the tour, and gives the mean of its numbers."""
    ending = "\nprint(Path(mklens(realize(instantiate(mean))).out.syspath).read_text())"
    start = "from pathlib import Path\nfrom plxnix import mklens\n"
    numbers = run(start + LISTINGS[0] + LISTINGS[2] + ending).split()
    assert abs(float(numbers[-1])) < 0.1


def test_the_commands(tmp_path: Path, nix_env: NixEnv) -> None:
    """Every command line succeeds, one after the other."""
    for command in COMMANDS:
        result = subprocess.run(
            ["bash", "-c", f'plxnix() {{ "$PYTHON" -m plxnix "$@"; }}\n{command}'],
            check=False,
            capture_output=True,
            text=True,
            env={**nix_env.environment, "PYTHON": sys.executable},
            timeout=PATIENCE,
        )
        assert result.returncode == 0, f"{command}: {result.stderr}"
    assert (tmp_path / "default.nix").read_text().startswith("# @generated")
