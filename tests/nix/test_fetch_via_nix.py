"""`via="nix"`: Nix downloads what a stage fetches, and nothing else is different."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from plxnix import Store, current_storage, fetch, fetchtree, fetchurl
from plxnix.errors import (
    ArchiveError,
    DownloadFailed,
    HashMismatch,
    InvalidSetting,
    InvalidValue,
    ToolMissing,
)
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path
from plxnix.recipes import nix_fetch
from tests.archive_trees import file, tar_bytes
from tests.http_server import Answer, Request, Server
from tests.nix_environment import NixEnv
from tests.nix_fetches import tree_archive
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("nix_env")


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test have a current store of its own, and Nix try once."""
    monkeypatch.setenv("PLXNIX_DOWNLOAD_TRIES", "1")
    with current_storage(Store.init(tmp_path / "plxnix")):
        yield


def sha(data: bytes) -> str:
    """Return the sha256 in hex."""
    return hashlib.sha256(data).hexdigest()


def by_nix(server: Server) -> bool:
    """Tell whether all requests were made by Nix."""
    return bool(server.requests) and all(
        "Nix/" in one.headers["user-agent"] for one in server.requests
    )


def test_a_file(lab: Lab, server: Server, body: bytes) -> None:
    """Nix asks the server once; the reference is that of a native fetch; both stores have it."""
    url = server.answer("/data.csv", Answer(body))
    dref = fetchurl(url, sha(body), via="nix", registry=lab.registry)
    rref = lab.realize(dref)
    assert Path(lab.store.path(rref), "data.csv").read_bytes() == body
    assert len(server.requests) == 1
    assert by_nix(server)
    assert fetchurl(url, sha(body), registry=lab.registry) == dref
    path = fixed_path("data.csv", Hash.of_bytes(body))
    assert lab.store.record(rref).nix["path"] == path
    assert path in tools.valid([path])
    assert lab.leftovers() == []


def test_the_derivation_is_the_predicted_one(lab: Lab, server: Server, body: bytes) -> None:
    """What Nix has built is the `.drv` that the record names."""
    url = server.answer("/data", Answer(body))
    rref = lab.realize(fetchurl(url, sha(body), via="nix", registry=lab.registry))
    named = lab.store.record(rref).nix
    deriver = tools.run("nix-store", "--query", "--deriver", named["path"]).strip()
    assert deriver == named["derivation"]


def test_the_same_realization(lab: Lab, server: Server, body: bytes, tmp_path: Path) -> None:
    """Fetched natively elsewhere, the realization has the same reference."""
    url = server.answer("/data", Answer(body))
    other = Lab(tmp_path / "other")
    native = other.realize(fetchurl(url, sha(body), via="native", registry=other.registry))
    assert not by_nix(server)
    assert lab.realize(fetchurl(url, sha(body), via="nix", registry=lab.registry)) == native


def test_an_archive_is_unpacked(lab: Lab, server: Server, body: bytes) -> None:
    """What Nix has downloaded is unpacked as ever."""
    archive = tar_bytes(file("data", body))
    url = server.answer("/a.tar", Answer(archive))
    rref = lab.realize(fetchurl(url, sha(archive), via="nix", registry=lab.registry))
    assert Path(lab.store.path(rref), "data").read_bytes() == body
    assert by_nix(server)


def test_a_tree(lab: Lab, server: Server, body: bytes) -> None:
    """A tree is fetched by `fetchTarball`, once."""
    archive, digest = tree_archive(body)
    url = server.answer("/a.tar", Answer(archive))
    dref = fetchtree(url, digest.sri, via="nix", registry=lab.registry)
    assert lab.store.record(lab.realize(dref)).nar_hash == digest.sri
    assert len(server.requests) == 1
    assert by_nix(server)
    assert fetch(url, digest.hex, unpack=True, via="nix").is_dir()
    assert len(server.requests) == 1


def test_trees_that_are_none(lab: Lab, server: Server, body: bytes) -> None:
    """Each failure of `fetchTarball` has the class that the native fetch gives it."""
    archive, _ = tree_archive(body)
    zeros = Hash("sha256", bytes(32))
    wrong = fetchtree(
        server.answer("/a.tar", Answer(archive)), zeros.sri, via="nix", r=lab.registry
    )
    with pytest.raises(HashMismatch) as caught:
        lab.realize(wrong)
    assert caught.value.expected == zeros.sri
    none = fetchtree(server.url("/none.tar"), zeros.sri, via="nix", r=lab.registry)
    with pytest.raises(DownloadFailed) as failed:
        lab.realize(none)
    assert failed.value.attempts == (f"{server.url('/none.tar')}: HTTP 404 Not Found",)
    assert failed.value.message.splitlines()[1:] == [f"  {failed.value.attempts[0]}"]
    text = fetchtree(server.answer("/b.tar", Answer(body)), zeros.sri, via="nix", r=lab.registry)
    with pytest.raises(ArchiveError):
        lab.realize(text)


