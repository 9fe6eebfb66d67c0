"""Files that both stores have: one inode where it can be, and each store's own to remove."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from plxnix import Build, DRef, fetch, fetchtree, fetchurl
from plxnix.cli import main
from plxnix.errors import DownloadFailed
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.nix.paths import fixed_path
from plxnix.store import tree
from plxnix.store.gc import collect, plan_gc
from plxnix.store.verify import verify
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv
from tests.nix_fetches import add_to_nix, tree_archive
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("nix_env")

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def near(nix_env: NixEnv, tmp_path: Path) -> Iterator[Lab]:
    """A store on the file system (and the mount) of the Nix store."""
    if not nix_env.private:
        pytest.skip("only a private /nix may hold other folders")
    root = Path("/nix") / f"{tmp_path.name}-{os.urandom(4).hex()}"
    yield Lab(root)
    tree.remove(os.fspath(root))


def fetch_stage(lab: Lab, url: str, data: bytes, name: str | None = None) -> DRef:
    """Register a fetch of a file."""
    digest = hashlib.sha256(data).hexdigest()
    return fetchurl(url, digest, mode="", filename=name, registry=lab.registry)


def state(path: Path) -> tuple[int, int, int]:
    """Return what a store may not change of the other's file: permissions, time, size."""
    found = path.stat()
    return found.st_mode, found.st_mtime_ns, found.st_size


class TestHardLinks:
    """On one file system it is one file."""

    def test_a_file(self, near: Lab, body: bytes, tmp_path: Path, nix_env: NixEnv) -> None:
        """It has Nix's inode, and either name outlives the other."""
        path = add_to_nix(tmp_path, body, "x")
        before = state(path)
        dref = fetch_stage(near, f"{NOWHERE}/x", body)
        rref = near.realize(dref)
        kept = Path(near.store.path(rref), "x")
        assert kept.stat().st_ino == path.stat().st_ino
        assert list(verify(near.store)) == []
        near.store.remove([rref])
        assert (state(path), path.stat().st_nlink) == (before, 1)
        nix_env.run("nix-store", "--verify-path", path)
        again = Path(near.store.path(near.realize(dref)), "x")
        nix_env.collect()
        assert not path.exists()
        assert again.read_bytes() == body
        assert list(verify(near.store)) == []

    def test_collecting_here(self, near: Lab, body: bytes, tmp_path: Path) -> None:
        """Garbage collection here leaves Nix's file as it is."""
        path = add_to_nix(tmp_path, body, "x")
        before = state(path)
        near.realize(fetch_stage(near, f"{NOWHERE}/x", body))
        collect(near.store, plan_gc(near.store, everything=True))
        assert (state(path), path.stat().st_nlink) == (before, 1)

    def test_a_tree(self, near: Lab, body: bytes, tmp_path: Path) -> None:
        """Files of a tree are linked, also programs; folders are its own."""
        source = tmp_path / "tree"
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "data").write_bytes(body)
        (source / "run").write_bytes(b"#!/bin/sh\n" + body)
        (source / "run").chmod(0o755)
        path = Path(tools.add_fixed(source, "sha256", recursive=True, name="source"))
        before = {one: state(one) for one in path.rglob("*")}
        rref = near.realize(
            fetchtree(f"{NOWHERE}/a.tar", nar_hash(source)[0].sri, registry=near.registry)
        )
        kept = Path(near.store.path(rref))
        for name in ("deep/data", "run"):
            assert (kept / name).stat().st_ino == (path / name).stat().st_ino, name
        assert (kept / "deep").stat().st_ino != (path / "deep").stat().st_ino
        near.store.remove([rref])
        assert {one: state(one) for one in path.rglob("*")} == before

    def test_one_that_does_not_fit(self, near: Lab, body: bytes, tmp_path: Path) -> None:
        """A file with another time is copied: ours all have the same."""
        path = add_to_nix(tmp_path, body, "x")
        os.utime(path, (5, 5))
        rref = near.realize(fetch_stage(near, f"{NOWHERE}/x", body))
        assert Path(near.store.path(rref), "x").stat().st_nlink == 1
        assert path.stat().st_mtime == 5

    def test_two_stages(self, near: Lab, body: bytes, tmp_path: Path) -> None:
        """What another stage here has by a link is not linked again, but copied."""
        add_to_nix(tmp_path, body, "x")
        first = near.realize(fetch_stage(near, f"{NOWHERE}/x", body))
        second = near.realize(fetch_stage(near, f"{NOWHERE}/other/y", body))
        inodes = [
            Path(near.store.path(rref), name).stat().st_ino
            for rref, name in ((first, "x"), (second, "y"))
        ]
        assert inodes[0] != inodes[1]
        assert list(verify(near.store)) == []

    def test_links_of_realizers(self, near: Lab, body: bytes, tmp_path: Path) -> None:
        """What a stage has linked itself is copied, also from the Nix store, as ever."""
        path = add_to_nix(tmp_path, body, "x")
        own = near.root / "own"
        own.write_bytes(body)

        def content(build: Build) -> str:
            os.link(path, build.outpaths[0] / "nix")
            os.link(own, build.outpaths[0] / "own")
            return "text"

        kept = Path(near.store.path(near.realize(near.stage("links", content=content))))
        assert [(kept / name).stat().st_nlink for name in ("nix", "own")] == [1, 1]
        assert (path.stat().st_nlink, own.stat().st_nlink) == (1, 1)
        assert own.stat().st_mode & 0o777 == 0o644
        own.unlink()

    def test_frozen_links_only(self, tmp_path: Path) -> None:
        """A link to the twin is kept if nothing has to be changed; else it becomes a copy."""
        twin, made = tmp_path / "twin", tmp_path / "made"
        for folder_ in (twin, made):
            folder_.mkdir()
        for name, mode, time in (("fits", 0o444, 1), ("old", 0o444, 5), ("open", 0o644, 1)):
            (twin / name).write_text(name)
            (twin / name).chmod(mode)
            os.utime(twin / name, (time, time))
            os.link(twin / name, made / name)
        tree.freeze(os.fspath(made), os.fspath(twin))
        linked = {one.name for one in made.iterdir() if one.stat().st_nlink > 1}
        assert linked == {"fits"}
        assert (twin / "old").stat().st_mtime == 5
        assert (twin / "open").stat().st_mode & 0o777 == 0o644


