"""`plxnix` commands that carry realizations elsewhere: copy, pack, unpack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix import Store
from plxnix.store.verify import verify
from tests.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("reported")


def names(place: str) -> list[str]:
    """Return what is realized in a store, which has to be without damage."""
    store = Store(place)
    assert list(verify(store)) == []
    return sorted(dref.name for dref in store.derivations() for _ in store.realizations(dref))


def test_pack_and_unpack(plxnix: CommandLine) -> None:
    """What was packed in one store is in another, and kept there by a link."""
    done = plxnix.ok("pack", "report", "-o", "report.tar.xz")
    assert done.out == b""
    assert "packed 3 realizations into report.tar.xz" in done.err
    got = plxnix.ok("init", "other")
    got = plxnix.ok("unpack", "report.tar.xz", "-l", "arrived", "--store", "other")
    assert got.lines == [row[0] for row in plxnix.ok("ls", "report").fields]
    assert "unpacked 3 realizations into" in got.err
    assert names("other") == ["numbers", "report", "runs"]
    assert Path("arrived/report.txt").read_text() == "best: 2"
    assert plxnix.ok("gc", "--store", "other").out == b""
    told = plxnix.ok("unpack", "report.tar.xz", "--json", "--store", "other").json
    assert told["paths"] == [os.path.realpath("arrived")]


def test_pack_says_what_is_in_it(plxnix: CommandLine) -> None:
    """JSON has all references; several are packed into one file."""
    told = plxnix.ok("pack", "runs", "numbers", "--latest", "-o", "some.zip", "--json").json
    assert len(told["rrefs"]) == 2
    assert len(told["packed"]) == 2
    assert told["size"] == Path("some.zip").stat().st_size


def test_pack_and_unpack_errors(plxnix: CommandLine) -> None:
    """Wrong names, doubts and strange files are one clear error each."""
    assert "may mean 3 realizations" in plxnix.fails("pack", "runs", "-o", "x.tar")
    assert "tar.zst" in plxnix.fails("pack", "report", "-o", "x.rar")
    assert "--output" in plxnix.fails("pack", "report", status=2)
    assert "cannot write" in plxnix.fails("pack", "report", "-o", "no/x.tar")
    assert "cannot be read" in plxnix.fails("unpack", "missing.tar")
    assert "damaged or not an archive" in plxnix.fails("unpack", "stages.py")


def test_copy_there_and_back(plxnix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is made where none is; a second copy finds all; --from is the other way."""
    first = plxnix.ok("copy", "report", "--to", "backup", "-l", "kept")
    assert "copied 3 realizations" in first.err
    assert "0 were there" in first.err
    assert names("backup") == ["numbers", "report", "runs"]
    again = plxnix.ok("copy", "report", "--to", "backup", "--json").json
    assert (again["copied"], again["rrefs"]) == ([], first.lines)
    monkeypatch.setenv("PLXNIX_ROOT", str(plxnix.folder / "fresh"))
    assert plxnix.ok("copy", "runs", "numbers", "--from", "backup").lines
    assert names("fresh") == ["numbers", "runs"]
    assert plxnix.ok("gc", "--store", "backup").out == b""


def test_copy_errors(plxnix: CommandLine) -> None:
    """Neither and both directions are wrong usage; a folder of others is left alone."""
    assert "--to" in plxnix.fails("copy", "report", status=2)
    assert "--to" in plxnix.fails("copy", "report", "--to", "a", "--from", "b", status=2)
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("x")
    assert "no store" in plxnix.fails("copy", "report", "--to", "mine")
    assert "no folder" in plxnix.fails("copy", "report", "--to", "stages.py")
    assert "no store" in plxnix.fails("copy", "report", "--from", "mine")
    assert os.listdir("mine") == ["thesis.txt"]


def test_links_are_looked_at_before_any_work(plxnix: CommandLine) -> None:
    """Where the link cannot be, nothing is copied, and the archive is not even opened."""
    for command in (("copy", "report", "--to", "new"), ("unpack", "missing.tar")):
        assert "no symbolic link" in plxnix.fails(*command, "--out-link", "stages.py")
    assert not Path("new").exists()
