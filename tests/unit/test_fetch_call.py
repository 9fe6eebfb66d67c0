"""`fetch`: a file by its hash, in one line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

import plxnix
from plxnix import Store, current_storage, fetch
from plxnix.errors import (
    ArchiveError,
    DownloadFailed,
    HashMismatch,
    InvalidHash,
    InvalidSetting,
    InvalidValue,
)
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.recipes.shared import setting
from tests.archive_trees import file, folder, tar_bytes
from tests.http_server import Answer, Server


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no Nix store answer for the server, nor the store that another test has left current."""
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
    with current_storage(Store.init(tmp_path / "plxnix")):
        yield


BODY = b"a file for scripts\n"
SHA256 = hashlib.sha256(BODY).hexdigest()


class TestFiles:
    """Without `unpack`, the path is that of the file."""

    def test_once(self, server: Server, tmp_path: Path) -> None:
        """It is fetched by the first call into the current store, and found by the second."""
        url = server.answer("/data%20set.csv", Answer(BODY))
        path = fetch(url, SHA256)
        assert isinstance(path, Path)
        assert path.read_bytes() == BODY
        assert path.name == "data set.csv"
        assert path.is_relative_to(tmp_path / "plxnix")
        assert path.stat().st_mode & 0o777 == 0o444
        assert fetch(url, sha256=SHA256) == path
        assert len(server.requests) == 1

    def test_every_hash(self, server: Server) -> None:
        """Each argument takes the hash of its algorithm; `hash` takes any."""
        url = server.answer("/data", Answer(BODY))
        sri = "sha256-" + b64encode(hashlib.sha256(BODY).digest()).decode()
        paths = {
            fetch(url, sha256=SHA256),
            fetch(url, sha256=sri),
            fetch(url, hash=sri),
        }
        assert len(paths) == 1
        assert fetch(url, sha512=hashlib.sha512(BODY).hexdigest()).read_bytes() == BODY
        assert fetch(url, sha1=Hash.of_bytes(BODY, "sha1").hex).read_bytes() == BODY
        assert len(server.requests) == 3

    def test_an_archive_stays_one(self, server: Server) -> None:
        """An archive is a file like any other."""
        body = tar_bytes(folder("top"), file("top/one", b"1"))
        url = server.answer("/a.tar", Answer(body))
        assert fetch(url, hashlib.sha256(body).hexdigest()).read_bytes() == body

    def test_its_name(self, server: Server) -> None:
        """`name` is the name of the file; one is needed where the URL has none."""
        url = server.answer("/", Answer(BODY))
        assert fetch(url, SHA256, name="data.csv").name == "data.csv"
        with pytest.raises(InvalidValue, match="ends without the name of a file"):
            fetch(url, SHA256)

    def test_further_urls(self, server: Server) -> None:
        """Where the first has nothing the others are asked."""
        good = server.answer("/good", Answer(BODY))
        assert fetch(server.url("/none"), SHA256, urls=[good]).read_bytes() == BODY

    def test_in_another_store(self, server: Server, tmp_path: Path) -> None:
        """The store that is current at the call is used."""
        url = server.answer("/data", Answer(BODY))
        store = Store.init(tmp_path / "other")
        with current_storage(store):
            assert fetch(url, SHA256).is_relative_to(tmp_path / "other")
        assert not list(Store(tmp_path / "plxnix").derivations())

    def test_is_the_stage(self, server: Server) -> None:
        """A stage `fetchurl` with the same arguments has the same result."""
        url = server.answer("/data", Answer(BODY))
        path = fetch(url, SHA256)
        rref = plxnix.evaluate(lambda r: plxnix.fetchurl(url, SHA256, mode="", r=r))
        assert os.fspath(plxnix.rref2path(rref)) == os.fspath(path.parent)
        assert len(server.requests) == 1

    def test_faults(self, server: Server) -> None:
        """Wrong contents, no contents, no hash and two hashes are errors, each with its class."""
        url = server.answer("/data", Answer(b"others"))
        with pytest.raises(HashMismatch):
            fetch(url, SHA256)
        with pytest.raises(DownloadFailed):
            fetch(server.url("/none"), SHA256)
        with pytest.raises(InvalidValue):
            fetch(url)
        with pytest.raises(InvalidValue):
            fetch(url, SHA256, sha1="0" * 40)
        with pytest.raises(InvalidHash):
            fetch(url, "0")


class TestTrees:
    """With `unpack`, the path is that of the only folder in an archive."""

    def test_once(self, server: Server, tmp_path: Path) -> None:
        """The hash is that of the tree, in hex or SRI; the second call finds it."""
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "one").write_bytes(b"1")
        digest = nar_hash(tmp_path / "tree")[0]
        url = server.answer("/a.tar", Answer(tar_bytes(folder("top"), file("top/one", b"1"))))
        path = fetch(url, digest.hex, unpack=True)
        assert [one.name for one in path.iterdir()] == ["one"]
        assert fetch(url, hash=digest.sri, unpack=True) == path
        assert fetch(url, sha256=digest.base32, unpack=True) == path
        assert len(server.requests) == 1

    def test_faults(self, server: Server) -> None:
        """Two folders, another hash, and hashes that no tree is known by."""
        two = server.answer("/two.tar", Answer(tar_bytes(folder("a"), folder("b"))))
        one = server.answer("/one.tar", Answer(tar_bytes(folder("a"))))
        with pytest.raises(ArchiveError):
            fetch(two, SHA256, unpack=True)
        with pytest.raises(HashMismatch):
            fetch(one, SHA256, unpack=True)
        for given in (
            {},
            {"sha1": "0" * 40},
            {"sha512": "0" * 128},
            {"sha256": SHA256, "hash": Hash.parse(SHA256).sri},
        ):
            with pytest.raises(InvalidHash, match="a tree is known by one hash"):
                fetch(one, unpack=True, **given)


def test_processes_at_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes that want one file make the default store and one request."""
    monkeypatch.setenv("PLXNIX_ROOT", str(tmp_path / "new"))
    body = bytes(1 << 20)
    url = server.answer("/data", Answer(body, delay=0.02))
    script = "import plxnix, sys; print(plxnix.fetch(sys.argv[1], sha256=sys.argv[2]))"
    command = [sys.executable, "-c", script, url, hashlib.sha256(body).hexdigest()]
    root = Path(plxnix.__file__).parents[1]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) for _ in range(4)
    ]
    printed = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    (path,) = printed
    assert Path(path).is_relative_to(tmp_path / "new")
    assert Path(path.strip()).read_bytes() == body
    assert len(server.requests) == 1


def test_a_setting_that_is_none() -> None:
    """`PLXNIX_NIX_STORE` is `auto`, `off`, `add` or nothing."""
    assert setting({}) == "auto"
    assert setting({"PLXNIX_NIX_STORE": ""}) == "auto"
    assert setting({"PLXNIX_NIX_STORE": "add"}) == "add"
    assert setting({"PLXNIX_NIX_STORE": "off"}) == "off"
    with pytest.raises(InvalidSetting, match="'no'"):
        setting({"PLXNIX_NIX_STORE": "no"})
