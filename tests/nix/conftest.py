"""What the tests with Nix share: a stand-in for nixpkgs, and stages of their own."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef, execute
from tests.conftest import missing
from tests.stage_samples import Lab

STUB = Path(__file__).with_name("stub")


@pytest.fixture(scope="session")
def stub_nixpkgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the stub package set that builds with this machine's bash and this Python.

    It is a flake and a `default.nix`, as nixpkgs is: `--override-input nixpkgs path:FOLDER`, or
    `--arg pkgs 'import FOLDER { }'`. The folder is named `source`.
    """
    bash = shutil.which("bash")
    if bash is None:
        missing("bash is not installed")
    folder = tmp_path_factory.mktemp("nixpkgs") / "source"
    shutil.copytree(STUB, folder)
    host = {
        "bash": bash,
        "python": sys.executable,
        "interpreter": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        "version": "{}.{}".format(*sys.version_info[:2]),
        "path": "/usr/local/bin:/usr/bin:/bin",
    }
    folder.joinpath("host.nix").write_text(
        "{\n"
        + "".join(f"  {name} = {json.dumps(value)};\n" for name, value in host.items())
        + "}\n"
    )
    return folder


@pytest.fixture
def run(lab: Lab, tmp_path: Path) -> Callable[..., DRef]:
    """`execute` in the lab's registry, of stages that no other test has."""
    return functools.partial(execute, registry=lab.registry, salt=str(tmp_path))
