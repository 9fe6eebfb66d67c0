"""`plxnix` commands that find, compare and link: find, diff, link, roots, shell, gc --links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("reported")


def test_find(plxnix: CommandLine) -> None:
    """Names, ages and fields choose; into a pipe go references alone."""
    everything = plxnix.ok("find").lines
    assert len(everything) == 5
    assert all(line.startswith("rref:") for line in everything)
    assert len(plxnix.ok("find", "r*").lines) == 4
    assert plxnix.ok("find", "--older", "1h").lines == []
    assert len(plxnix.ok("find", "--newer", "1h", "--older", "0s").lines) == 5
    assert len(plxnix.ok("find", "--field", "rate=0.5").lines) == 3
    assert plxnix.ok("find", "-f", "rate=0.5", "-f", "name=numbers").lines == []
    told = plxnix.ok("find", "numbers", "--json").json
    assert told[0]["path"].endswith(told[0]["rref"][5:37])


def test_find_shows_files(plxnix: CommandLine) -> None:
    """`--show` adds the first line of a file of each, as bytes; of those without it, nothing."""
    rows = plxnix.ok("find", "r*", "--show", "score.txt", "-s", "report.txt").fields
    assert all(row[0].startswith("rref:") for row in rows)
    assert sorted(row[1:] for row in rows) == [["", "best: 2"], ["0", ""], ["1", ""], ["2", ""]]
    shown = plxnix.ok("--color", "always", "find", "report", "-s", "report.txt").out.decode()
    assert "best: 2" in shown
    (told,) = plxnix.ok("find", "report", "-s", "report.txt", "-s", "no.txt", "--json").json
    assert told["files"] == {"report.txt": "best: 2", "no.txt": None}
    assert "'..'" in plxnix.fails("find", "report", "--show", "../config.json")
    file = Path(told["path"], "report.txt")
    file.chmod(0o644)
    file.write_bytes(b"caf\xe9\n")
    assert plxnix.ok("find", "report", "-s", "report.txt").out.endswith(b"\tcaf\xe9\n")


def test_find_errors(plxnix: CommandLine) -> None:
    """An age that is none, and a field without a value, are wrong usage."""
    assert "soon" in plxnix.fails("find", "--newer", "soon", status=2)
    assert "FIELD=VALUE" in plxnix.fails("find", "-f", "rate", status=2)


def test_diff(plxnix: CommandLine) -> None:
    """Fields of configs and lines of files are shown, and --exit-code tells by the status."""
    plxnix.ok("realize", "stages.py:numbers", "-a", "count=4")
    old, new = plxnix.ok("find", "numbers").lines
    lines = plxnix.ok("diff", old, new).lines
    assert lines[0] == "count: 3 -> 4"
    assert "numbers.txt has other contents" in lines
    assert any(line.startswith("  +0 1 2 3") for line in lines)
    assert plxnix("diff", old, new, "--exit-code").status == 1
    same = plxnix.ok("diff", "runs", "runs", "--exit-code")
    assert same.out == b""
    assert "no difference" in same.err
    told = plxnix.ok("diff", old, new, "--json").json
    assert told["fields"] == [{"path": "count", "before": 3, "after": 4}]
    assert (told["count"], told["files"][0]["kind"]) == (1, "contents")
    assert "nothing" in plxnix.fails("diff", old, "missing")


def test_link_and_roots(plxnix: CommandLine) -> None:
    """Links are named by stages, keep what they lead to, and are listed."""
    assert "no roots" in plxnix.ok("roots").err
    made = plxnix.ok("link", *plxnix.ok("find", "runs").lines, "report", "results").lines
    assert sorted(os.path.basename(line) for line in made) == ["report", "runs", "runs-2", "runs-3"]
    assert Path("results/report/report.txt").read_text() == "best: 2"
    rows = plxnix.ok("roots").fields
    assert sorted(row[3] for row in rows) == sorted(made)
    assert plxnix.ok("gc").out == b""
    (timed,) = plxnix.ok("link", "report", ".", "--time").lines
    assert timed.endswith("Z_report")
    assert os.path.exists(timed)
    told = plxnix.ok("roots", "--json").json
    assert {one["link"] for one in told} == {*made, timed}
    assert "is a file" in plxnix.fails("link", "report", "stages.py", status=2)


def test_gc_from_links(plxnix: CommandLine) -> None:
    """What links in a folder lead to stays, though they were not made as roots."""
    target = plxnix.ok("path", "numbers").lines[0]
    Path("mine/deep").mkdir(parents=True)
    Path("mine/deep/numbers").symlink_to(target)
    dry = plxnix.ok("gc", "--links", "mine", "--dry-run", "--json").json
    assert len(dry["kept"]) == 1
    plxnix.ok("gc", "--links", "mine")
    assert [row[0] for row in plxnix.ok("ls").fields] == ["numbers"]
    assert "no folder and no link" in plxnix.fails("gc", "--links", "missing")


def test_shell(plxnix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell runs in the folder of the realization, and its status is that of the command."""
    program = Path("sh").absolute()
    program.write_text("#!/bin/sh\npwd\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setenv("SHELL", str(program))
    done = plxnix("shell", "report")
    assert done.status == 7
    assert done.lines == plxnix.ok("path", "report").lines
    assert plxnix("shell", "report/more").lines == [done.lines[0] + "/more"]
    assert "nothing" in plxnix.fails("shell", "missing")
