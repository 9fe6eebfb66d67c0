"""`--collisions`: files that several packages of an environment may own, here and in Nix."""

from __future__ import annotations

import json

from plxnix.pyenv.stage import Interpreter
from tests.command_line import CommandLine
from tests.nix_environment import NixEnv
from tests.wheels import Index, make_wheel


def test_collisions_that_the_lock_allows(
    plxnix: CommandLine, index: Index, nix_env: NixEnv
) -> None:
    """`--collisions` holds for the folder in Nix, and for commands that read its lock."""
    host_python = Interpreter.of().version
    for name in ("one", "two"):
        files = {f"{name}.py": "", "shared.py": f"FROM = {name!r}\n"}
        index.add(make_wheel(index.folder, name, files=files))
    asked = ("-p", "one", "-p", "two", "--python", host_python)
    program = ("python", "-c", "import shared; print(shared.FROM)")
    plxnix.ok("env", "env", *asked)
    assert "shared.py is in" in plxnix.fails("run", "--env", "env", *program)
    pattern = "lib/*/site-packages/shared.py"
    plxnix.ok("env", "env", *asked, "--collisions", pattern)
    plxnix.ok("env", "update", "env")
    assert plxnix.ok("run", "--env", "env", *program).out == b"one\n"
    built = nix_env.build(plxnix.folder / "env")
    shared = built / "lib" / f"python{host_python}" / "site-packages" / "shared.py"
    assert shared.read_text() == "FROM = 'one'\n"
    plxnix.ok("gen", *asked, "--collisions", pattern, "-o", "env.nix")
    printed = nix_env.evaluate(f"(import {plxnix.folder}/env.nix {{ }}).outPath")
    assert json.loads(printed) == str(built)
    packages = ("run", "-p", "one", "-p", "two", "--collisions", pattern)
    assert plxnix.ok(*packages, *program).out == b"one\n"
