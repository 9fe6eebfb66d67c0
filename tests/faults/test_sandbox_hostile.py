"""Builders that misbehave in the sandbox: contained, reported, and nothing of it published."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef, execute
from plxnix.errors import BuildFailed
from plxnix.realize.run import LOG_LIMIT, Observer
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("bubblewrap")

Run = Callable[..., DRef]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A store and a registry."""
    return Lab(tmp_path / "store")


@pytest.fixture
def run(lab: Lab) -> Run:
    """`execute` in the lab's registry."""
    return functools.partial(execute, registry=lab.registry)


def text(lab: Lab, dref: DRef) -> str:
    """Realize a command that writes a file, in the sandbox, and return the text."""
    rref = lab.realize(dref, sandbox="on")
    return Path(lab.store.path(rref), rref.name).read_text()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "exited with 3"),
        (":", "made nothing at"),
        ("echo > ${out}x", "made nothing at"),
        ('ln -s /etc "$out"', "made a link at"),
        ('mkfifo "$out"', "neither a file nor"),
        ('mkdir "$out"; mkfifo "$out/x"', "'\\$out/x', which is neither a file nor"),
        ('echo > "$out"; chmod u+s "$out"', "exited with 1"),
        ('mkdir "$out"; chmod g+s "$out"', "exited with 1"),
        (
            'mkdir "$out"; perl -e \'sysopen(F, "$ENV{out}/x", 0101, 04755)\'',
            "'\\$out/x', a file with setuid or setgid",
        ),
        ('mknod "$out" c 1 3', "exited with 1"),
        ("sh -c 'kill -9 $$'; exit 137", "exited with 137"),
        ("exec > /dev/null 2>&1; exit 1", "exited with 1"),
    ],
)
def test_refused(lab: Lab, run: Run, script: str, message: str) -> None:
    """What is no output, or one that Nix would not have, fails and leaves nothing behind."""
    dref = run(script)
    with pytest.raises(BuildFailed, match=message):
        lab.realize(dref, sandbox="on")
    assert lab.store.realizations(dref) == []
    assert lab.leftovers() == []


def test_nothing_else_can_be_written(lab: Lab, run: Run, tmp_path: Path) -> None:
    """The machine is read-only, where it is there at all, and so are the inputs."""
    below = run('mkdir "$out"; echo right > "$out/x"')
    tried = (
        *("/usr/x", "/bin/x", "/etc/passwd", "/etc/alternatives/x", tmp_path / "x", Path.home()),
        *("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", below / "x", below / "y", below),
    )
    script = "\n".join(f"(echo wrong >> '{path}') 2> /dev/null && echo {path}" for path in tried)
    assert text(lab, run(f'{{ {script}\n cat {below}/x; }} > "$out"')) == "right\n"


def test_a_closed_folder(lab: Lab, run: Run) -> None:
    """Folders and files that a command has closed are opened again, for their owner."""
    script = 'mkdir -p "$out/a/b"; echo 1 > "$out/a/b/c"; chmod 0 "$out/a/b/c" "$out/a/b" "$out/a"'
    rref = lab.realize(run(script), sandbox="on")
    assert Path(lab.store.path(rref), "a", "b", "c").read_text() == "1\n"
    assert lab.leftovers() == []


def test_what_is_written_beside_the_output(lab: Lab, run: Run) -> None:
    """It is left out, and somebody is told."""
    told: list[str] = []

    class Listening(Observer):
        def said(self, dref: DRef, message: str) -> None:
            told.append(f"{dref.name}: {message}")

    dref = run('echo > "$out"; echo > /nix/store/evil')
    rref = lab.realize(dref, sandbox="on", observer=Listening())
    assert os.listdir(lab.store.path(rref)) == [rref.name]
    assert [message.partition(" in ")[0] for message in told] == ["execute: 'evil'"]
    assert lab.leftovers() == []


def test_background_processes(lab: Lab, run: Run) -> None:
    """They end with the builder, also those of a session of their own that hold its output."""
    begun = time.monotonic()
    script = (
        'setsid sh -c \'sleep 30; echo late > "$out"\' & setsid yes > /dev/null & echo > "$out"'
    )
    assert text(lab, run(script)) == "\n"
    assert time.monotonic() - begun < 10


def test_a_long_log(lab: Lab, run: Run) -> None:
    """Of a log without end the head and the tail are kept."""
    dref = run(f'head -c {3 * LOG_LIMIT} /dev/zero; echo the end; echo > "$out"')
    lab.realize(dref, sandbox="on")
    assert lab.leftovers() == []


def test_no_network(lab: Lab, run: Run) -> None:
    """There is the loopback, of its own, and nothing else."""
    assert text(lab, run("grep -c : /proc/net/dev > $out")) == "1\n"