class TestByHash:
    """Contents that are here are not downloaded, whoever has fetched them."""

    def test_another_url_and_name(self, lab: Lab, server: Server, body: bytes) -> None:
        """The second fetch makes no request, in this process or another one."""
        url = server.answer("/data", Answer(body))
        first = lab.realize(fetch_stage(lab, url, body))
        lab.again()
        second = lab.realize(fetch_stage(lab, f"{NOWHERE}/elsewhere", body, "other"))
        assert Path(lab.store.path(second), "other").read_bytes() == body
        assert len(server.requests) == 1
        assert first != second
        assert list(verify(lab.store)) == []

    def test_a_tree(self, lab: Lab, server: Server, body: bytes) -> None:
        """The same for trees, by the hash of the tree."""
        archive, digest = tree_archive(body)
        url = server.answer("/a.tar", Answer(archive))
        lab.realize(fetchtree(url, digest.sri, registry=lab.registry))
        other = fetchtree(f"{NOWHERE}/b.tar", digest.sri, name="b", registry=lab.registry)
        assert lab.store.record(lab.realize(other)).nar_hash == digest.sri
        assert len(server.requests) == 1

    def test_checked(self, lab: Lab, server: Server, body: bytes) -> None:
        """What was changed since is not taken."""
        url = server.answer("/data", Answer(body))
        kept = Path(lab.store.path(lab.realize(fetch_stage(lab, url, body))), "data")
        kept.chmod(0o644)
        kept.write_bytes(body.swapcase())
        kept.chmod(0o444)
        again = server.answer("/again", Answer(body))
        other = lab.realize(fetch_stage(lab, again, body, "other"))
        assert Path(lab.store.path(other), "other").read_bytes() == body
        assert len(server.requests) == 2

    def test_gone(self, lab: Lab, body: bytes, server: Server) -> None:
        """What was removed has to be fetched again; a collection removes the link."""
        url = server.answer("/data", Answer(body))
        rref = lab.realize(fetch_stage(lab, url, body))
        (link,) = Path(lab.store.layout.fixed).iterdir()
        lab.store.remove([rref])
        with pytest.raises(DownloadFailed):
            lab.realize(fetch_stage(lab, f"{NOWHERE}/x", body))
        collect(lab.store, plan_gc(lab.store, everything=True))
        assert not link.is_symlink()

    def test_moved(self, lab: Lab, server: Server, body: bytes, tmp_path: Path) -> None:
        """The links are valid in a store that was moved."""
        lab.realize(fetch_stage(lab, server.answer("/data", Answer(body)), body))
        lab.root.rename(tmp_path / "moved")
        moved = Lab(tmp_path / "moved")
        moved.realize(fetch_stage(moved, f"{NOWHERE}/x", body))
        assert len(server.requests) == 1