def test_for_all(server: Server, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """`PLXNIX_FETCH` decides for fetches that do not say who is to fetch."""
    monkeypatch.setenv("PLXNIX_FETCH", "nix")
    url = server.answer("/data", Answer(body))
    assert fetch(url, sha(body)).read_bytes() == body
    assert by_nix(server)
    other = server.answer("/other", Answer(body + b"2"))
    fetch(other, sha(body + b"2"), via="native")
    assert not by_nix(server)


def test_further_sources(server: Server, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashed mirrors, then all URLs are tried in turn; each that failed has a line."""
    good = server.answer("/good", Answer(body))
    monkeypatch.setenv("PLXNIX_HASHED_MIRRORS", server.url("/mirror"))
    monkeypatch.setenv("NIX_MIRRORS_gnu", server.url("/gnu"))
    urls = ["mirror://gnu/none", server.url("/nowhere")]
    found = fetch(urls[0], sha(body), urls=[urls[1], good], via="nix")
    assert found.read_bytes() == body
    asked = [one.path for one in server.requests]
    assert asked[:2] == [f"/mirror/sha256/{sha(body)}", "/gnu/none"]
    assert asked[-2:] == ["/nowhere", "/good"]
    with pytest.raises(DownloadFailed) as caught:
        fetch(server.url("/a"), sha(body + b"2"), urls=[server.url("/b")], via="nix")
    assert [line.rpartition(": ")[2] for line in caught.value.attempts] == [
        "HTTP 404 Not Found"
    ] * 3
    assert "/b: HTTP 404" in caught.value.message


@pytest.mark.parametrize("name", ["PLXNIX_FETCH", "via"])
def test_no_such_way(name: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another word than native and nix is refused, and so are settings that contradict."""
    if name == "via":
        with pytest.raises(InvalidValue, match="via is 'curl'"):
            fetch("http://127.0.0.1:1/x", sha(body), via="curl")
        return
    monkeypatch.setenv(name, "curl")
    with pytest.raises(InvalidSetting, match="PLXNIX_FETCH is 'curl'"):
        fetch("http://127.0.0.1:1/x", sha(body))
    monkeypatch.setenv(name, "nix")
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
    with pytest.raises(InvalidSetting, match="PLXNIX_NIX_STORE is off"):
        fetch("http://127.0.0.1:1/x", sha(body))


def test_without_nix(body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Nix the error says what to install."""
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(ToolMissing, match="nix-store is not installed"):
        fetch("http://127.0.0.1:1/x", sha(body), via="nix")


def test_other_failures_stay(
    nix_env: NixEnv, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of Nix itself is not called one of the network."""
    monkeypatch.setenv("NIX_REMOTE", f"unix://{tmp_path}/none")
    with pytest.raises(Exception, match="nix-store") as caught:
        fetch("http://127.0.0.1:1/x", sha(body), via="nix")
    assert not isinstance(caught.value, DownloadFailed)
    assert nix_env.version


class Watching(Server):
    """A server that looks, at each request, at the arguments of all programs that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = b""

    def take(self, request: Request) -> Answer:
        """Look, and answer."""
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                self.seen += place.read_bytes()
        return super().take(request)


def test_no_credentials_in_arguments(
    lab: Lab, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Nix asks with credentials, no program has them as an argument; nor has its store."""
    netrc, secret = tmp_path / "netrc", os.urandom(8).hex()
    netrc.write_text(f"machine 127.0.0.1 login me password {secret}\n")
    monkeypatch.setenv("NETRC", os.fspath(netrc))
    archive, digest = tree_archive(body)
    server = Watching()
    with server:
        url = server.answer("/data", Answer(body))
        rref = lab.realize(fetchurl(url, sha(body), via="nix", registry=lab.registry))
        other = server.answer(f"/a.tar?token={secret}", Answer(archive))
        lab.realize(fetchtree(other, digest.sri, via="nix", registry=lab.registry))
    given = f"Basic {b64encode(f'me:{secret}'.encode()).decode()}"
    assert [one.headers["authorization"] for one in server.requests] == [given] * 2
    assert b"nix-store" in server.seen
    assert secret.encode() not in server.seen
    derivation = lab.store.record(rref).nix["derivation"]
    assert secret.encode() not in Path(derivation).read_bytes()


def test_a_damaged_path(lab: Lab, server: Server, body: bytes) -> None:
    """If Nix thinks that it has the file, but has not, the error says so."""
    url = server.answer("/data", Answer(body))
    rref = lab.realize(fetchurl(url, sha(body), via="nix", registry=lab.registry))
    path = Path(lab.store.record(rref).nix["path"])
    other = Lab(lab.root / "other")
    path.chmod(0o644)
    path.write_bytes(body.swapcase())
    path.chmod(0o444)
    dref = fetchurl(url, sha(body), via="nix", registry=other.registry)
    with pytest.raises(DownloadFailed, match="could not be taken from there"):
        other.realize(dref)


def test_no_credentials_without_certificates(
    lab: Lab, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Nix that checks no certificates gets no credentials for https."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hush\n")
    monkeypatch.setenv("NETRC", os.fspath(netrc))
    given: list[list[str]] = []
    run = tools.run

    def noted(program: str, *args: str, **rest: object) -> str:
        given.append([os.fspath(one) for one in args])
        return run(program, *args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tools, "run", noted)
    for scheme, expected in (("http", True), ("https", tools.version() >= nix_fetch.VERIFIES)):
        given.clear()
        dref = fetchurl(f"{scheme}://127.0.0.1:1/x", sha(body), via="nix", r=lab.registry)
        with pytest.raises(DownloadFailed):
            lab.realize(dref)
        assert any("netrc-file" in one for one in given) == expected


def test_no_partial_download_is_left(lab: Lab, server: Server, body: bytes) -> None:
    """What had arrived natively is removed once Nix has fetched it all."""
    url = server.answer("/data", Answer(body, etag='"1"', stop_after=5), Answer(body))
    with pytest.raises(DownloadFailed):
        lab.realize(fetchurl(url, sha(body), via="native", registry=lab.registry))
    downloads = Path(lab.store.layout.downloads)
    assert list(downloads.iterdir())
    lab.realize(fetchurl(url, sha(body), via="nix", registry=lab.registry))
    assert list(downloads.iterdir()) == []
