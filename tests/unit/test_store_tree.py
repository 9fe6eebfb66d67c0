"""Removing trees, however deep, closed, or still written to."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from plxnix.store import tree


def test_deep(tmp_path: Path) -> None:
    """Deeper than paths can be long and files can be open, with links on the way."""
    tmp_path = tmp_path / "here"
    tmp_path.mkdir()
    top = tmp_path / "top"
    top.mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("")
    start = os.getcwd()
    os.chdir(top)
    try:
        for _ in range(300):
            os.mkdir("folder" * 30)
            os.symlink(kept, "link")
            os.chdir("folder" * 30)
        Path("file").write_text("")
    finally:
        os.chdir(start)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Tests before this one have left some open.
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 150, limits[1]))
    try:
        tree.remove(str(top))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert os.listdir(kept) == ["file"]


def test_closed(tmp_path: Path) -> None:
    """Folders that may not be listed or written are opened; what is not there is no error."""
    tmp_path = tmp_path / "here"
    tmp_path.mkdir()
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "c").write_text("")
    for folder in (top / "a" / "b", top / "a", top):
        folder.chmod(0)
    tree.remove(str(top))
    tree.remove(str(top))
    (tmp_path / "link").symlink_to(tmp_path)
    tree.remove(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["", "a/b"])
def test_still_written_to(tmp_path: Path, below: str) -> None:
    """Who writes for a moment longer is waited for."""
    tmp_path = tmp_path / "here"
    tmp_path.mkdir()
    top = tmp_path / "top"
    place = top / below
    place.mkdir(parents=True)
    (place / "begun").write_text("")
    end = time.monotonic() + 0.3

    def write() -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            try:
                (place / str(number)).write_text("")
            except FileNotFoundError:
                return

    thread = threading.Thread(target=write)
    thread.start()
    tree.remove(str(top))
    thread.join()
    assert os.listdir(tmp_path) == []


def test_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that never gets empty is an error in the end."""

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        del dir_fd
        raise OSError(errno.ENOTEMPTY, "never", path)

    (tmp_path / "top").mkdir()
    monkeypatch.setattr(os, "rmdir", refuse)
    begun = time.monotonic()
    with pytest.raises(OSError, match="never"):
        tree.remove(str(tmp_path / "top"))
    assert 0.5 < time.monotonic() - begun < 60
