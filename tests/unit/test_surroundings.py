"""The fixtures of `tests/conftest.py` keep what they promise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.nix_environment import NixCommandFailed, NixEnv


def test_the_store_is_below_tmp_path(tmp_path: Path) -> None:
    """The default store of a test is in its own folder, and so is the home."""
    assert os.environ["PLXNIX_ROOT"] == str(tmp_path / "plxnix")
    assert Path.home() == tmp_path / "home"


def test_no_setting_of_the_user_is_seen() -> None:
    """No `PLXNIX_*` variable but the root reaches a test."""
    assert [name for name in os.environ if name.startswith("PLXNIX_")] == ["PLXNIX_ROOT"]


def test_nix_builds_into_its_usual_store(nix_env: NixEnv, tmp_path: Path) -> None:
    """A build without nixpkgs works, and its output is read at its predicted place."""
    expression = tmp_path / "default.nix"
    expression.write_text(
        'derivation { name = "one"; system = builtins.currentSystem; builder = "/bin/sh";'
        ' args = [ "-c" "echo one > $out; :" ]; }\n'
    )
    built = nix_env.build(expression)
    assert built.parent == Path("/nix/store")
    assert built.read_text() == "one\n"
    predicted = nix_env.run("nix-store", "--query", "--outputs", nix_env.instantiate(expression))
    assert predicted.stdout.strip() == str(built)


def test_a_failed_nix_command_says_why(nix_env: NixEnv) -> None:
    """What a failing program printed is in the error."""
    with pytest.raises(NixCommandFailed, match="undefined variable"):
        nix_env.evaluate("missing")


def test_a_private_store_may_be_emptied(nix_env: NixEnv, tmp_path: Path) -> None:
    """Collecting garbage in a private store removes what the test has added, and is allowed."""
    if not nix_env.private:
        pytest.skip("the store is the machine's own")
    file = tmp_path / "file"
    file.write_text("garbage\n")
    added = Path(nix_env.run("nix-store", "--add", file).stdout.strip())
    assert added.exists()
    nix_env.collect()
    assert not added.exists()


def test_nothing_is_taken_from_elsewhere(nix_env: NixEnv) -> None:
    """There are no substituters, no search path and no sandbox, whatever the user has set."""
    shown = nix_env.run("nix", "show-config").stdout.splitlines()
    assert {"substituters = ", "sandbox = false", "build-users-group = "} <= set(shown)
    assert nix_env.evaluate("builtins.length builtins.nixPath") in ("0\n", "0")
