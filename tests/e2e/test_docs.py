"""The documentation: its tutorials run, and it builds without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plxnix
import plxnix.errors
from tests.command_line import CommandLine
from tests.hello_source import hello_tarball
from tests.http_server import Answer, Server

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
TUTORIALS = sorted(
    path.stem for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text()
)


@pytest.fixture
def plxnix_here(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, in a folder that holds the documents and the examples."""
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capfdbinary)


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial_runs(
    name: str, plxnix_here: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every section of a tutorial runs, and fails where it says so."""
    with Server() as server:
        if "mirror://gnu/hello" in Path(f"docs/{name}.md").read_text():
            server.answer("/hello/hello-2.10.tar.gz", Answer(hello_tarball().read_bytes()))
            monkeypatch.setenv("NIX_MIRRORS_gnu", server.url("/"))
        outcome = plxnix_here("mdrun", f"docs/{name}.md", "out.md")
    assert outcome.status == 0, Path("out.md").read_text()


def test_every_public_name_is_in_the_reference() -> None:
    """The reference names all that `from plxnix import *` gives."""
    named = set(re.findall(r"^(?:::: |\s+- )[\w.]*?(\w+)$", REFERENCE.read_text(), re.MULTILINE))
    # The module of errors is there with all that is in it.
    named |= {name for name in vars(plxnix.errors) if "::: plxnix.errors" in REFERENCE.read_text()}
    assert sorted(set(vars(plxnix)["__all__"]) - named) == ["__version__"]


def test_documentation_builds(tmp_path: Path) -> None:
    """The pages and the reference build without a warning."""
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--site-dir", "site"]
    command[-1] = str(tmp_path / "site")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    page = (tmp_path / "site" / "reference" / "index.html").read_text()
    assert "Realize a closure" in page
