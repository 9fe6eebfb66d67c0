"""Running programs: what goes in and comes out, errors, and that nothing hangs. Needs no Nix."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from plxnix.errors import InvalidValue, NixFormatError, ToolFailed, ToolMissing
from plxnix.nix import tools
from tests.waiting import PATIENCE, is_gone


def program(folder: Path, name: str, script: str) -> None:
    """Write a shell script that is called like a program."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the program and says how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not tools.available()
    with pytest.raises(ToolMissing, match="nix-store") as caught:
        tools.version()
    assert "install Nix" in caught.value.hint
    with pytest.raises(ToolMissing) as caught:
        tools.find("bwrap")
    assert "bubblewrap" in caught.value.hint
    for name in ("nix-store", "nix-build", "nix-instantiate"):
        assert not tools.available()
        program(tmp_path, name, "")
    assert tools.available()


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("nix-store (Nix) 2.8.0", (2, 8, 0)),
        ("nix-store (Nix) 2.34.8", (2, 34, 8)),
        ("nix-store (Nix) 2.19.0pre20230101_abcdef", (2, 19, 0)),
        ("nix-store (Lix, like Nix) 2.91.1", (2, 91, 1)),
    ],
)
def test_versions(
    printed: str, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Releases, previews and forks."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, "nix-store", f"echo '{printed}'")
    assert tools.version() == version


@pytest.mark.parametrize("printed", ["", "hello"])
def test_no_version(printed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Something else of that name is told apart from Nix."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, "nix-store", f"echo '{printed}'")
    with pytest.raises(NixFormatError, match="no version"):
        tools.version()


def test_output_is_text_or_bytes() -> None:
    """Bytes that are not UTF-8 survive in text."""
    assert tools.run("printf", "a\\377") == "a\udcff"
    assert tools.run("printf", "a\\377") == "a\udcff"


def test_the_environment_is_added_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given variables come to those that are there."""
    monkeypatch.setenv("PLXNIX_TEST_A", "1")
    script = 'echo "$PLXNIX_TEST_A$PLXNIX_TEST_B"'
    assert tools.run("sh", "-c", script, env={"PLXNIX_TEST_B": "2"}) == "12\n"


def test_input_of_each_kind() -> None:
    """Bytes, a stream, and pieces; without it the program reads nothing."""
    large = b"0123456789abcdef" * 100_000
    assert tools.run("cat", input=large) == large.decode()
    assert tools.run("cat", input=io.BytesIO(large)) == large.decode()
    assert tools.run("cat", input=(large[at : at + 1000] for at in range(0, 10_000, 1000)))
    assert tools.run("cat") == tools.run("cat", input=b"") == ""


def test_input_that_is_not_wanted() -> None:
    """A program that ends before it has read all is judged by its status alone."""
    endless = iter(lambda: b"x" * 65536, b"")
    assert tools.run("sh", "-c", "echo done", input=endless) == "done\n"


def test_input_that_fails() -> None:
    """If the source of the input fails, so does the call, and the program is stopped."""

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        tools.run("sh", "-c", "cat > /dev/null; sleep 60", input=broken())


def test_failures_show_the_last_lines() -> None:
    """The message has the command, the status and the end of stderr; the error has all of it."""
    with pytest.raises(ToolFailed) as caught:
        tools.run("sh", "-c", "seq 100 >&2; echo out; exit 3")
    error = caught.value
    assert error.status == 3
    assert error.stderr.split() == [str(number) for number in range(1, 101)]
    lines = error.message.splitlines()
    assert "failed (3)" in lines[0]
    assert [line.strip() for line in lines[1:]] == [str(n) for n in range(89, 101)]
    with pytest.raises(ToolFailed, match="said nothing"):
        tools.run("false")


def test_long_commands_are_cut() -> None:
    """A message does not hold thousands of paths."""
    with pytest.raises(ToolFailed) as caught:
        tools.run("false", *["x" * 50] * 1000)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("script", ["sleep 900", "trap '' TERM; while :; do sleep 0.1; done"])
def test_nothing_hangs(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its timeout a program is stopped, and killed if it does not heed that."""
    monkeypatch.setattr(tools, "GRACE", 0.3)
    start = monotonic()
    with pytest.raises(ToolFailed, match=r"stopped after 0\.2 seconds") as caught:
        tools.run("sh", "-c", f"exec 1>&- 2>&-; {script}", timeout=0.2)
    assert caught.value.status == 124
    assert monotonic() - start < PATIENCE


def test_a_program_that_does_not_read_does_not_hang() -> None:
    """The timeout also counts while the program is fed."""
    with pytest.raises(ToolFailed, match="stopped"):
        tools.run("sleep", "60", input=iter(lambda: b"x" * 65536, b""), timeout=0.2)


def test_a_chatty_program_does_not_hang() -> None:
    """What is printed while input is read may be of any size."""
    script = (
        "import sys\nfor line in sys.stdin: print(line * 100); print(line * 100, file=sys.stderr)"
    )
    printed = tools.run(sys.executable, "-c", script, input=b"0123456789\n" * 20_000)
    assert len(printed) == (1100 + 1) * 20_000


def test_an_interrupt_stops_the_program(tmp_path: Path) -> None:
    """Ctrl-C ends the call and what it has started."""
    mark = tmp_path / "pid"

    def interrupted() -> Iterator[bytes]:
        while not mark.exists() or not mark.read_text().endswith("\n"):
            yield b"\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tools.run("sh", "-c", 'echo $$ > "$1"; exec sleep 60', "sh", str(mark), input=interrupted())
    assert is_gone(int(mark.read_text()))


def test_flat_files_only_are_added_flat(tmp_path: Path) -> None:
    """A folder has no flat hash."""
    with pytest.raises(InvalidValue, match="not a file"):
        tools.add_fixed(tmp_path)


def test_another_name_needs_sha256(tmp_path: Path) -> None:
    """Of a tree, under another name, with another algorithm: refused rather than copied."""
    with pytest.raises(InvalidValue, match="sha1"):
        tools.add_fixed(tmp_path, "sha1", recursive=True, name="other")


def test_nothing_to_do_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without paths no program is asked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.valid([]) == set()
    assert tools.build([]) == []
