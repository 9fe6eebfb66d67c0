"""`plxnix export` as a user runs it: every form, into a file, a folder and standard output."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plxnix.export.forms import FORMS
from tests.nix_environment import NixEnv

STAGES = """
from plxnix import execute, mkfile, selfref

def hello():
    text = mkfile("text.txt", "hello\\n")
    return execute(
        name="hello",
        text=text / "text.txt",
        program=[selfref, "bin", "hello"],
        command='mkdir -p $out/bin; echo "cat $text" > $out/bin/hello; chmod +x $out/bin/hello',
    )
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of stages, in which commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages.py").write_text(STAGES)
    return tmp_path


def plxnix(*arguments: str, status: int = 0) -> str:
    """Run the command and return what it printed; its errors go to `stderr.txt`."""
    done = subprocess.run(
        [sys.executable, "-m", "plxnix", *arguments], capture_output=True, text=True, check=False
    )
    Path("stderr.txt").write_text(done.stderr)
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_same_in_a_file_and_on_standard_output(form: str) -> None:
    """Without `-o` an export is printed, with it written; only the command in it differs."""
    printed = plxnix("export", "stages.py:hello", "--format", form)
    plxnix("export", "stages.py:hello", "--format", form, "-o", "written")
    written = Path("written").read_text()
    assert written.replace(" -o written", "") == printed


def test_the_command_in_an_export_is_what_was_typed() -> None:
    """Values stand there as they were given, so that they are read as the same again."""
    Path("typed.py").write_text(
        "from plxnix import mkfile\ndef one(x=None):\n    return mkfile('one', repr(x))\n"
    )
    for given in ('x="5"', "x=5", "x=2.10"):
        assert f"typed.py:one -a {shlex.quote(given)}\n" in plxnix(
            "export", "typed.py:one", "-a", given
        )


def test_flake_in_a_folder(nix_env: NixEnv) -> None:
    """`-o flake/` gives a folder that Nix builds."""
    plxnix("export", "stages.py:hello", "-f", "flake", "--toolchain", "host", "-o", "flake/")
    assert sorted(os.listdir("flake")) == ["default.nix", "flake.nix", "shell.nix"]
    assert nix_env.run("nix", "run", f"path:{Path.cwd()}/flake#hello").stdout == "hello\n"


def test_derivations_are_registered_and_built(nix_env: NixEnv) -> None:
    """`--format drv --build` prints the path of the result, which no evaluation has seen."""
    (drv,) = plxnix("export", "stages.py:hello", "-f", "drv").split()
    assert drv.endswith("-hello.drv")
    (built,) = plxnix("export", "stages.py:hello", "-f", "drv", "--build").split()
    assert nix_env.run("nix-store", "-q", "--deriver", built).stdout.strip() == drv


def test_split_needs_a_folder() -> None:
    """Several files do not go into one, nor to standard output, and nothing is made."""
    plxnix("export", "stages.py:hello", "--split", "-o", "one.nix", status=1)
    plxnix("export", "stages.py:hello", "--split", status=2)
    assert not Path("one.nix").exists()
    plxnix("export", "stages.py:hello", "--split", "-o", "many/")
    assert Path("many", "stages", "hello.nix").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-f lock --split", "--split"),
        ("-f nix --envrc", "--envrc"),
        ("--build", "--build"),
        ("-f drv -o written", "--output"),
        ("--nixpkgs x -o written", "--nixpkgs"),
    ],
)
def test_options_that_mean_nothing(options: str, said: str) -> None:
    """An option of another form or toolchain is refused, and nothing is written."""
    plxnix("export", "stages.py:hello", *options.split(), status=2)
    assert said in Path("stderr.txt").read_text()
    assert not Path("written").exists()


def test_without_nix(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs Nix says that it is missing; what does not works without."""
    empty = Path("bin")
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty.resolve()))
    plxnix("export", "stages.py:hello", "-o", "default.nix")
    json.loads(plxnix("export", "stages.py:hello", "-f", "json"))
    for arguments in (("-f", "drv"), ("--toolchain", "locked")):
        plxnix("export", "stages.py:hello", *arguments, status=1)
        assert "install" in Path("stderr.txt").read_text()
    assert shutil.which("nix-build") is None


def test_a_failing_nix_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Nix program that fails is named with its last words; nothing is written."""
    fake = Path("bin")
    fake.mkdir()
    for name in ("nix-instantiate", "nix-store"):
        (fake / name).write_text("#!/bin/sh\necho 'the store is on fire' >&2\nexit 7\n")
        (fake / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.resolve()}:{os.environ['PATH']}")
    plxnix("export", "stages.py:hello", "--toolchain", "locked", "-o", "default.nix", status=1)
    assert "the store is on fire" in Path("stderr.txt").read_text()
    assert not Path("default.nix").exists()
    assert not Path("plxnix.toolchain.json").exists()
