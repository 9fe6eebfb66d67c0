"""Fetches shared with the Nix store: a second fetch, from either side, asks no server."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from plxnix import Build, RRef, Store, current_storage, fetch, fetchtree, fetchurl
from plxnix.errors import HashMismatch
from plxnix.export.handover import add, add_pin
from plxnix.model import DRef
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.nix.paths import fixed_path
from plxnix.realize.run import Observer
from tests.archive_trees import file, folder, tar_bytes
from tests.command_line import CommandLine
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv
from tests.nix_fetches import add_to_nix, tree_archive
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("nix_env")


class Notes(Observer):
    """An observer that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, dref: DRef, message: str) -> None:
        """Keep it."""
        del dref
        self.lines.append(message)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path) -> Iterator[None]:
    """Let no other test's store be the current one."""
    with current_storage(Store.init(tmp_path / "plxnix")):
        yield


def build_fetch(nix_env: NixEnv, folder: Path, url: str, body: bytes, name: str) -> Path:
    """Let `nix-build` fetch a file with Nix's own fetcher."""
    expression = folder / f"{name}.nix"
    sha256 = hashlib.sha256(body).hexdigest()
    expression.write_text(
        f'import <nix/fetchurl.nix> {{ url = "{url}"; sha256 = "{sha256}"; name = "{name}"; }}'
    )
    return nix_env.build(expression)


def overwrite(path: Path, data: bytes) -> None:
    """Damage a file of the Nix store."""
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