class TestAdding:
    """`PLXNIX_NIX_STORE=add` gives downloads to the Nix store too."""

    @pytest.fixture(autouse=True)
    def _add(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLXNIX_NIX_STORE", "add")

    def test_added_and_kept(
        self, nix_env: NixEnv, lab: Lab, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """Nix then builds the fetch without a request, and keeps it while the stage is here."""
        url = server.answer("/data", Answer(body))
        rref = lab.realize(fetch_stage(lab, url, body))
        path = Path(fixed_path("data", Hash.of_bytes(body)))
        if nix_env.private:
            nix_env.collect()
        expression = tmp_path / "fetch.nix"
        expression.write_text(
            f'import <nix/fetchurl.nix> {{ url = "{url}"; '
            f'sha256 = "{hashlib.sha256(body).hexdigest()}"; name = "data"; }}'
        )
        assert nix_env.build(expression) == path
        assert len(server.requests) == 1
        assert main(["--store", os.fspath(lab.root), "rm", "-y", rref]) == 0
        if nix_env.private:
            nix_env.collect()
            assert not path.exists()
        assert lab.leftovers() == []

    def test_a_tree(self, lab: Lab, server: Server, body: bytes) -> None:
        """Trees go there too, under the path of `fetchTarball`."""
        archive, digest = tree_archive(body)
        url = server.answer("/a.tar", Answer(archive))
        lab.realize(fetchtree(url, digest.sri, registry=lab.registry))
        path = fixed_path("source", digest, recursive=True)
        assert tools.valid([path]) == {path}

    def test_refused(
        self, lab: Lab, server: Server, body: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Without Nix the fetch is done all the same."""
        monkeypatch.setenv("PATH", os.fspath(tmp_path))
        rref = lab.realize(fetch_stage(lab, server.answer("/data", Answer(body)), body))
        assert Path(lab.store.path(rref), "data").read_bytes() == body
        assert "root" not in lab.store.record(rref).nix


def test_once_from_either_side(
    nix_env: NixEnv, server: Server, body: bytes, tmp_path: Path
) -> None:
    """`fetch` after Nix, and after `fetch`: one request in all."""
    url = server.answer("/data", Answer(body))
    nix_env.run("nix-prefetch-url", url, variables={"HOME": str(tmp_path)})
    asked = len(server.requests)
    digest = hashlib.sha256(body).hexdigest()
    assert fetch(url, digest).read_bytes() == body
    assert fetch(url, digest).read_bytes() == body
    assert fetch(f"{url}?more", digest, name="more").read_bytes() == body
    assert len(server.requests) == asked
