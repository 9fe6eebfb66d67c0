"""`unpack`: archives of other stages as stages."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    DRef,
    RRef,
    current_registry,
    execute,
    fetchlocal,
    fetchurl,
    instantiate,
    match_latest,
    mkfile,
    mknode,
    realize1,
    unpack,
)
from plxnix.errors import ArchiveError, HostileArchive, InvalidRefpath, InvalidValue, PromiseMissing
from plxnix.model import selfref
from plxnix.nix.hashes import Hash
from tests.archive_trees import Tree, file, folder, snapshot, symlink, tar_bytes
from tests.stage_samples import Lab

Unpack = Callable[..., DRef]

ENTRIES = (folder("top"), file("top/a", b"1"), file("top/b", b"2", 0o755), symlink("top/l", "a"))
TREE = {
    b"top": ("folder", False, b""),
    b"top/a": ("file", False, b"1"),
    b"top/b": ("file", True, b"2"),
    b"top/l": ("symlink", False, b"a"),
}


@pytest.fixture
def unpacked(lab: Lab) -> Unpack:
    """`unpack` in the lab's registry."""
    return functools.partial(unpack, registry=lab.registry)


def tree(lab: Lab, rref: RRef) -> Tree:
    """Return what a realization holds."""
    return snapshot(Path(lab.store.path(rref)))


def archive(lab: Lab, name: str, data: bytes) -> DRef:
    """Register an archive as a stage that is one file."""
    return mkfile(name, data, registry=lab.registry)


def compressed(data: bytes, kind: str) -> bytes:
    """Compress by the name of a module."""
    module = __import__(kind)
    result: bytes = module.compress(data)
    return result