class TestFromNix:
    """What Nix has is not downloaded."""

    def test_a_built_fetch(
        self, nix_env: NixEnv, lab: Lab, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """After `nix-build` of a fetch the native one makes no request, and says what it did."""
        url = server.answer("/data.csv", Answer(body))
        built = build_fetch(nix_env, tmp_path, url, body, "data.csv")
        assert len(server.requests) == 1
        notes = Notes()
        dref = fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry)
        rref = lab.realize(dref, observer=notes)
        kept = Path(lab.store.path(rref), "data.csv")
        assert kept.read_bytes() == body
        assert notes.lines == [f"taken from the Nix store: {built}"]
        assert len(server.requests) == 1
        assert lab.leftovers() == []

    def test_a_copy(self, lab: Lab, body: bytes, tmp_path: Path) -> None:
        """It is a file of its own: neither store's modes reach the other's."""
        path = add_to_nix(tmp_path, body, "x")
        dref = fetchurl("http://127.0.0.1:1/x", hashlib.sha256(body).hexdigest(), r=lab.registry)
        kept = Path(lab.store.path(lab.realize(dref)), "x")
        assert kept.stat().st_ino != path.stat().st_ino
        assert (kept.stat().st_nlink, path.stat().st_nlink) == (1, 1)
        assert kept.stat().st_mode & 0o777 == 0o444

    @pytest.mark.parametrize("algorithm", ["sha1", "sha512"])
    def test_other_hashes(self, lab: Lab, body: bytes, tmp_path: Path, algorithm: str) -> None:
        """Each algorithm has a path of its own, and a name with odd letters its legal form."""
        source = tmp_path / "given"
        source.write_bytes(body)
        tools.add_fixed(source, algorithm, name="a-b")
        digest = hashlib.new(algorithm, body).hexdigest()
        dref = fetchurl("http://127.0.0.1:1/a%20b", registry=lab.registry, **{algorithm: digest})
        assert Path(lab.store.path(lab.realize(dref)), "a b").read_bytes() == body

    def test_an_unpacked_archive(self, lab: Lab, body: bytes, tmp_path: Path) -> None:
        """A stage that unpacks takes the archive from Nix."""
        archive = tar_bytes(file("data", body))
        add_to_nix(tmp_path, archive, "x.tar")
        digest = hashlib.sha256(archive).hexdigest()
        rref = lab.realize(fetchurl("http://127.0.0.1:1/x.tar", digest, registry=lab.registry))
        assert Path(lab.store.path(rref), "data").read_bytes() == body

    def test_a_program_of_nix(
        self, nix_env: NixEnv, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """After `nix-prefetch-url` a script's `fetch` makes no request."""
        url = server.answer("/data", Answer(body))
        nix_env.run("nix-prefetch-url", url, variables={"HOME": str(tmp_path)})
        asked = len(server.requests)
        assert fetch(url, hashlib.sha256(body).hexdigest()).read_bytes() == body
        assert len(server.requests) == asked

    def test_a_tree(self, lab: Lab, nix_env: NixEnv, server: Server, body: bytes) -> None:
        """After `builtins.fetchTarball` a tree is copied: programs, links, and odd names."""
        archive = tar_bytes(
            folder("top"),
            file("top/é x", body),
            file("top/run", b"#!/bin/sh\n", mode=0o755),
            folder("top/empty"),
        )
        url = server.answer("/a.tar", Answer(archive))
        built = nix_env.evaluate(
            f'"${{builtins.fetchTarball "{url}"}}"', "--read-write-mode"
        ).strip('"\n')
        asked = len(server.requests)
        digest = nar_hash(built)[0]
        path = fetch(url, digest.hex, unpack=True)
        assert nar_hash(path)[0] == digest
        assert os.access(path / "run", os.X_OK)
        dref = fetchtree(url, digest.sri, registry=lab.registry)
        assert lab.store.record(lab.realize(dref)).nar_hash == digest.sri
        assert len(server.requests) == asked

    def test_a_tree_with_links(self, lab: Lab, tmp_path: Path, body: bytes) -> None:
        """Links stay links, whatever they point to."""
        source = tmp_path / "tree"
        (source / "deep" / "er").mkdir(parents=True)
        (source / "deep" / "er" / "data").write_bytes(body)
        (source / "link").symlink_to("/no/where")
        (source / "folder").symlink_to("deep")
        digest = nar_hash(source)[0]
        tools.add_fixed(source, "sha256", recursive=True, name="source")
        dref = fetchtree("http://127.0.0.1:1/a.tar", digest.sri, registry=lab.registry)
        kept = Path(lab.store.path(lab.realize(dref)))
        assert nar_hash(kept)[0] == digest
        assert os.readlink(kept / "link") == "/no/where"


class TestNotFromNix:
    """What is not right in the Nix store is downloaded, with a note that says why."""

    def test_wrong_contents(
        self, nix_env: NixEnv, lab: Lab, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """A file that was changed in the Nix store is not taken."""
        path = add_to_nix(tmp_path, body, "data")
        overwrite(path, body.swapcase())
        url = server.answer("/data", Answer(body))
        notes = Notes()
        rref = lab.realize(
            fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry), observer=notes
        )
        assert Path(lab.store.path(rref), "data").read_bytes() == body
        assert len(server.requests) == 1
        (line,) = notes.lines
        assert f"not taken from the Nix store: {path}: it has the hash sha256-" in line
        assert [one.name for one in Path(lab.store.path(rref)).iterdir()] == ["data"]
        assert nix_env.version

    def test_a_tree_with_wrong_contents(self, lab: Lab, server: Server, body: bytes) -> None:
        """The same for a tree; what is left of the copy does not get into the stage."""
        archive, digest = tree_archive(body)
        url = server.answer("/a.tar", Answer(archive))
        right = fetch(url, digest.hex, unpack=True)
        path = Path(tools.add_fixed(right, "sha256", recursive=True, name="source"))
        overwrite(path / "data", body.swapcase())
        notes = Notes()
        rref = lab.realize(fetchtree(url, digest.sri, registry=lab.registry), observer=notes)
        assert nar_hash(lab.store.path(rref))[0] == digest
        assert len(server.requests) == 2
        assert "it has the hash" in notes.lines[0]
        assert lab.leftovers() == []

    def test_wrong_contents_on_both_sides(
        self, lab: Lab, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """Two wrongs make no right."""
        overwrite(add_to_nix(tmp_path, body, "data"), b"one")
        url = server.answer("/data", Answer(b"two"))
        dref = fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry)
        with pytest.raises(HashMismatch):
            lab.realize(dref)
        assert lab.leftovers() == []

    @pytest.mark.parametrize("kind", ["file", "folder", "link"])
    def test_not_in_the_database(
        self, nix_env: NixEnv, lab: Lab, server: Server, body: bytes, tmp_path: Path, kind: str
    ) -> None:
        """What merely lies at the path, even the right file, is not what Nix has."""
        if not nix_env.private:
            pytest.skip("would write into the machine's own store")
        path = Path(fixed_path("data", Hash.of_bytes(body)))
        (tmp_path / "right").write_bytes(body)
        if kind == "file":
            shutil.copyfile(tmp_path / "right", path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "right")
        url = server.answer("/data", Answer(body))
        notes = Notes()
        dref = fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry)
        lab.realize(dref, observer=notes)
        assert len(server.requests) == 1
        assert notes.lines == [
            f"not taken from the Nix store: {path}: it is not valid in Nix's database"
        ]

    def test_a_daemon_that_does_not_answer(
        self, lab: Lab, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That Nix cannot be asked is said once, and not for each fetch."""
        drefs = []
        for name in ("one", "two"):
            body = f"{name} of {tmp_path}".encode()
            assert add_to_nix(tmp_path, body, name).exists()
            url = server.answer(f"/{name}", Answer(body))
            drefs.append(fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry))
        monkeypatch.setenv("NIX_REMOTE", "unix:///no/such/socket")
        notes = Notes()
        lab.realize(drefs, observer=notes)
        assert len(server.requests) == 2
        (line,) = notes.lines
        assert line.startswith("nothing is taken from the Nix store, as it cannot be asked:")
        assert "/no/such/socket" in line

    def test_a_link_in_its_place(
        self, nix_env: NixEnv, lab: Lab, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """A valid path that is now a link to the right file is not followed."""
        path = add_to_nix(tmp_path, body, "data")
        path.unlink()
        path.symlink_to(tmp_path / "given")
        url = server.answer("/data", Answer(body))
        notes = Notes()
        dref = fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry)
        lab.realize(dref, observer=notes)
        assert len(server.requests) == 1
        assert "it cannot be copied" in notes.lines[0]
        assert nix_env.version

    def test_switched_off(
        self, lab: Lab, server: Server, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `PLXNIX_NIX_STORE=off` nobody looks there."""
        monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
        add_to_nix(tmp_path, body, "data")
        url = server.answer("/data", Answer(body))
        lab.realize(fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry))
        assert len(server.requests) == 1

    def test_without_nix(
        self, lab: Lab, server: Server, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without Nix's programs its store says nothing; without the path none is looked for."""
        add_to_nix(tmp_path, body, "data")
        monkeypatch.setenv("PATH", os.fspath(tmp_path))
        url = server.answer("/data", Answer(body))
        more = b"more " + body
        other = server.answer("/other", Answer(more))
        notes = Notes()
        digest = hashlib.sha256(body).hexdigest()
        lab.realize(fetchurl(url, digest, registry=lab.registry), observer=notes)
        assert "nix-store is not installed" in notes.lines[0]
        digest = hashlib.sha256(more).hexdigest()
        lab.realize(fetchurl(other, digest, registry=lab.registry), observer=notes)
        assert len(notes.lines) == 1
        assert len(server.requests) == 2


def test_no_partial_download_is_left(lab: Lab, server: Server, body: bytes, tmp_path: Path) -> None:
    """What had arrived before Nix had it all is removed."""
    url = server.answer("/data", Answer(body, etag='"1"', stop_after=5), Answer(status=404))
    dref = fetchurl(url, hashlib.sha256(body).hexdigest(), registry=lab.registry)
    with pytest.raises(Exception, match="could not be downloaded"):
        lab.realize(dref)
    downloads = Path(lab.store.layout.downloads)
    assert list(downloads.iterdir())
    add_to_nix(tmp_path, body, "data")
    lab.realize(dref)
    assert list(downloads.iterdir()) == []


class TestToNix:
    """`plxnix nix add` puts a fetch where Nix's own fetchers look for it."""

    def test_a_file(
        self, nix_env: NixEnv, plxnix: CommandLine, server: Server, body: bytes, tmp_path: Path
    ) -> None:
        """Fetched here and added, `nix-build` of the same fetch makes no request."""
        url = server.answer("/data.csv", Answer(body))
        path = fetch(url, hashlib.sha256(body).hexdigest())
        (printed,) = plxnix.ok("nix", "add", path.parent.name).lines
        assert printed == fixed_path("data.csv", Hash.of_bytes(body))
        built = build_fetch(nix_env, tmp_path, url, body, "data.csv")
        assert os.fspath(built) == printed
        assert len(server.requests) == 1

    def test_a_tree(self, lab: Lab, nix_env: NixEnv, server: Server, body: bytes) -> None:
        """A fetched tree is found by `fetchTarball` in the same way."""
        archive, digest = tree_archive(body)
        url = server.answer("/a.tar", Answer(archive))
        rref = lab.realize(fetchtree(url, digest.sri, registry=lab.registry))
        handed = add(lab.store, rref)
        called = f'fetchTarball {{ url = "{url}"; sha256 = "{digest.base32}"; }}'
        found = nix_env.evaluate(f'"${{builtins.{called}}}"', "--read-write-mode")
        assert found.strip('"\n') == handed.path
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "fields", [{"mode": "unpack"}, {"mode": "unpack,remove"}, {"deterministic": False}]
    )
    def test_what_an_export_pins(
        self, lab: Lab, server: Server, body: bytes, fields: dict[str, object]
    ) -> None:
        """An unpacked archive, or a fetch that is pinned, goes to the path of its pin."""
        archive = tar_bytes(file("data", body))
        url = server.answer("/a.tar", Answer(archive))
        digest = hashlib.sha256(archive).hexdigest()
        given = {"mode": "", **fields}
        rref = lab.realize(fetchurl(url, digest, registry=lab.registry, **given))  # type: ignore[arg-type]
        handed = add(lab.store, rref)
        assert handed.fresh
        assert handed.path == add_pin(lab.store, rref).path

    def test_a_stage_of_code(self, lab: Lab, body: bytes) -> None:
        """Other stages go to the paths of their pins."""

        def text(build: Build) -> str:
            del build
            return body.decode()

        rref: RRef = lab.realize(lab.stage("code", content=text))
        assert add(lab.store, rref).path == add_pin(lab.store, rref).path


def test_there_and_back(server: Server, body: bytes, tmp_path: Path, nix_env: NixEnv) -> None:
    """Over two native stores with Nix in between: one request in all."""
    url = server.answer("/data", Answer(body))
    digest = hashlib.sha256(body).hexdigest()
    stores = [Store.init(tmp_path / name) for name in ("one", "two")]
    with current_storage(stores[0]):
        fetch(url, digest)
    (rref,) = (rref for dref in stores[0].derivations() for rref in stores[0].realizations(dref))
    add(stores[0], rref)
    with current_storage(stores[1]):
        assert fetch(url, digest).read_bytes() == body
    assert len(server.requests) == 1
    assert nix_env.version
