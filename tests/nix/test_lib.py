"""`nix/lib`, by itself and against what plxnix computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, Registry, execute, fetchurl, fsinit, instantiate, match_latest
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_pin
from plxnix.export.lock import LOCK, lock
from plxnix.model import selfref
from plxnix.nix.hashes import Hash
from plxnix.nix.text import string
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.stage_samples import Lab

LIBRARY = Path(__file__).parents[2] / "nix" / "lib"
HASH = Hash.of_bytes(b"contents")


@pytest.fixture
def library() -> str:
    """The expression for the library."""
    return f"(import {LIBRARY})"


def test_its_own_checks_pass(nix_env: NixEnv) -> None:
    """`nix/lib/tests.nix` evaluates, and counts what it has checked."""
    said = json.loads(nix_env.run(*_EVALUATE, LIBRARY / "tests.nix").stdout)
    assert int(said.split()[0]) >= 30


_EVALUATE = ("nix-instantiate", "--eval", "--strict", "--json")


def source(folder: Path, outputs: str) -> Path:
    """Make a flake that has the library in it."""
    folder = folder / "source"
    shutil.copytree(LIBRARY, folder / "nix" / "lib")
    package = LIBRARY.parents[1] / "plxnix"
    shutil.copytree(package / "pyenv" / "nixlib", folder / "plxnix" / "pyenv" / "nixlib")
    shutil.copy(package / "version.py", folder / "plxnix")
    (folder / "flake.nix").write_text(f"{{ outputs = {{ self }}: {{ {outputs} }}; }}")
    return folder


def test_its_checks_pass_in_pure_mode(nix_env: NixEnv, tmp_path: Path) -> None:
    """Nothing in it asks for what a flake has not."""
    folder = source(tmp_path, "lib.said = import ./nix/lib/tests.nix;")
    shown = nix_env.run("nix", "eval", "--raw", f"path:{folder}#lib.said").stdout
    assert shown.endswith("checks of plxnix.lib passed")


def test_a_check_that_fails_is_named(nix_env: NixEnv, tmp_path: Path) -> None:
    """If a function breaks, evaluation of the checks fails."""
    folder = source(tmp_path, "") / "nix" / "lib"
    broken = (folder / "pin.nix").read_text().replace("plxnix nix add", "plxnix nix lose")
    (folder / "pin.nix").write_text(broken)
    with pytest.raises(NixCommandFailed, match=r"checks of plxnix\.lib failed: a pin says how"):
        nix_env.run(*_EVALUATE, folder / "tests.nix")


# -- fetch -------------------------------------------------------------------------------------

URLS = (
    "https://example.org/data.csv",
    "https://example.org/a/b/data.tar?x=/1#/y",
    "https://example.org/a%20b%3fc%2B%2b.txt",
    "https://example.org/%C3%A9%e9%9b%aa%F0%9F%98%80x%C2%BF%c2%bfy",
    "https://example.org/%25%41%7e~!$&'()*,;=:@",
    "https://example.org/...x",
    "https://example.org/x.drv",
    "https://example.org/x.drv?y",
    "https://example.org/" + "n" * 300,
    "https://user.example.org:8080/~me/x-1_2+3=4",
    "file:///data/x%5By%5D",
    "https://example.org/%00%1F%7F",
    "https://example.org/%",
    "https://example.org/%zz%4",
)


def test_a_fetch_is_that_of_plxnix(nix_env: NixEnv, library: str) -> None:
    """For URLs of all kinds, the derivation is the one that `fetchurl` of Python lowers to."""
    expected, asked, legal = [], [], []
    for url in URLS:
        registry = Registry(fsinit())

        def stage(url: str = url, registry: Registry = registry) -> DRef:
            return fetchurl(url, hash=HASH.sri, name="x", mode="", registry=registry)

        try:
            graph = ExportGraph(instantiate(stage, registry=registry))
        except ValueError:
            continue
        legal.append(url)
        expected.append(graph.instantiation.drv_path(graph.roots[0].node))
        asked.append(f"({library}.fetch {{ url = {string(url)}; hash = {string(HASH.sri)}; }})")
    assert len(legal) >= len(URLS) - 1
    found = json.loads(nix_env.evaluate(f"map (one: one.drvPath) [ {' '.join(asked)} ]"))
    assert dict(zip(legal, found, strict=True)) == dict(zip(legal, expected, strict=True))


@pytest.mark.parametrize(
    "given",
    [
        f"sha256 = {string(HASH.hex)};",
        f"sha256 = {string(HASH.base32)};",
        f"sha256 = {string(HASH.base64)};",
        f"sha256 = {string(HASH.sri)};",
    ],
)
def test_forms_of_a_hash_are_one_path(nix_env: NixEnv, library: str, given: str) -> None:
    """Hex, base 32, base 64 and SRI."""
    first = f'{library}.fetch {{ url = "https://example.org/x"; {given} }}'
    second = f'{library}.fetch {{ url = "https://example.org/x"; hash = {string(HASH.sri)}; }}'
    assert json.loads(nix_env.evaluate(f"({first}).outPath == ({second}).outPath")) is True


def test_a_fetch_fetches(nix_env: NixEnv, library: str, tmp_path: Path) -> None:
    """Nix has the file at the path that was told."""
    (tmp_path / "my data").write_bytes(b"contents")
    main = tmp_path / "main.nix"
    main.write_text(
        f'{library}.fetch {{ url = "file://{tmp_path}/my%20data"; hash = {string(HASH.sri)}; }}'
    )
    built = nix_env.build(main)
    assert built.name.endswith("-my-data")
    assert built.read_bytes() == b"contents"


# -- pins --------------------------------------------------------------------------------------


def pinned(lab: Lab, content: str) -> ExportGraph:
    """Return the export of one stage that Nix cannot build."""
    dref = lab.stage("model", content=content, matcher=match_latest(1))
    lab.realize(dref)
    return ExportGraph(lab.closure(dref))


def _pin(library: str, graph: ExportGraph) -> str:
    (item,) = graph.items
    assert item.lowered is not None
    assert item.node.fixed is not None
    return (
        f'{library}.pin {{ name = "model"; hash = {string(item.node.fixed.hash.sri)}; '
        f"rref = {string(str(item.lowered.rref))}; shell = {string(str(item.node.builder[0]))}; }}"
    )


def test_a_pin_is_that_of_an_export(nix_env: NixEnv, library: str, tmp_path: Path) -> None:
    """Name, hash and reference give the very derivation that an export has."""
    graph = pinned(Lab(tmp_path / "store"), "x")
    said = nix_env.evaluate(f"({_pin(library, graph)}).drvPath")
    assert json.loads(said) == graph.instantiation.drv_path(graph.roots[0].node)


def test_a_missing_pin_says_what_to_do(nix_env: NixEnv, library: str, tmp_path: Path) -> None:
    """Building fails with the command that adds the result, and succeeds once it ran."""
    lab = Lab(tmp_path / "store")
    graph = pinned(lab, f"made in {tmp_path}")
    main = tmp_path / "main.nix"
    main.write_text(_pin(library, graph))
    lowered = graph.roots[0].lowered
    assert lowered is not None
    assert lowered.rref is not None
    with pytest.raises(NixCommandFailed, match=f"plxnix nix add {lowered.rref}"):
        nix_env.build(main)
    add_pin(lab.store, lowered.rref)
    assert (nix_env.build(main) / "out").read_text() == f"made in {tmp_path}"


@pytest.mark.parametrize(
    "call", [f'pin {{ name = "x"; hash = {string(HASH.sri)}; }}', "mkShell { stages = { }; }"]
)
def test_pure_mode_asks_for_a_system(nix_env: NixEnv, tmp_path: Path, call: str) -> None:
    """Where Nix does not know the system, the message says what to give."""
    folder = source(tmp_path, f"lib.asked = ((import ./nix/lib).{call}).drvPath;")
    with pytest.raises(NixCommandFailed, match="give a system"):
        nix_env.run("nix", "eval", f"path:{folder}#lib.asked")


# -- shells ------------------------------------------------------------------------------------


def stages() -> DRef:
    """A stage with a program."""
    return execute(
        'mkdir -p "$out/bin"; echo "echo it runs" > "$out/bin/tool"; chmod +x "$out/bin/tool"; :',
        name="my-tool",
        tool=[selfref, "bin", "tool"],
    )


@pytest.fixture
def shell(tmp_path: Path, library: str) -> tuple[Path, str]:
    """A shell of a lock, and the path of its stage."""
    graph = ExportGraph(instantiate(stages, registry=Registry(fsinit())))
    (tmp_path / LOCK).write_text(lock(graph, ""))
    (tmp_path / "shell.nix").write_text(
        f"{library}.mkShell {{ lock = ./{LOCK}; shellHook = ''export HOOK=\"it ran\"''; }}"
    )
    return tmp_path, graph.instantiation.path(graph.roots[0].node)


_ASK = 'echo "$my_tool"; echo "$HOOK"; tool; type -P ls > /dev/null && echo machine'


@pytest.mark.parametrize("pure", [False, True])
def test_nix_shell_has_stages_and_programs(
    nix_env: NixEnv, shell: tuple[Path, str], pure: bool
) -> None:
    """Stages are variables, their programs run, the hook ran; with `--pure` too."""
    folder, path = shell
    shown = nix_env.run(
        *("nix-shell", *(["--pure"] if pure else []), "--run", _ASK),
        cwd=folder,
        variables={"NIX_BUILD_SHELL": "/bin/bash"},
    )
    assert shown.stdout.splitlines() == [path, "it ran", "it runs", "machine"]
    assert "not found" not in shown.stderr


def test_nix_develop_has_stages_and_programs(nix_env: NixEnv, shell: tuple[Path, str]) -> None:
    """The same by `nix develop`."""
    folder, path = shell
    shown = nix_env.run(
        *("nix", "develop", "-f", folder / "shell.nix", "--command", "bash", "-c", _ASK),
        cwd=folder,
    ).stdout.splitlines()
    assert shown == [path, "it ran", "it runs", "machine"]


def test_a_shell_of_nixpkgs_has_them_too(
    nix_env: NixEnv, shell: tuple[Path, str], library: str, stub_nixpkgs: Path
) -> None:
    """With `pkgs`, its own `mkShell` makes the shell, with packages on PATH."""
    folder, path = shell
    (folder / "shell.nix").write_text(
        f"let pkgs = import {stub_nixpkgs} {{ }}; in {library}.mkShell "
        f"{{ lock = ./{LOCK}; inherit pkgs; packages = [ pkgs.git ]; }}"
    )
    shown = nix_env.run(
        *("nix-shell", "--run", 'echo "$my_tool"; tool; echo "$buildInputs"'),
        cwd=folder,
        variables={"NIX_BUILD_SHELL": "/bin/bash"},
    ).stdout.splitlines()
    assert shown[:2] == [path, "it runs"]
    assert shown[2].strip().endswith("-git")


def test_packages_come_before_stages(
    nix_env: NixEnv, shell: tuple[Path, str], library: str
) -> None:
    """A package with a program of the same name is found first; the machine's come last."""
    folder, _ = shell
    other = (
        '(derivation { name = "other"; system = builtins.currentSystem; builder = "/bin/sh"; '
        'args = [ "-c" "PATH=/bin:/usr/bin; mkdir -p $out/bin; echo echo other > $out/bin/tool; '
        'chmod +x $out/bin/tool; :" ]; })'
    )
    (folder / "shell.nix").write_text(
        f"{library}.mkShell {{ lock = ./{LOCK}; packages = [ {other} ]; }}"
    )
    shown = nix_env.run(
        "nix-shell", "--run", "tool", cwd=folder, variables={"NIX_BUILD_SHELL": "/bin/bash"}
    )
    assert shown.stdout == "other\n"


def test_the_overlay_has_the_library(nix_env: NixEnv, stub_nixpkgs: Path) -> None:
    """`pkgs.plxnixLib` is the library."""
    overlay = LIBRARY.parent / "overlay.nix"
    said: Any = json.loads(
        nix_env.evaluate(
            f"builtins.attrNames (import {stub_nixpkgs} {{ overlays = [ (import {overlay}) ]; }})"
            ".plxnixLib"
        )
    )
    assert {"fetch", "fromLock", "mkShell", "pin", "version", "python", "mkPython"} <= set(said)
