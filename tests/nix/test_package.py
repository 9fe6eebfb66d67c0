"""plxnix as a Nix package, built offline over the stub package set."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from plxnix.version import VERSION
from tests.nix_environment import NixEnv

ROOT = Path(__file__).parents[2]

#: What the package's source may hold, and nothing else.
SOURCES = {"LICENSE", "README.md", "plxnix", "pyproject.toml"}

FILES = ("LICENSE", "README.md", "pyproject.toml", "flake.lock", "*.nix")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the checkout: what Nix reads, and things that it has to leave alone."""
    folder = tmp_path_factory.mktemp("project")
    for pattern in FILES:
        for file in ROOT.glob(pattern):
            shutil.copy(file, folder)
    for name in ("plxnix", "nix"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for noise in (
        "plxnix/__pycache__/config.cpython-310.pyc",
        "tests/test_noise.py",
        ".venv/noise",
    ):
        (folder / noise).parent.mkdir(exist_ok=True)
        (folder / noise).write_text("noise")
    return folder


@pytest.fixture(scope="module")
def preloaded(project: Path, stub_nixpkgs: Path, nix_env: NixEnv) -> Path:
    """Give a copy whose lock pins the stub, which is in the store already.

    Nix takes what is pinned by its hash from the store, so everything that names nixpkgs works
    with no network and no argument, through the same files as a user's.
    """
    folder = project.parent / "preloaded"
    shutil.copytree(project, folder)
    added = nix_env.run("nix-store", "--add-fixed", "--recursive", "sha256", stub_nixpkgs)
    shown = nix_env.run("nix", "hash", "path", added.stdout.strip()).stdout.strip()
    lock = json.loads((folder / "flake.lock").read_text())
    lock["nodes"]["nixpkgs"]["locked"]["narHash"] = shown
    (folder / "flake.lock").write_text(json.dumps(lock))
    return folder


@pytest.fixture(scope="module")
def flake(project: Path, stub_nixpkgs: Path) -> tuple[str, ...]:
    """Give the words that name the flake on the command line, with the stub for nixpkgs."""
    return (f"path:{project}", "--override-input", "nixpkgs", f"path:{stub_nixpkgs}")


def package(project: Path, stub: Path) -> str:
    """Write the package as a Nix expression."""
    return f"(import {project} {{ pkgs = import {stub} {{ }}; }})"


def test_nix_build_makes_a_working_command(
    nix_env: NixEnv, project: Path, stub_nixpkgs: Path, tmp_path: Path
) -> None:
    """`nix-build` gives a package whose command runs, from any folder."""
    pkgs = f"import {stub_nixpkgs} {{ }}"
    built = nix_env.build(project, None, "--arg", "pkgs", pkgs)
    assert built.name.endswith(f"plxnix-{VERSION}")
    assert VERSION in nix_env.run(built / "bin" / "plxnix", "--version", cwd=tmp_path).stdout


def test_the_source_is_what_the_wheel_is_made_of(
    nix_env: NixEnv, project: Path, stub_nixpkgs: Path
) -> None:
    """The package's source has the whole package, and neither tests nor compiled files."""
    source_text = f'"${{{package(project, stub_nixpkgs)}.src}}"'
    text = nix_env.evaluate(source_text, "--read-write-mode")
    source = Path(json.loads(text))
    assert {path.name for path in source.iterdir()} == SOURCES
    assert tree(source / "plxnix") == {
        name for name in tree(project / "plxnix") if "__pycache__" not in name
    }


def tree(folder: Path) -> set[str]:
    """List the files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_dependencies_are_those_of_the_wheel(
    nix_env: NixEnv, project: Path, stub_nixpkgs: Path
) -> None:
    """`nix/package.nix` and `pyproject.toml` list the same dependencies and extras."""
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    names = "map (dependency: dependency.pname)"
    found: dict[str, Any] = json.loads(
        nix_env.evaluate(
            f"let package = {package(project, stub_nixpkgs)}; in {{"
            f" dependencies = {names} package.dependencies;"
            f" extras = builtins.mapAttrs (_: {names}) package.optional-dependencies; }}"
        )
    )
    assert sorted(found["dependencies"]) == distributions(declared["dependencies"])
    for_users = declared["optional-dependencies"].keys() - {"all", "demo", "dev", "docs", "fuzz"}
    assert {extra: sorted(values) for extra, values in found["extras"].items()} == {
        extra: distributions(declared["optional-dependencies"][extra]) for extra in for_users
    }


def distributions(requirements: list[str]) -> list[str]:
    """Take the names out of requirements, without versions and extras, sorted.

    Those for older Pythons than nixpkgs has are left out.
    """
    return sorted(
        re.split(r"[^A-Za-z0-9._-]", entry)[0].lower()
        for entry in requirements
        if "python_version < " not in entry
    )


def test_the_overlay_gives_the_same_package(
    nix_env: NixEnv, project: Path, stub_nixpkgs: Path
) -> None:
    """`pkgs.plxnix` with the overlay is the derivation of `default.nix`."""
    overlaid = f"(import {stub_nixpkgs} {{ overlays = [ (import {project}/nix/overlay.nix) ]; }})"
    plain = nix_env.evaluate(f"{package(project, stub_nixpkgs)}.drvPath")
    assert nix_env.evaluate(f"{overlaid}.plxnix.drvPath") == plain
    assert nix_env.evaluate(f"{overlaid}.python3Packages.plxnix.drvPath") == plain


def test_the_nix_library_knows_the_version(nix_env: NixEnv, project: Path) -> None:
    """`nix/lib` reads the version where Python does, and needs no nixpkgs."""
    assert json.loads(nix_env.evaluate(f"(import {project}/nix/lib).version")) == VERSION


def test_nix_shell_imports_the_checkout(nix_env: NixEnv, project: Path, stub_nixpkgs: Path) -> None:
    """In `nix-shell` the working copy comes first, and the dependencies' tools are on PATH."""
    command = 'test -n "$buildInputs"; echo "$PYTHONPATH"; command -v sh; echo "$PATH"'
    shown = nix_env.run(
        *("nix-shell", "--arg", "pkgs", f"import {stub_nixpkgs} {{ }}", "--run", command),
        cwd=project,
        variables={"NIX_BUILD_SHELL": "/bin/bash", "PYTHONPATH": "/elsewhere"},
    ).stdout.splitlines()
    assert shown[0] == f"{project}:/elsewhere"
    for tool in ("bubblewrap", "python3-pytest", "python3-click", "python3-hatchling"):
        assert f"-{tool}/bin" in shown[-1]


def test_one_pin_serves_those_without_flakes(nix_env: NixEnv, preloaded: Path) -> None:
    """`nix-build` and `nix-shell` without arguments use the nixpkgs of `flake.lock`."""
    assert nix_env.build(preloaded).name.endswith(f"plxnix-{VERSION}")
    nix_env.run(
        *("nix-shell", "--run", "true"), cwd=preloaded, variables={"NIX_BUILD_SHELL": "/bin/bash"}
    )


def test_the_lock_fits_the_flake(nix_env: NixEnv, preloaded: Path) -> None:
    """The lock needs no update: with its nixpkgs in the store, the flake builds offline."""
    before = (preloaded / "flake.lock").read_text()
    nix_env.run("nix", "build", "--no-link", "--no-update-lock-file", f"path:{preloaded}")
    assert (preloaded / "flake.lock").read_text() == before


def test_the_lock_pins_a_revision_by_its_hash() -> None:
    """The committed lock is for nixpkgs at one revision, with an SRI hash of 32 bytes."""
    locked = json.loads((ROOT / "flake.lock").read_text())["nodes"]["nixpkgs"]["locked"]
    assert (locked["owner"], locked["repo"]) == ("NixOS", "nixpkgs")
    assert re.fullmatch("[0-9a-f]{40}", locked["rev"])
    assert re.fullmatch("sha256-[0-9A-Za-z+/]{43}=", locked["narHash"])


def test_flake_check_passes(nix_env: NixEnv, flake: tuple[str, ...]) -> None:
    """`nix flake check` evaluates every output and builds the checks."""
    nix_env.run("nix", "flake", "check", "--no-write-lock-file", *flake)


def test_flake_show_lists_the_outputs(nix_env: NixEnv, flake: tuple[str, ...]) -> None:
    """The flake has its outputs on both systems."""
    shown = json.loads(
        nix_env.run("nix", "flake", "show", "--json", "--no-write-lock-file", *flake).stdout
    )
    for output in ("apps", "checks", "devShells", "formatter", "packages"):
        assert set(shown[output]) == {"x86_64-linux", "aarch64-linux"}
    assert set(shown) >= {"lib", "overlays"}


def test_nix_run_starts_the_command(nix_env: NixEnv, flake: tuple[str, ...]) -> None:
    """`nix run` starts plxnix with the arguments it is given."""
    name, *options = flake
    shown = nix_env.run("nix", "run", "--no-write-lock-file", *options, name, "--", "--version")
    assert VERSION in shown.stdout


def test_nix_develop_imports_the_checkout(
    nix_env: NixEnv, flake: tuple[str, ...], project: Path
) -> None:
    """`nix develop` gives the shell of `shell.nix`."""
    name, *options = flake
    command = ("--command", "bash", "-c", 'echo "$PYTHONPATH"')
    shown = nix_env.run(
        *("nix", "develop", "--no-write-lock-file", *options, name, *command),
        cwd=project,
        variables={"PYTHONPATH": ""},
    )
    assert shown.stdout.splitlines()[-1] == str(project)


@pytest.mark.parametrize("name", ["pipeline", "python"])
def test_templates(
    nix_env: NixEnv, project: Path, stub_nixpkgs: Path, tmp_path: Path, name: str
) -> None:
    """`nix flake init` gives a flake that evaluates whole, with this plxnix and its nixpkgs."""
    nix_env.run("nix", "flake", "init", "--template", f"path:{project}#{name}", cwd=tmp_path)
    flake = (
        f"path:{tmp_path}",
        *("--override-input", "plxnix", f"path:{project}"),
        *("--override-input", "plxnix/nixpkgs", f"path:{stub_nixpkgs}"),
        "--no-write-lock-file",
    )
    shown = json.loads(nix_env.run("nix", "flake", "show", "--json", *flake).stdout)
    assert shown["packages"]["x86_64-linux"]["default"]["type"] == "derivation"
    assert "default" in shown["devShells"]["x86_64-linux"]
    nix_env.run("nix", "flake", "check", *flake)


def test_pipeline_template_builds_as_it_does_here(
    nix_env: NixEnv, project: Path, stub_nixpkgs: Path, tmp_path: Path
) -> None:
    """The template's lock is the one that its stages give, and Nix builds what plxnix builds."""
    template = tmp_path / "pipeline"
    shutil.copytree(ROOT / "nix" / "templates" / "pipeline", template)
    (template / "pipeline.py").chmod(0o644)
    command = (sys.executable, "-m", "plxnix")
    export = ("export", "pipeline.py", "--format", "lock", "-o", "plxnix.lock.json")
    before = (template / "plxnix.lock.json").read_text()
    nix_env.run(*command, *export, cwd=template)
    assert (template / "plxnix.lock.json").read_text() == before
    native = nix_env.run(*command, "realize", "pipeline.py", "--print", "paths", cwd=template)
    nix_env.run(
        "nix",
        "build",
        f"path:{template}",
        *("--override-input", "plxnix", f"path:{project}"),
        *("--override-input", "plxnix/nixpkgs", f"path:{stub_nixpkgs}"),
        *("--no-write-lock-file", "--out-link", str(tmp_path / "result")),
    )
    assert (tmp_path / "result").read_text() == Path(native.stdout.strip(), "frequent").read_text()
