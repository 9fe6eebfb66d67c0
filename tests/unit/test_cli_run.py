"""`run`, `shell -p` and `env activate|check|docker`, with packages of an index on loopback."""

from __future__ import annotations

import json
import subprocess
import tarfile

import pytest

from tests.command_line import CommandLine
from tests.environment_trees import SITE, install, make_tree
from tests.wheels import Index, make_wheel

ALPHA = "import alpha, sys; print(alpha.VERSION, sys.argv[1:])"


@pytest.fixture
def index(index: Index) -> Index:
    """Serve an index that has `alpha`, which needs `beta`."""
    index.wheel("alpha", "1.0", "beta")
    index.wheel("beta", "2.0")
    return index


@pytest.fixture
def plxnix(plxnix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, in an empty folder, for a user of /bin/sh."""
    monkeypatch.setenv("SHELL", "/bin/sh")
    return plxnix


def test_shell_with_packages(
    plxnix: CommandLine, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages are resolved once; the second time needs no index, and `--refresh` asks again."""
    command = ("shell", "-p", "alpha", "beta", "--", "python", "-c", ALPHA, "-x", "--", "y")
    assert plxnix.ok(*command).lines == ["1.0 ['-x', '--', 'y']"]
    index.wheel("alpha", "1.5", "beta")
    before = len(index.server.requests)
    assert plxnix.ok(*command).lines == ["1.0 ['-x', '--', 'y']"]
    assert len(index.server.requests) == before
    assert plxnix.ok(command[0], "--refresh", *command[1:]).lines == ["1.5 ['-x', '--', 'y']"]
    monkeypatch.setenv("SHELL", "/bin/false")
    assert plxnix("shell", "-p", "alpha", "beta").status == 1


def test_environment_without_packages(plxnix: CommandLine, index: Index) -> None:
    """It is sound, and it runs: requirements may be for other platforms."""
    del index
    (plxnix.folder / "requirements.txt").write_text("alpha; sys_platform == 'win32'\n")
    plxnix.ok("env", "lock", "-r", "requirements.txt")
    assert "0 packages, 0 modules imported; sound" in plxnix.ok("env", "check").err
    assert plxnix.ok("run", "--env", ".", "--", "python", "-c", "print(1)").lines == ["1"]


def test_statuses_are_those_of_commands(plxnix: CommandLine, index: Index) -> None:
    """Whatever the command says is said, and nothing is added."""
    del index
    command = ("run", "-p", "alpha", "--", "python", "-c")
    plxnix.ok(*command, "")
    found = plxnix(*command, "import sys; print(1); sys.exit(9)")
    assert (found.status, found.out, found.err) == (9, b"1\n", "")


def test_run_in_a_folder(plxnix: CommandLine, index: Index) -> None:
    """A folder, its lock and the folder here are one environment; it stays as it is."""
    del index
    plxnix.ok("env", "lock", "-p", "alpha", "-o", "pylock.toml")
    program = ("python", "-B", "-c", ALPHA)
    for where in ((), ("--env", "."), ("--env", "pylock.toml"), ("--env", plxnix.folder)):
        assert plxnix.ok("run", *where, "--", *program).lines == ["1.0 []"]
        assert plxnix.ok("run", *where, *program).lines == ["1.0 []"]
    assert plxnix.ok("roots").lines == []
    assert not list(plxnix.store.rglob("*.pyc"))


def test_run_in_a_stage(plxnix: CommandLine, index: Index) -> None:
    """A stage that is an environment can be run in; another is refused."""
    del index
    plxnix.ok("env", "lock", "-p", "alpha")
    plxnix.file(
        "import sys, os\n"
        "from plxnix import autostage, python_env, selfref\n"
        "def environment(): return python_env('pylock.toml', os.path.realpath(sys.executable))\n"
        "@autostage(out=[selfref, 'x'])\n"
        "def other(out): out.write_text('')\n"
    )
    target = "stages.py:environment"
    assert plxnix.ok("run", "--env", target, "python", "-c", ALPHA).lines == ["1.0 []"]
    assert "is no Python environment" in plxnix.fails("run", "--env", "stages.py:other", "python")


def test_activate(plxnix: CommandLine, index: Index) -> None:
    """The code that is printed makes the environment's Python the first; gc leaves it."""
    del index
    plxnix.ok("env", "lock", "-p", "alpha")
    code = plxnix.ok("env", "activate").out.decode()
    plxnix.ok("gc")
    program = f"{code}\npython -c '{ALPHA}'; deactivate"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1.0 []\n", "")
    (root,) = plxnix.ok("roots").fields
    assert root[0] == "python-env"
    assert b"set -gx PATH" in plxnix.ok("env", "activate", ".", "--shell", "fish").out


def test_check_says_what_is_wrong(plxnix: CommandLine, index: Index) -> None:
    """A sound environment passes; problems are a table, and the status is 1."""
    plxnix.ok("env", "lock", "-p", "alpha")
    assert "2 packages, 2 modules imported; sound" in plxnix.ok("env", "check").err
    bad = make_wheel(index.folder, "gamma", files={"gamma.py": "import alpha, nothing\n"})
    index.add(bad)
    plxnix.ok("env", "lock", "-p", "gamma")
    found = plxnix("env", "check")
    assert found.status == 1
    assert found.fields == [
        ["error", "gamma", "import gamma: ModuleNotFoundError: No module named 'alpha'"]
    ]
    found = plxnix("env", "check", "--json")
    assert (found.status, found.json["sound"]) == (1, False)
    assert found.json["modules"][0]["status"] == "failed"
    assert plxnix("env", "check", "--no-import").status == 0


def test_check_warns(plxnix: CommandLine) -> None:
    """What may not matter fails with `--strict` only."""
    tree = make_tree(plxnix.folder / "tree")
    install(tree, "alpha", {"alpha.py": ""})
    (tree / SITE / "stray.txt").write_text("")
    found = plxnix.ok("env", "check", "tree")
    assert found.fields[0][:2] == ["warning", "-"]
    assert plxnix("env", "check", "tree", "--strict").fields[0][0] == "error"
    assert plxnix("env", "check", "tree", "--strict").status == 1


def test_docker(plxnix: CommandLine, index: Index) -> None:
    """An image of a lock is written and described; the same lock gives the same digest."""
    del index
    plxnix.ok("env", "lock", "-p", "alpha")
    command = ("env", "docker", "--name", "group/alpha:1", "--label", "a=b", "-o")
    (digest,) = plxnix.ok(*command, "image.tar").lines
    described = plxnix.ok(*command, "again.tar", "--json").json
    assert described == {
        "name": "group/alpha:1",
        "digest": digest,
        "size": (plxnix.folder / "image.tar").stat().st_size,
        "path": "again.tar",
    }
    with tarfile.open(plxnix.folder / "image.tar") as archive:
        file = archive.extractfile("index.json")
        assert file is not None
        assert json.load(file)["manifests"][0]["digest"] == digest


def test_bad_wishes(plxnix: CommandLine) -> None:
    """What cannot be is said in one line."""
    assert "no Python environment" in plxnix.fails("run", "--", "python")
    assert "exclude each other" in plxnix.fails("run", "--env", ".", "-p", "x", "y", status=2)
    assert "Missing argument" in plxnix.fails("run", status=2)
    assert "name one realization, or packages" in plxnix.fails("shell", status=2)
    assert "is not LABEL=VALUE" in plxnix.fails(
        "env", "docker", "-o", "x", "--label", "y", status=2
    )
    (plxnix.folder / "pylock.toml").write_text("lock-version = ")
    assert "pylock.toml" in plxnix.fails("run", "python")


def test_what_is_no_environment(plxnix: CommandLine) -> None:
    """What names nothing is told with how to make one; a target that fails is told as elsewhere."""
    for command in (("run", "--env", "absent", "--", "true"), ("env", "check", "absent")):
        found = plxnix(*command)
        assert found.status == 1
        assert found.err.splitlines() == [
            "plxnix: error: there is no environment 'absent': "
            "there is no file and no module 'absent'",
            "  hint: make it: plxnix env FOLDER -r requirements.txt",
        ]
    assert "no environment" not in plxnix("env", "check", "absent:stage").err
