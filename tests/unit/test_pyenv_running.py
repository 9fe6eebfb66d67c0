"""Environments in use: code for shells, programs that run in them, what keeps them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plxnix.errors import InvalidValue
from plxnix.pyenv import running
from plxnix.store.roots import roots
from tests.conftest import missing
from tests.environment_trees import PYTHON, make_tree
from tests.stage_samples import Lab
from tests.waiting import PATIENCE

SHOW = 'echo "$PATH|${VIRTUAL_ENV-none}|${PYTHONHOME-none}|${PYTHONPYCACHEPREFIX-none}"'


def shown(shell: str, code: str, **variables: str) -> list[str]:
    """Run code in a shell and return the lines that it prints."""
    outer = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere", **variables}
    done = subprocess.run(
        [shell, "-c", code], env=outer, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_activation_and_back(shell: str, tmp_path: Path) -> None:
    """The environment's programs are found first until `deactivate`, which leaves no trace."""
    program = shutil.which(shell) or ""
    if not program:
        missing(f"there is no {shell} here")
    tree = str(make_tree(tmp_path / "it's an $env"))
    code = running.activation(tree, shell, "a 'name'")
    inside = 'echo "$VIRTUAL_ENV_PROMPT"; python -c "import sys; print(sys.prefix)"'
    trace = "set | grep -c '^_PLXNIX_O' || true"
    text = f"set -eu\n{code}\n{SHOW}\n{inside}\n{code}\n{SHOW}\ndeactivate\n{SHOW}\n{trace}\n"
    lines = shown(program, text, PYTHONHOME="/old/home")
    bytecode = running.cache_folder() / "bytecode"
    within = f"{tree}/bin:/usr/bin:/bin|{tree}|none|{bytecode}"
    outside = "/usr/bin:/bin|none|/old/home|none"
    assert lines == [within, "a 'name'", tree, within, outside, "0"]


def test_activation_keeps_what_was_set(tmp_path: Path) -> None:
    """A cache of bytecode that the user has chosen stays, and the prompt comes back."""
    code = running.activation(str(tmp_path), "bash")
    text = f'PS1="> "\n{code}\n{SHOW}\necho "$PS1"\ndeactivate\necho "$PS1"\n{SHOW}\n'
    lines = shown("bash", text, PYTHONPYCACHEPREFIX="/mine")
    assert [line.rpartition("|")[2] for line in lines] == ["/mine", "(env) > ", "> ", "/mine"]


def test_fish_quotes(tmp_path: Path) -> None:
    """Code for fish has its own quoting; where there is a fish, it runs."""
    tree = str(make_tree(tmp_path / "it's \\ env"))
    code = running.activation(tree, "fish")
    assert "set -gx VIRTUAL_ENV '" + tree.replace("\\", "\\\\").replace("'", "\\'") + "'" in code
    fish = shutil.which("fish")
    if fish is not None:
        show = "echo $VIRTUAL_ENV; python -c 'import sys; print(sys.prefix)'"
        code = f'{code}\n{show}\ndeactivate\necho x"$VIRTUAL_ENV"'
        assert shown(fish, code) == [tree, tree, "x"]


def test_unknown_shell() -> None:
    """Shells that there is no code for are named."""
    with pytest.raises(InvalidValue, match="no shell is 'tcsh'"):
        running.activation("/env", "tcsh")


def test_variables() -> None:
    """What would mislead the interpreter is taken away; the given variables stay as they are."""
    outer = {"PATH": "/bin", "PYTHONHOME": "/x", "A": "1"}
    inner = running.variables("/env", outer)
    assert inner["PATH"] == "/env/bin:/bin"
    assert (inner["VIRTUAL_ENV"], inner["A"], "PYTHONHOME" in inner) == ("/env", "1", False)
    assert outer == {"PATH": "/bin", "PYTHONHOME": "/x", "A": "1"}
    kept = running.variables("/env", {"PYTHONPYCACHEPREFIX": "/mine"})
    assert kept["PYTHONPYCACHEPREFIX"] == "/mine"


def test_exit_statuses(tmp_path: Path) -> None:
    """The status is that of the command, or 128 and the signal that ended it."""
    tree = make_tree(tmp_path / "env")
    inner = running.variables(str(tree), os.environ)
    assert running.run(["python", "-c", "raise SystemExit(7)"], inner) == 7
    assert running.run(["python", "-c", "import os; os.kill(os.getpid(), 9)"], inner) == 137
    with pytest.raises(InvalidValue, match="there is no program 'jupyter'"):
        running.run(["jupyter"], inner)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    """Who ends the process ends its command; the status tells by which signal."""
    code = (
        "import os, sys\nfrom plxnix.pyenv import running\n"
        f"sys.exit(running.run([{PYTHON!r}, '-c', 'import time; print(1, flush=True); "
        "time.sleep(900)'], dict(os.environ)))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number


def test_activated_environments_are_kept(tmp_path: Path) -> None:
    """The last one of each lock is a root, until the lock is gone."""
    lab = Lab(tmp_path / "store")
    one, two = (lab.realize(lab.stage(name)) for name in ("one", "two"))
    locks = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for path in locks:
        path.touch()
        running.keep_latest(lab.store, one, str(path))
    assert [root.rref for root in roots(lab.store)] == [one, one]
    running.keep_latest(lab.store, two, str(locks[0]))
    assert sorted(root.rref for root in roots(lab.store)) == sorted([one, two])
    locks[1].unlink()
    running.keep_latest(lab.store, two, str(locks[0]))
    assert [root.rref for root in roots(lab.store)] == [two]


def test_interpreters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python of that version is found in the toolchain, as this one, or in PATH."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert running.find_interpreter(f"{here}.1") in (here, PYTHON)
    other = tmp_path / "python3.99"
    other.symlink_to(PYTHON)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert running.find_interpreter("3.99") == PYTHON
    with pytest.raises(InvalidValue, match=r"no Python 3\.98"):
        running.find_interpreter("3.98")


def test_interpreter_of_a_pyenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program of pyenv that does not run stands for the newest Python that pyenv has."""
    for version, text in (("3.98.9", "exit 1"), ("3.98.10", f'exec {PYTHON} "$@"')):
        program = tmp_path / "versions" / version / "bin" / "python3.98"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    shim = tmp_path / "shims" / "python3.98"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'the version is not set' >&2; exit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    assert running.find_interpreter("3.98") == str(program)
