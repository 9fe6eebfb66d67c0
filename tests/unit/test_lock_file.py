"""The file of a lock: what is kept, what is refused, and who wins."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import InvalidValue, LockChanged, PlxnixError, UnknownSource
from plxnix.locking.file import LockFile, merge_sources, parse_json, printed
from plxnix.locking.source import LockedSource
from plxnix.nix.hashes import Hash

ONE = LockedSource("https://example.org/one.csv", Hash.of_bytes(b"one"))
TWO = LockedSource("https://example.org/two.csv", Hash.of_bytes(b"two"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The place of a lock."""
    return tmp_path / "plxnix.lock.json"


def test_a_new_lock(path: Path) -> None:
    """The first source makes the file: sorted, indented, with a line feed at its end."""
    LockFile(path, create=True).save({"one": ONE})
    text = path.read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert json.loads(text) == {"version": 1, "sources": {"one": ONE.value()}}
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent).count(path.name) == 1
    assert not list(path.parent.glob(".plxnix.lock*"))


def test_sources_come_and_go(path: Path) -> None:
    """Sources are added, changed and removed; nothing is written where nothing changes."""
    LockFile(path, create=True).save({"one": ONE, "two": TWO})
    LockFile(path).save({"one": None})
    found = LockFile(path)
    assert list(found.sources) == ["two"]
    assert found["two"].value() == TWO.value()
    before = path.stat()
    found.save({"two": found["two"]})
    found.save({})
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_sections_stay(path: Path) -> None:
    """Whatever else is in the file means the same afterwards."""
    others: dict[str, Any] = {
        "version": 1,
        "derivations": {"a": {"args": ["-c", ["x\n", {"ref": "b"}]], "é": "\u2028"}},
        "zukunft": [1, 2.5, None, True, 10**30, {"": []}],
    }
    path.write_text(json.dumps(others, indent=7))
    path.chmod(0o600)
    LockFile(path).save({"one": ONE})
    found = json.loads(path.read_text())
    assert found.pop("sources") == {"one": ONE.value()}
    assert found == others
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    """What a link leads to is replaced, and not the link."""
    real = tmp_path / "real" / "lock.json"
    real.parent.mkdir()
    real.write_text('{"version": 1}')
    path.symlink_to(real)
    LockFile(path).save({"one": ONE})
    assert path.is_symlink()
    assert "one" in LockFile(real).sources


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no object"),
        (b"{}", "the version None"),
        (b'{"version": true}', "the version True"),
        (b'{"version": 2}', "the version 2"),
        (b'{"version": 1, "version": 1}', "'version' twice"),
        (b'{"version": 1, "x": NaN}', "the number NaN"),
        (b'{"version": 1, "x": 1e999}', "cannot be kept exactly"),
        (b'{"version": 1, "x": 1.00}', "cannot be kept exactly"),
        (b'{"version": 1, "x": "\\ud800"}', "no JSON in UTF-8"),
        (b'{"version": 1, "x": ' + b"[" * 100000 + b"]" * 100000 + b"}", "nested too deeply"),
        (b'{"version": 1, "x": ' + b"9" * 5000 + b"}", ""),
        (b'{"version": 1, "sources": []}', "has to be an object"),
        (b'{"version": 1, "sources": {"../x": {}}}', "not a name"),
        (b'{"version": 1, "sources": {"x": {}}}', "sources.x has no url"),
    ],
)
def test_hostile_files(path: Path, text: bytes, said: str) -> None:
    """What is no lock is refused with a typed error, and stays as it is."""
    path.write_bytes(text)
    try:
        LockFile(path).save({"one": ONE})
    except InvalidValue as error:
        assert said in str(error)  # noqa: PT017  # one of them depends on the Python
        assert path.read_bytes() == text
    else:
        assert said == ""
        assert json.loads(path.read_text().replace("9" * 5000, "9"))["x"] == 9


def test_no_lock(path: Path) -> None:
    """Where there is none, that is said; a folder is none."""
    with pytest.raises(InvalidValue, match="there is no lock at"):
        LockFile(path)
    path.mkdir()
    with pytest.raises(InvalidValue, match="is no file"):
        LockFile(path)


def test_unknown_source(path: Path) -> None:
    """A name that is not there is answered with one that is alike."""
    LockFile(path, create=True).save({"hello": ONE})
    with pytest.raises(UnknownSource) as error:
        LockFile(path)["helo"]
    assert "'hello'" in error.value.hint
    with pytest.raises(KeyError):
        LockFile(path).select(("nobody",))


def test_edits_at_the_same_time(path: Path) -> None:
    """Changes of other sources and sections are kept; one of the same source is not lost."""
    LockFile(path, create=True).save({"one": ONE})
    mine, other = LockFile(path), LockFile(path)
    other.save({"two": TWO})
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "targets": {}}))
    mine.save({"one": None, "three": TWO})
    assert list(LockFile(path).sources) == ["three", "two"]
    assert json.loads(path.read_text())["targets"] == {}
    text = path.read_text()
    with pytest.raises(LockChanged, match="the source two"):
        mine.save({"two": ONE})
    assert path.read_text() == text


def test_many_at_the_same_time(path: Path) -> None:
    """Of sources that are added at once, by threads or processes, none is lost."""
    LockFile(path, create=True).save({"one": ONE})
    names = [f"s{number}" for number in range(16)]
    opened = [LockFile(path) for _ in names]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda lock, name: lock.save({name: TWO}), opened, names))
    assert LockFile(path).sources.keys() == {"one", *names}


def test_an_editor_at_the_last_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program that knows no locks writes while we do is not overwritten."""
    LockFile(path, create=True).save({"one": ONE})
    flush = os.fsync

    def late(descriptor: int) -> None:
        flush(descriptor)
        path.write_text('{"version": 1}')

    monkeypatch.setattr(os, "fsync", late)
    with pytest.raises(LockChanged):
        LockFile(path).save({"two": TWO})
    assert path.read_text() == '{"version": 1}'


def test_nothing_is_left_of_a_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk does not take it, the lock is as it was, and alone."""
    LockFile(path, create=True).save({"one": ONE})
    text = path.read_text()

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    entries = os.listdir(path.parent)
    with pytest.raises(OSError, match="No space left"):
        LockFile(path).save({"two": TWO})
    assert path.read_text() == text
    assert os.listdir(path.parent) == entries


def test_an_export_keeps_the_sources() -> None:
    """A new lock in place of an old one has the old one's sources, and its own rest."""
    old = printed({"version": 1, "sources": {"one": ONE.value()}, "derivations": {"old": {}}})
    new = printed({"version": 1, "derivations": {"new": {"é": "x"}}, "targets": {}})
    merged = merge_sources(old, new)
    assert json.loads(merged) == {**json.loads(new), "sources": {"one": ONE.value()}}
    assert merge_sources(merged, new) == merged
    assert merge_sources(new, new + " ") == new + " "
    for wrong in ("", "{}", '{"version": 1, "sources": [1]}'):
        with pytest.raises(InvalidValue):
            merge_sources(wrong, new)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    """Any file is an object that can be written again, or a typed error."""
    try:
        value = parse_json(data, "file")
    except PlxnixError:
        return
    assert json.loads(printed(value)) == value