class TestFormats:
    """Tar with its compressions, and zip."""

    @pytest.mark.parametrize("kind", ["", "gzip", "bz2", "lzma"])
    def test_tar(self, lab: Lab, unpacked: Unpack, kind: str) -> None:
        """Whatever it is called, the contents say how it is compressed."""
        data = tar_bytes(*ENTRIES)
        stage = archive(lab, "archive", compressed(data, kind) if kind else data)
        assert tree(lab, lab.realize(unpacked(stage))) == TREE
        assert lab.leftovers() == []

    def test_zip(self, lab: Lab, unpacked: Unpack) -> None:
        """A zip file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as writer:
            writer.writestr("top/a", "1")
        stage = archive(lab, "archive.zip", buffer.getvalue())
        assert tree(lab, lab.realize(unpacked(stage))) == {
            b"top": ("folder", False, b""),
            b"top/a": ("file", False, b"1"),
        }


class TestSources:
    """The archive is a file of another stage."""

    def test_a_refpath(self, lab: Lab, unpacked: Unpack) -> None:
        """One file of several, in a folder."""
        data = tar_bytes(*ENTRIES)
        node = mknode({}, {"dir/x.tar": data, "y.tar": b""}, registry=lab.registry)
        expected = unpacked(node / "dir" / "x.tar")
        assert tree(lab, lab.realize(expected)) == TREE
        for given in ([node, "dir", "x.tar"], [node, "dir/x.tar"]):
            assert tree(lab, lab.realize(unpacked(given))) == TREE
        assert unpacked(refpath=node / "dir" / "x.tar") == expected

    def test_a_stage_of_one_promise(self, lab: Lab, unpacked: Unpack) -> None:
        """A stage that promises one file stands for it."""
        stage = archive(lab, "x.tar", tar_bytes(*ENTRIES))
        assert unpacked(stage) == unpacked(stage / "x.tar")

    def test_a_fetch(self, lab: Lab, unpacked: Unpack, tmp_path: Path) -> None:
        """As a fetch does."""
        place = tmp_path / "x.tar"
        place.write_bytes(tar_bytes(*ENTRIES))
        digest = Hash.of_file(place).hex
        stage = fetchlocal(digest, place, mode="", registry=lab.registry)
        rref = lab.realize(unpacked(stage))
        assert tree(lab, rref) == TREE
        assert lab.store.record(rref).context == {stage: tuple(lab.store.realizations(stage))}

    def test_what_is_no_file(self, lab: Lab, unpacked: Unpack) -> None:
        """What names no file of a stage is refused when it is registered."""
        none = lab.stage("none")
        two = mknode(
            {"a": [selfref, "a"], "b": [selfref, "b"]},
            {"a": "1", "b": "2"},
            registry=lab.registry,
        )
        for given in (none, two, [two], None, "x.tar", 3, [selfref, "a"], {"a": 1}):
            with pytest.raises(InvalidRefpath, match="which file is meant"):
                unpacked(given)
        fetched = fetchurl("http://localhost/x.tar.gz", sha256="0" * 64, registry=lab.registry)
        with pytest.raises(InvalidRefpath, match="unpacks what it fetches"):
            unpacked(fetched)
        with pytest.raises(InvalidRefpath):
            unpacked([two, ".."])

    def test_a_missing_file(self, lab: Lab, unpacked: Unpack) -> None:
        """A file that the stage does not have is named."""
        stage = archive(lab, "x.tar", b"")
        with pytest.raises(ArchiveError, match=r"other\.tar"):
            lab.realize(unpacked(stage / "other.tar"))

    def test_several_selected(self, lab: Lab, unpacked: Unpack) -> None:
        """Of which realization, is not clear if several are selected."""
        many = lab.stage("many", content=["1", "2"], matcher=match_latest(2))
        with pytest.raises(InvalidValue):
            lab.realize(unpacked(many / "out"))


class TestOptions:
    """Name, strip, further fields."""

    def test_strip(self, lab: Lab, unpacked: Unpack) -> None:
        """Leading folders are dropped."""
        stage = archive(lab, "x.tar", tar_bytes(*ENTRIES))
        assert tree(lab, lab.realize(unpacked(stage, strip=1))) == {
            name.removeprefix(b"top/"): entry for name, entry in TREE.items() if name != b"top"
        }
        assert tree(lab, lab.realize(unpacked(stage, strip=2))) == {}
        assert unpacked(stage) == unpacked(stage, strip=0) != unpacked(stage, strip=1)

    def test_no_strip_for_zip(self, lab: Lab, unpacked: Unpack) -> None:
        """Unzip cannot do that, so it is refused here too."""
        stage = archive(lab, "x.zip", b"PK\5\6" + bytes(18))
        with pytest.raises(InvalidValue, match="cannot strip"):
            lab.realize(unpacked(stage, strip=1))

    def test_names(self, lab: Lab, unpacked: Unpack) -> None:
        """The stage has the name that it was given, as far as Nix takes it."""
        stage = archive(lab, "x.tar", tar_bytes(*ENTRIES))
        assert unpacked(stage).name == "unpack"
        assert unpacked(stage, name="the sources").name == "the-sources"

    def test_promises(self, lab: Lab, unpacked: Unpack) -> None:
        """Further fields may promise what is in the archive; that is checked."""
        stage = archive(lab, "x.tar", tar_bytes(*ENTRIES))
        dref = unpacked(stage, data=[selfref, "top", "a"])
        use = execute('cp "$data" "$out"', data=dref / "top" / "a", registry=lab.registry)
        assert Path(lab.store.path(lab.realize(use)), "execute").read_text() == "1"
        with pytest.raises(PromiseMissing):
            lab.realize(unpacked(stage, data=[selfref, "top", "c"]))


class TestRefusing:
    """From a bad archive nothing is published."""

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (tar_bytes(file("a"), file("../evil")), HostileArchive),
            (tar_bytes(symlink("l", "/tmp"), file("l/x")), HostileArchive),
            (tar_bytes(*ENTRIES)[:1000], ArchiveError),
            (compressed(tar_bytes(*ENTRIES), "gzip")[:-9], ArchiveError),
            (b"text", ArchiveError),
            (b"", ArchiveError),
        ],
    )
    def test_nothing_published(
        self, lab: Lab, unpacked: Unpack, data: bytes, error: Any, tmp_path: Path
    ) -> None:
        """Hostile and damaged ones fail as such, and leave nothing."""
        dref = unpacked(archive(lab, "x.tar.gz", data))
        with pytest.raises(error):
            lab.realize(dref)
        assert lab.store.realizations(dref) == []
        assert lab.leftovers() == []
        assert not list(tmp_path.rglob("evil"))


def test_declared_not_deterministic(lab: Lab, tmp_path: Path) -> None:
    """A recipe that was declared not deterministic is realized all the same, to be a pin."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with current_registry(lab.registry):
        source = fetchlocal(sha256=digest, path=archive, mode="")
        dref = unpack(source, deterministic=False)
        rref = realize1(instantiate(dref))
    assert Path(lab.store.path(rref), "empty").exists()
