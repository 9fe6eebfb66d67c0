"""The commands for locks of Python environments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix.pyenv.lock import EnvironmentLock
from tests.command_line import CommandLine
from tests.wheels import BACKEND, Index, make_sdist, make_wheel


@pytest.fixture
def index(index: Index) -> Index:
    """Serve an index that uv is told to use, with alpha, which needs beta."""
    index.wheel("alpha", "1.0", "beta")
    index.wheel("beta", "1.0")
    return index


@pytest.fixture
def plxnix(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """Give the command line, in a folder of its own with requirements."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "requirements.txt").write_text("alpha\n")
    return CommandLine(folder, capfdbinary)


def make_project(folder: Path) -> Path:
    """Make a project, whose extra `more` needs alpha."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
        '[project]\nname = "lib"\nversion = "1.0"\n'
        '[project.optional-dependencies]\nmore = ["alpha"]\n'
    )
    return folder


def test_lock_update_check_and_diff(index: Index, plxnix: CommandLine) -> None:
    """A lock is written, proven, updated and compared; what is new is shown."""
    said = plxnix.ok("env", "lock", "-r", "requirements.txt", "--python", "3.12").err
    assert "pylock.toml: 2 packages" in said
    path = plxnix.folder / "pylock.toml"
    before = path.read_bytes()
    (plxnix.folder / "pylock.old.toml").write_bytes(before)
    index.wheel("beta", "2.0")
    plxnix.ok("env", "lock", "--check")
    plxnix.ok("env", "lock")
    assert path.read_bytes() == before
    assert plxnix.ok("env", "update", "beta").fields == [["beta", "changed", "1.0", "2.0"]]
    assert EnvironmentLock.read(path).inputs.python == "3.12"
    shown = plxnix.ok("env", "diff", "pylock.old.toml", ".", "--json").json
    assert shown == [{"name": "beta", "kind": "changed", "before": "1.0", "after": "2.0"}]
    assert plxnix.ok("env", "update", "pylock.old.toml").fields == [
        ["beta", "changed", "1.0", "2.0"]
    ]
    assert "no package 'gamma'" in plxnix.fails("env", "update", "gamma")
    (plxnix.folder / "other").mkdir()
    (plxnix.folder / "pylock.old.toml").rename(plxnix.folder / "other/pylock.toml")
    (plxnix.folder / "other/requirements.txt").write_text("alpha\n")
    assert plxnix.ok("env", "update", "beta", "other").fields == []


def test_check_fails_for_a_lock_that_was_edited(index: Index, plxnix: CommandLine) -> None:
    """`--check` writes nothing, and says which packages are not what the inputs give."""
    del index
    plxnix.ok("env", "lock", "-p", "alpha")
    path = plxnix.folder / "pylock.toml"
    edited = path.read_text().replace('requested = ["alpha"]', "requested = []")
    path.write_text(edited)
    assert "not what its inputs give" in plxnix.fails("env", "lock", "--check")
    assert path.read_text() == edited


def test_show_and_tree(index: Index, plxnix: CommandLine) -> None:
    """Packages are listed for a platform, and drawn below those that need them."""
    index.wheel("gamma", "1.0", "alpha", "beta")
    plxnix.ok("env", "lock", "-p", "gamma")
    rows = plxnix.ok("env", "show").fields
    assert [row[:3] + row[4:] for row in rows] == [
        ["alpha", "1.0", "wheel", ""],
        ["beta", "1.0", "wheel", ""],
        ["gamma", "1.0", "wheel", "yes"],
    ]
    shown = plxnix.ok("env", "show", ".", "--platform", "aarch64-linux", "--json").json
    assert shown["platform"] == "aarch64-linux"
    assert shown["packages"][0]["hash"].startswith("sha256-")
    assert plxnix.ok("env", "tree").lines == [
        "gamma 1.0",
        "├── alpha 1.0",
        "│   └── beta 1.0",
        "└── beta 1.0",
    ]
    tree = plxnix.ok("env", "tree", "--json").json
    assert tree == {"alpha": ["beta"], "beta": [], "gamma": ["alpha", "beta"]}


def test_tree_of_files_and_of_a_lock(index: Index, plxnix: CommandLine) -> None:
    """Files that were asked for are in the tree; of a lock, what its platforms have."""
    for name in ("one", "two"):
        make_wheel(plxnix.folder / "files", name, requires=["alpha"])
    (plxnix.folder / "requirements.txt").write_text(
        "./files/one-1.0-py3-none-any.whl\n./files/two-1.0-py3-none-any.whl\n"
        "delta; sys_platform == 'win32'\n"
    )
    index.wheel("delta")
    given = ("-r", "requirements.txt", "--universal")
    plxnix.ok("env", "lock", *given, "-o", "pylock.all.toml")
    plxnix.ok("env", "lock", "-r", "pylock.all.toml")
    for lock, more in (("pylock.all.toml", {"delta"}), ("pylock.toml", set())):
        tree = plxnix.ok("env", "tree", lock, "--json").json
        assert set(tree) == {"alpha", "beta", "one", "two"} | more
        assert tree["alpha"] == ["beta"]


def test_wrong_arguments(index: Index, plxnix: CommandLine) -> None:
    """What cannot be is one clear line: no file, no requirements, no name of a lock, no package."""
    del index
    assert "there is no file 'gone.txt'" in plxnix.fails("env", "lock", "-r", "gone.txt")
    assert "there is no 'pylock.toml' yet" in plxnix.fails("env", "lock")
    assert "cannot be called 'lock.toml'" in plxnix.fails("env", "lock", "-o", "lock.toml")
    assert "nowhere was not found" in plxnix.fails("env", "lock", "-p", "nowhere")
    assert "not a provider" in plxnix.fails("env", "lock", "-p", "alpha", "--provider", "x")
    assert "there is no lock" in plxnix.fails("env", "show")
    assert "no requirements" in plxnix.fails("env", "lock", "--universal", status=2)
    assert "'lock'?" in plxnix.fails("env", "lokc", status=2)
    assert not list(plxnix.folder.glob("*.toml"))


def test_yanked_versions_are_told(index: Index, plxnix: CommandLine) -> None:
    """A version that was withdrawn is taken if it is asked for exactly, and a warning says why."""
    index.add(make_wheel(index.folder, "gamma", "1.0"), yanked="it eats files")
    found = plxnix.ok("env", "lock", "-p", "gamma==1.0")
    assert 'gamma==1.0` is yanked (reason: "it eats files")' in found.err
    assert "yanked" in plxnix.fails("env", "lock", "-p", "gamma", "-o", "pylock.other.toml")


def test_extras_of_projects_in_folders(index: Index, plxnix: CommandLine) -> None:
    """They may follow a path, as seen from here; a warning tells of one that is not there."""
    assert index.url
    project = make_project(plxnix.folder / "lib")
    plxnix.ok("env", "lock", "-o", "../pylock.toml", "-p", "./lib[more]")
    assert [row[0] for row in plxnix.ok("env", "show", "..").fields] == ["alpha", "beta", "lib"]
    os.chdir(project)
    said = plxnix.ok("env", "lock", "-o", "../../pylock.toml", "-p", ".[most]").err
    assert "does not have an extra named `most`" in said
    assert [row[0] for row in plxnix.ok("env", "show", "../..").fields] == ["lib"]


def test_files_of_a_lock_behind_a_link(index: Index, plxnix: CommandLine) -> None:
    """What is beside the folder of a lock is found, also where a link leads to that folder."""
    assert index.url
    make_wheel(plxnix.folder / "links", "mine")
    (plxnix.folder / "deep/env").mkdir(parents=True)
    (plxnix.folder / "env").symlink_to("deep/env")
    plxnix.ok("env", "lock", "-o", "env/pylock.toml", "-p", "./links/mine-1.0-py3-none-any.whl")
    plxnix.ok("env", "check", "env")


def test_wheels_that_do_not_fit_are_told(index: Index, plxnix: CommandLine) -> None:
    """Commands that lock warn of an sdist that stands in for wheels; a provider ends that."""
    index.wheel("delta", tag="cp311-cp311-win_amd64")
    index.add(make_sdist(index.folder, "delta"))
    asked = ("-p", "delta", "--python", "3.11")
    for command in (
        ("env", "lock", *asked),
        ("env", "update", "delta"),
        ("env", "env", *asked),
        ("gen", *asked, "-o", "env.nix"),
    ):
        said = plxnix.ok(*command).err
        assert "delta 1.0 has no wheel for Python 3.11" in said
        assert "cp311-cp311-win_amd64" in said
    assert "no wheel" not in plxnix.ok("env", "lock", *asked, "--provider", "delta=sdist").err
    refused = plxnix.fails("env", "lock", *asked, "--provider", "delta=wheel")
    assert "cp311-cp311-win_amd64" in refused
    assert "add 'sdist' to its providers" in refused


def test_names_after_the_first(index: Index, plxnix: CommandLine) -> None:
    """One `-p` is enough for several packages, as for `plxnix shell`."""
    index.wheel("gamma")
    plxnix.ok("env", "lock", "-p", "beta", "gamma")
    assert [row[0] for row in plxnix.ok("env", "show").fields] == ["beta", "gamma"]
    plxnix.ok("env", "new", "-p", "beta", "gamma")
    assert "plxnix gen -p beta -p gamma" in plxnix.ok("gen", "-p", "beta", "gamma").lines[0]
    assert "what is 'beta'?" in plxnix("env", "new", "beta").err


def test_group_without_a_command(plxnix: CommandLine) -> None:
    """It shows its help, and no error beside it."""
    outcome = plxnix("env")
    assert outcome.status == 2
    assert outcome.err.startswith("Usage: plxnix env")
    assert "error" not in outcome.err


def test_usage_of_a_folder(plxnix: CommandLine) -> None:
    """The usage of `env FOLDER` names the folder once."""
    usage = plxnix.ok("env", "FOLDER", "--help").out.splitlines()[0]
    assert usage == b"Usage: plxnix env FOLDER [OPTIONS] [NAME]..."
