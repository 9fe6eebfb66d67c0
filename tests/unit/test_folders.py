"""Folders of one's own: logs, and copies of realizations."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from plxnix.errors import InvalidValue
from plxnix.folders import dirrw, mklogdir
from tests.stage_samples import Lab


def test_log_folders(tmp_path: Path) -> None:
    """Each call makes a folder named by time; a link leads to the latest."""
    root = tmp_path / "logs"
    first = mklogdir("train", root, ["a", "b/c"], timetag="1")
    assert first == root / "train_1"
    assert (first / "b" / "c").is_dir()
    second = mklogdir("train", root, timetag="2")
    assert os.readlink(root / "_train_latest") == second.name
    assert mklogdir("train", root, timetag="2") == second
    assert sorted(os.listdir(root)) == ["_train_latest", "train_1", "train_2"]


def test_log_folders_without_a_tag(tmp_path: Path) -> None:
    """Tag and links can be left out; the time is the present one."""
    folder = mklogdir("", tmp_path / "deep")
    assert folder.parent == tmp_path / "deep"
    assert len(folder.name) == len("200131-12:59:59")
    assert os.readlink(tmp_path / "deep" / "_latest") == folder.name
    mklogdir("x", tmp_path / "other", symlinks=False)
    assert len(os.listdir(tmp_path / "other")) == 1


@pytest.mark.parametrize("tag", ["a/b", "..", "a\0"])
def test_wrong_tags(tmp_path: Path, tag: str) -> None:
    """A tag cannot lead elsewhere."""
    with pytest.raises(InvalidValue, match="file name"):
        mklogdir(tag, tmp_path)


def test_copies_become_writable(tmp_path: Path) -> None:
    """A copy of a realization can be changed; what its links lead to is left alone."""
    lab = Lab(tmp_path / "store")
    rref = lab.realize(lab.stage("one"))
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o400)
    copy = tmp_path / "copy"
    shutil.copytree(lab.store.path(rref), copy)
    assert not copy.stat().st_mode & stat.S_IWUSR
    copy.chmod(0o755)
    (copy / "link").symlink_to(secret)
    (copy / "deep").mkdir()
    (copy / "deep").chmod(0o555)
    copy.chmod(0o555)
    dirrw(copy)
    for path in (copy, copy / "out", copy / "deep"):
        assert path.stat().st_mode & stat.S_IWUSR
    assert stat.S_IMODE(secret.stat().st_mode) == 0o400
