"""`plxnix env FOLDER` and `gen`: folders that Nix makes environments of, on one path."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from plxnix import DRef, Registry, fsinit, instantiate, python_env, realize1
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.pyenv.stage import Interpreter
from plxnix.pyenv.target import Target
from tests.command_line import CommandLine
from tests.commits import serve_commit
from tests.nix.conftest import stub_nixpkgs
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.wheels import BACKEND, Index, backend_wheel, installer_wheel, make_sdist, make_wheel

__all__ = ["stub_nixpkgs"]

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


def test_a_universal_lock_is_for_all_systems(
    cli: CommandLine, index: Index, nix_env: NixEnv, host_python: str
) -> None:
    """Its flake has the environment for each; that of another lock for the platforms it names."""
    assert index.url
    there = "builtins.mapAttrs (_: one: one.default.system)"
    for options, systems in (
        (("--universal",), ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"]),
        (("--platform", "aarch64-manylinux_2_35"), ["aarch64-linux"]),
    ):
        cli.ok("env", "env", "-p", "below", "--python", host_python, *options)
        for output in ("packages", "devShells"):
            flake = f"path:{cli.folder}/env#{output}"
            found = nix_env.run("nix", "eval", "--json", flake, "--apply", there).stdout
            assert json.loads(found) == {system: system for system in systems}


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


def test_a_toolchain_stays(cli: CommandLine, index: Index) -> None:
    """A folder for nixpkgs is one until another toolchain is asked for."""
    assert index.url
    cli.ok("env", "env", "-p", "below", "--toolchain", "nixpkgs")
    before = Path("env/default.nix").read_text()
    for again in (("-p", "below"), ("--upgrade",), ()):
        assert "as it was" in cli.ok("env", "env", *again).err
    cli.ok("env", "env", "--toolchain", "host")
    assert Path("env/default.nix").read_text() != before


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


def test_options_without_requirements_are_refused(cli: CommandLine, index: Index) -> None:
    """They would change nothing of what is locked, so nothing is written."""
    assert index.url
    cli.ok("env", "env", "-p", "below")
    shutil.rmtree("env/plxnix")
    for option in ("--universal", "--exclude-newer=2020-01-01", "--collisions=x", "--extra=x"):
        assert "no requirements" in cli.fails("env", "env", option, status=2)
    assert not Path("env/plxnix").exists()


def test_gen_prints_the_expression(cli: CommandLine, index: Index, host_python: str) -> None:
    """On standard output, with the command that makes it again; for nixpkgs as well."""
    assert index.url
    shown = cli.ok("gen", "-r", "requirements.txt", "--python", host_python)
    assert b"plxnix gen -r requirements.txt --python" in shown.out
    assert b"below-2.0-py3-none-any.whl" in shown.out
    assert b"pkgs" in cli.ok("gen", "-p", "below", "--toolchain", "nixpkgs").out


def write_project(place: Path) -> Path:
    """Write a local project, with what is no source of it, and return its folder."""
    for name, text in (
        ("PKG-INFO", "Metadata-Version: 2.2\nName: mine\nVersion: 1.0\n"),
        (
            "pyproject.toml",
            f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
            '[project]\nname = "mine"\nversion = "1.0"\n',
        ),
        ("mine.py", "VALUE = 1\n"),
        ("__pycache__/mine.pyc", "x"),
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "run.sh").touch(0o755)
    (place / "link").symlink_to("mine.py")
    return place


def test_a_local_project_has_one_path(
    cli: CommandLine, index: Index, nix_env: NixEnv, host_python: str
) -> None:
    """A folder has a copy of it: Nix has the path of plxnix, also where the project is gone.

    Nobody says its version before it is built, and of its folder git ignores a part.
    """
    assert index.url
    project = write_project(cli.folder / "project")
    lines = (
        (project / "pyproject.toml").read_text().replace('version = "1.0"', 'dynamic=["version"]')
    )
    (project / "pyproject.toml").write_text(lines)
    subprocess.run(["git", "init", "-q", project], check=True)
    (project / ".git/info/exclude").write_text("build/\n")
    (project / "build").mkdir()
    (project / "build/mine.py").touch()
    said = cli.ok("env", "env", "-p", "./project", "-p", "top", "--python", host_python).err
    assert "warning" not in said
    copy = cli.folder / "env/plxnix/sources/mine"
    assert sorted(one.name for one in copy.iterdir()) == [
        *("PKG-INFO", "link", "mine.py", "pyproject.toml", "run.sh")
    ]
    shutil.rmtree(project)
    place = cli.folder / "elsewhere" / "env"
    shutil.move(cli.folder / "env", place)
    store = fsinit(cli.folder / "store")
    registry = Registry(store)

    def stage() -> DRef:
        return python_env(place / "pylock.toml", host_python, registry=registry)

    closure = instantiate(stage, registry=registry)
    assert "mine-wheel" in {one.name for one in closure.derivations}
    built = nix_env.build(place)
    assert nar_hash(built) == nar_hash(store.path(realize1(closure)))
    graph = ExportGraph(closure)
    assert str(built) == graph.instantiation.path(graph.roots[0].node)
    program = "import mine, top; print(mine.VALUE)"
    assert nix_env.run(built / "bin/python", "-B", "-c", program).stdout == "1\n"


def test_local_files_have_one_path(
    cli: CommandLine, index: Index, nix_env: NixEnv, host_python: str
) -> None:
    """A folder has copies of wheels and archives, too, but for those that are in it anyway."""
    assert index.url
    make_wheel(cli.folder / "files", "mine", "1.0+x")
    make_sdist(cli.folder / "files", "made")
    make_wheel(cli.folder / "env" / "files", "inner")
    files = ("files/mine-1.0+x-py3-none-any.whl", "files/made-1.0.tar.gz")
    inner = "env/files/inner-1.0-py3-none-any.whl"
    asked = [word for one in (*files, inner) for word in ("-p", f"./{one}")]
    # What builds, and what installs, may be in a folder alone, too.
    links = {make(cli.folder / "links").name for make in (installer_wheel, backend_wheel)}
    (cli.folder / "links.txt").write_text("--no-index\n--find-links links\n")
    cli.ok("env", "env", *asked, "-r", "links.txt", "--python", host_python)
    copies = cli.folder / "env/plxnix/sources"
    assert {one.name for one in copies.iterdir()} == links | {Path(one).name for one in files}
    shutil.rmtree(cli.folder / "links")
    shutil.rmtree(cli.folder / "files")
    place = cli.folder / "elsewhere" / "env"
    shutil.move(cli.folder / "env", place)
    assert "as it was" in cli.ok("env", place).err
    registry = Registry(fsinit(cli.folder / "store"))

    def stage() -> DRef:
        return python_env(place / "pylock.toml", host_python, registry=registry)

    closure = instantiate(stage, registry=registry)
    native = nar_hash(registry.store.path(realize1(closure)))
    program = "import mine, made, inner; print(mine.VERSION)"
    shown = nix_env.run("nix", "develop", f"path:{place}", "-c", "python", "-c", program)
    assert shown.stdout == "1.0+x\n"
    built = nix_env.build(place)
    assert nar_hash(built) == native
    (place / "plxnix/sources/made-1.0.tar.gz").unlink()
    assert "there is no file or folder" in cli.fails("env", place)
    cli.ok("env", place, "-p", "top")
    assert not (place / "plxnix/sources/mine-1.0+x-py3-none-any.whl").exists()


def test_a_local_project_with_a_package_set(
    cli: CommandLine, index: Index, nix_env: NixEnv, stub_nixpkgs: Path
) -> None:
    """The copy is what nixpkgs builds, too, in either form, and in a folder of it if so locked."""
    del index
    python = Target.here().python
    write_project(cli.folder / "project")
    cli.ok("env", "env", "-p", "./project", "--python", python)
    folder = cli.folder / "env"
    pkgs = f"import {stub_nixpkgs} {{ }}"
    built = nix_env.run(
        "nix-build", "--no-out-link", "-E", f"import {folder} {{ pkgs = {pkgs}; }}"
    ).stdout.strip()
    assert (Path(built) / "lib" / f"python{python}" / "site-packages" / "mine.py").exists()
    lock = folder / "pylock.toml"
    there = 'directory = { path = "../project"'
    assert there in lock.read_text()
    lock.write_text(lock.read_text().replace(there, f'{there}, subdirectory = "inner"'))
    found = json.loads(
        nix_env.evaluate(
            f"let p = (import {folder}/plxnix/nixlib).forPkgs ({pkgs}); made = "
            f"p.mkPythonOverrides {{ lock = {lock}; }} {{ buildPythonPackage = one: one; }} {{ }}; "
            'in with made.mine; [ "${src}" sourceRoot pyproject ]'
        )
    )
    assert nar_hash(found[0]) == nar_hash(folder / "plxnix/sources/mine")
    assert found[1:] == [f"{found[0].partition('-')[2]}/inner", True]


def test_copies_follow_the_lock(cli: CommandLine, index: Index, nix_env: NixEnv) -> None:
    """They are renewed and removed with it, and nothing else is; one that was edited is in the way,
    and not for Nix.
    """
    del index
    project = write_project(cli.folder / "project")
    cli.ok("env", "env", "-p", "./project")
    copy = cli.folder / "env/plxnix/sources/mine"
    (project / "mine.py").write_text("VALUE = 2\n")
    assert "the sources of mine" not in cli.ok("env", "env").err
    cli.ok("env", "env", "-p", "./project")
    assert (copy / "mine.py").read_text() == "VALUE = 2\n"
    (copy / "mine.py").write_text("VALUE = 3\n")
    with pytest.raises(NixCommandFailed, match="store path mismatch"):
        nix_env.evaluate(f"(import {cli.folder}/env {{ }}).outPath")
    failed = cli.fails("env", "env")
    assert "has plxnix/sources/mine, which plxnix did not write" in failed
    (project / "mine.py").write_text("VALUE = 4\n")
    assert "the sources of mine" in cli.fails("env", "env", "--force")
    assert (copy / "mine.py").read_text() == "VALUE = 3\n"
    cli.ok("env", "env", "-p", "./project", "--force")
    assert (copy / "mine.py").read_text() == "VALUE = 4\n"
    written = cli.folder / "env/plxnix/written.json"
    ours = json.loads(written.read_text())
    name = "plxnix/sources/../../../project/mine.py"
    written.write_text(json.dumps({**ours, name: Hash.of_file(project / "mine.py").sri}))
    cli.ok("env", "env", "-p", "top")
    assert not copy.exists()
    assert (project / "mine.py").exists()


def test_a_folder_within_its_project_is_refused(cli: CommandLine, index: Index) -> None:
    """A project cannot hold the environment that has its hash: where to put it is told."""
    assert index.url
    write_project(cli.folder)
    failed = cli.fails("env", "./env", "-p", ".")
    assert "mine is the project at '..', which holds the lock's own folder" in failed
    assert "put the folder of the environment elsewhere" in failed
    lock = cli.folder / "env/pylock.toml"
    assert not lock.exists()
    write_project(cli.folder / "project")
    cli.ok("env", "env", "-p", "./project")
    text = lock.read_text()
    (cli.folder / "up").symlink_to(cli.folder)
    for path in ("..", "../up"):
        lock.write_text(text.replace('path = "../project"', f'path = "{path}"'))
        assert f"mine is the project at '{path}', which holds" in cli.fails("env", "env")


@pytest.mark.parametrize("way", ["folder", "export"])
def test_a_commit_of_git_has_one_path(
    cli: CommandLine, index: Index, nix_env: NixEnv, host_python: str, way: str
) -> None:
    """Nix fetches it, for a folder and for an exported stage, and all of it is the source."""
    project = write_project(cli.folder / "project")
    # No other test has this commit in the Nix store; the folder is no source of a local project.
    (project / "mine.egg-info").mkdir()
    (project / "mine.egg-info" / "here").write_text(str(cli.folder))
    (cli.folder / "part").mkdir()
    (cli.folder / "part" / "here").write_text(str(cli.folder))
    modules = {"part": serve_commit(index.server, cli.folder / "part")}
    url, commit = serve_commit(index.server, project, modules)
    said = cli.ok("env", "env", "-p", f"mine @ git+{url}", "--python", host_python).err
    assert "warning" not in said
    assert 'submodules = ["mine"]' in (cli.folder / "env/pylock.toml").read_text()
    place = cli.folder / "elsewhere" / "env"
    shutil.move(cli.folder / "env", place)
    registry = Registry(fsinit(cli.folder / "store"))

    def stage() -> DRef:
        return python_env(place / "pylock.toml", host_python, registry=registry)

    closure = instantiate(stage, registry=registry)
    native = nar_hash(registry.store.path(realize1(closure)))
    graph = ExportGraph(closure)
    if way == "export":
        add_graph(graph)
        (cli.folder / "export.nix").write_text(expression(graph, "made by a test"))
        place = cli.folder / "export.nix"
    built = nix_env.build(place)
    assert nar_hash(built) == native
    assert str(built) == graph.instantiation.path(graph.roots[0].node)
    program = "import mine; print(mine.VALUE)"
    assert nix_env.run(built / "bin/python", "-B", "-c", program).stdout == "1\n"
    (said_of,) = built.glob("lib/*/site-packages/mine-1.0.dist-info/direct_url.json")
    assert json.loads(said_of.read_text()) == {
        "url": url,
        "vcs_info": {"commit_id": commit, "vcs": "git"},
    }


def test_a_commit_of_git_with_a_package_set(
    cli: CommandLine, index: Index, nix_env: NixEnv, stub_nixpkgs: Path
) -> None:
    """Its `fetchgit` has the tree, for either form, and so has a folder in it."""
    python = Target.here().python
    project = write_project(cli.folder / "work" / "project")
    (project / "here").write_text(str(cli.folder))
    shutil.move(project, project.parent / "inner")
    url, _ = serve_commit(index.server, project.parent)
    cli.ok("env", "env", "-p", f"mine @ git+{url}#subdirectory=inner", "--python", python)
    folder = cli.folder / "env"
    pkgs = f"import {stub_nixpkgs} {{ }}"
    built = nix_env.run(
        "nix-build", "--no-out-link", "-E", f"import {folder} {{ pkgs = {pkgs}; }}"
    ).stdout.strip()
    assert (Path(built) / "lib" / f"python{python}" / "site-packages" / "mine.py").exists()
    found = json.loads(
        nix_env.evaluate(
            f"let p = (import {folder}/plxnix/nixlib).forPkgs ({pkgs}); made = "
            f"p.mkPythonOverrides {{ lock = {folder}/pylock.toml; }} "
            "{ buildPythonPackage = one: one; } { }; "
            'in with made.mine; [ "${src}" sourceRoot ]'
        )
    )
    assert nar_hash(found[0]) == nar_hash(project.parent)
    assert found[1] == "source/inner"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"git"', '"hg"'), "mine is at hg 0000"),
        (("0" * 40, "main"), "mine is at git main"),
        (("https:", "file:"), "of file://x.invalid"),
    ],
)
def test_what_is_no_commit_of_git_is_refused(
    cli: CommandLine, index: Index, nix_env: NixEnv, change: tuple[str, str], said: str
) -> None:
    """By Nix as by plxnix: only full commits, and only from servers."""
    del index
    write_project(cli.folder / "project")
    cli.ok("env", "env", "-p", "./project")
    lock = cli.folder / "env/pylock.toml"
    source = f'vcs = {{ type = "git", url = "https://x.invalid", commit-id = "{"0" * 40}" }}'
    local = 'directory = { path = "../project" }'
    assert local in lock.read_text()
    lock.write_text(lock.read_text().replace(local, source.replace(*change)))
    failed = cli.fails("env", "env")
    assert "mine" in failed
    assert ("ask for the folder as it is: -p x.invalid" in failed) == ("file:" in change)
    with pytest.raises(NixCommandFailed, match=said):
        nix_env.evaluate(f"(import {cli.folder}/env {{ }}).outPath")
