"""`--collisions`: files that several packages of an environment may own, here and in Nix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plxnix.pyenv.stage import Interpreter
from tests.command_line import CommandLine
from tests.nix_environment import NixEnv
from tests.wheels import Index, make_wheel


@pytest.fixture
def cli(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return CommandLine(work, capfdbinary)


def test_collisions_that_the_lock_allows(cli: CommandLine, index: Index, nix_env: NixEnv) -> None:
    """`--collisions` holds for the folder in Nix, and for commands that read its lock."""
    host_python = Interpreter.of().version
    for name in ("one", "two"):
        files = {f"{name}.py": "", "shared.py": f"FROM = {name!r}\n"}
        index.add(make_wheel(index.folder, name, files=files))
    asked = ("-p", "one", "-p", "two", "--python", host_python)
    program = ("python", "-c", "import shared; print(shared.FROM)")
    cli.ok("env", "env", *asked)
    assert "shared.py is in" in cli.fails("run", "--env", "env", *program)
    pattern = "lib/*/site-packages/shared.py"
    cli.ok("env", "env", *asked, "--collisions", pattern)
    cli.ok("env", "update", "env")
    assert cli.ok("run", "--env", "env", *program).out == b"one\n"
    built = nix_env.build(cli.folder / "env")
    shared = built / "lib" / f"python{host_python}" / "site-packages" / "shared.py"
    assert shared.read_text() == "FROM = 'one'\n"
    cli.ok("gen", *asked, "--collisions", pattern, "-o", "env.nix")
    printed = nix_env.evaluate(f"(import {cli.folder}/env.nix {{ }}).outPath")
    assert json.loads(printed) == str(built)
    packages = ("run", "-p", "one", "-p", "two", "--collisions", pattern)
    assert cli.ok(*packages, *program).out == b"one\n"
