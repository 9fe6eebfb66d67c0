"""`plxnix env FOLDER` and `gen`: folders that Nix makes environments of, on one path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from plxnix import DRef, Registry, fsinit, instantiate, python_env
from plxnix.export.graph import ExportGraph
from plxnix.pyenv.stage import Interpreter
from tests.command_line import CommandLine
from tests.nix_environment import NixEnv
from tests.wheels import BACKEND, Index, make_sdist

BASH = {"NIX_BUILD_SHELL": "/bin/bash"}


@pytest.fixture
def index(index: Index, tmp_path: Path) -> Index:
    """An index that uv is told to use; `top` needs `below`, `built` has only sources."""
    index.wheel("top", "1.0", "below")
    index.wheel("below", "2.0")
    index.add(make_sdist(tmp_path / "files", "built"))
    return index


@pytest.fixture
def host_python() -> str:
    """The version of the `python3` that the host toolchain has."""
    return Interpreter.of().version


@pytest.fixture
def cli(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "requirements.txt").write_text("top\n")
    return CommandLine(work, capfdbinary)


def out_path(nix_env: NixEnv, expression: str) -> str:
    """The path that an environment will have."""
    found: str = json.loads(nix_env.evaluate(f"({expression}).outPath"))
    return found


def test_a_folder_is_an_environment(
    cli: CommandLine, index: Index, nix_env: NixEnv, host_python: str
) -> None:
    """`nix-shell` and `nix-build` give it, also where the folder was copied to."""
    assert index.url
    cli.ok("env", "./env", "-r", "requirements.txt", "--python", host_python)
    place = cli.folder / "elsewhere"
    shutil.move(cli.folder / "env", place)
    assert str(cli.folder) not in "".join(
        one.read_text() for one in place.rglob("*") if one.is_file()
    )
    program = "import top, below; print(top.VERSION, below.VERSION, top.__file__)"
    built = nix_env.build(place)
    shown = nix_env.run("nix-shell", place, "--run", f"python -c '{program}'", variables=BASH)
    where = f"{built}/lib/python{host_python}/site-packages/top.py"
    assert shown.stdout == f"1.0 2.0 {where}\n"
    inside = nix_env.run(
        "nix-shell", "--run", f"python -c '{program}'", cwd=place, variables=BASH
    ).stdout
    assert inside == shown.stdout
    developed = nix_env.run("nix", "develop", f"path:{place}", "-c", "python", "-c", program)
    assert developed.stdout == shown.stdout


def test_folder_expression_and_stage_have_one_path(
    cli: CommandLine, index: Index, nix_env: NixEnv, host_python: str
) -> None:
    """`env`, `gen` and `python_env`, with a package that is built from sources."""
    assert index.url
    asked = ("-p", "top", "-p", "built", "--python", host_python)
    cli.ok("env", "env", *asked)
    cli.ok("gen", *asked, "-o", "env.nix")
    registry = Registry(fsinit(cli.folder / "store"))

    def stage() -> DRef:
        return python_env("env/pylock.toml", host_python, registry=registry)

    graph = ExportGraph(instantiate(stage, registry=registry))
    native = graph.instantiation.path(graph.roots[0].node)
    assert out_path(nix_env, f"import {cli.folder}/env {{ }}") == native
    assert out_path(nix_env, f"import {cli.folder}/env.nix {{ }}") == native
    built = nix_env.build(cli.folder / "env")
    assert str(built) == native
    assert (built / "lib" / f"python{host_python}" / "site-packages" / "built.py").exists()


def test_making_it_again_changes_nothing(cli: CommandLine, index: Index, host_python: str) -> None:
    """Locked versions stay, and so do bytes; newer ones are taken when that is asked for."""
    cli.ok("env", "env", "-r", "requirements.txt", "--python", host_python)
    before = {one: one.read_bytes() for one in Path("env").rglob("*") if one.is_file()}
    index.wheel("below", "3.0")
    for again in (("-r", "requirements.txt", "--python", host_python), ()):
        assert "as it was" in cli.ok("env", "env", *again).err
        after = {one: one.read_bytes() for one in Path("env").rglob("*") if one.is_file()}
        assert after == before
    cli.ok("env", "env", "--upgrade")
    assert 'version = "3.0"' in Path("env/pylock.toml").read_text()


def test_edited_files_are_kept(cli: CommandLine, index: Index, host_python: str) -> None:
    """They are named; --force writes over them. Files of others are not touched at all."""
    assert index.url
    asked = ("-p", "below", "--python", host_python)
    cli.ok("env", "env", *asked)
    shell = Path("env/shell.nix")
    written = shell.read_text()
    shell.write_text("mine")
    assert "env/shell.nix was edited, and is kept" in cli.ok("env", "env").err
    assert "env/shell.nix was edited, and is kept" in cli.ok("env", "env").err
    assert shell.read_text() == "mine"
    cli.ok("env", "env", "--force")
    assert shell.read_text() == written
    other = Path("other")
    other.mkdir()
    (other / "flake.nix").write_text("theirs")
    refused = cli.fails("env", "other", *asked)
    assert "flake.nix, which plxnix did not write" in refused
    assert [one.name for one in other.iterdir()] == ["flake.nix"]


def test_what_cannot_be_resolved_leaves_no_folder(cli: CommandLine, index: Index) -> None:
    """And says what uv says."""
    assert index.url
    assert "nosuch" in cli.fails("env", "deep/env", "-p", "nosuch")
    assert not Path("deep/env").exists()


def test_gen_prints_the_expression(cli: CommandLine, index: Index, host_python: str) -> None:
    """On standard output, with the command that makes it again; for nixpkgs as well."""
    assert index.url
    shown = cli.ok("gen", "-r", "requirements.txt", "--python", host_python)
    assert b"plxnix gen -r requirements.txt --python" in shown.out
    assert b"below-2.0-py3-none-any.whl" in shown.out
    assert b"pkgs" in cli.ok("gen", "-p", "below", "--toolchain", "nixpkgs").out


def test_what_nix_cannot_build_is_told(cli: CommandLine, index: Index) -> None:
    """A project in a folder is locked, with a warning that Nix will not build it."""
    del index
    project = cli.folder / "project"
    project.mkdir()
    (project / "PKG-INFO").write_text("Metadata-Version: 2.2\nName: mine\nVersion: 1.0\n")
    (project / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
        '[project]\nname = "mine"\nversion = "1.0"\n'
    )
    said = cli.ok("env", "./env", "-p", "./project").err
    assert "warning: Nix cannot build what is a folder or a commit here: mine;" in said
