"""`fetchurl` and `fetchlocal`: files known by their hashes, and what is asked of servers."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tarfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, RRef, execute, fetchlocal, fetchurl, selfref
from plxnix.errors import (
    ArchiveError,
    DownloadFailed,
    HashMismatch,
    InvalidHash,
    InvalidRefpath,
    InvalidValue,
    PromiseMissing,
)
from plxnix.nix.hashes import Hash
from plxnix.realize.run import Observer
from tests.http_server import Answer, Server
from tests.stage_samples import Lab

BODY = b"the contents of a file\n"
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def fetch(lab: Lab) -> Callable[..., DRef]:
    """`fetchurl` in the lab's registry."""
    return functools.partial(fetchurl, registry=lab.registry)


@pytest.fixture
def local(lab: Lab) -> Callable[..., DRef]:
    """`fetchlocal` in the lab's registry."""
    return functools.partial(fetchlocal, registry=lab.registry)


def contents(lab: Lab, rref: RRef) -> dict[str, bytes]:
    """Return the files of a realization."""
    top = Path(lab.store.path(rref))
    return {
        os.fspath(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def tarball(**files: bytes) -> bytes:
    """Return a tar.gz with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class Interrupting(Observer):
    """An observer that stops everything when so many bytes are there."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.seen: list[tuple[str, int, int | None]] = []

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        """Raise KeyboardInterrupt, as if the user had."""
        del dref
        self.seen.append((label, done, total))
        if done >= self.after:
            raise KeyboardInterrupt


class TestHashes:
    """The hash is given in any form that Nix reads."""

    def test_every_form_is_one_derivation(self, lab: Lab, fetch: Callable[..., DRef]) -> None:
        """Hex, nix32, base64 and SRI of one hash are one config."""
        for kind in ("sha256", "sha1", "sha512"):
            digest = hashlib.new(kind, BODY).digest()
            base64 = b64encode(digest).decode()
            given = [
                {kind: digest.hex()},
                {kind: Hash(kind, digest).base32},
                {kind: base64},
                {kind: f"{kind}-{base64}"},
                {"hash": f"{kind}-{base64}"},
                {"hash": digest.hex()},
            ]
            drefs = {fetch("https://example.org/file", **one) for one in given}
            assert len(drefs) == 1
        assert len(lab.registry.derivations) == 3

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "has 0: none"),
            ({"sha256": SHA256, "sha1": "0" * 40}, "has 2: sha256, sha1"),
        ],
    )
    def test_one_hash(self, fetch: Callable[..., DRef], given: Any, message: str) -> None:
        """One hash has to be there, and the message counts."""
        with pytest.raises(InvalidValue, match=message):
            fetch("https://example.org/file", **given)

    @pytest.mark.parametrize(
        "given",
        [
            {"sha256": "0" * 63},
            {"sha256": "sha1-" + "A" * 27 + "="},
            {"sha256": ""},
            {"hash": "x" + SHA256},
            {"sha1": SHA256},
        ],
    )
    def test_bad_hashes(self, fetch: Callable[..., DRef], given: Any) -> None:
        """What is no hash, or one of another kind, is refused when it is registered."""
        with pytest.raises(InvalidHash):
            fetch("https://example.org/file", **given)

    @pytest.mark.parametrize("kind", ["sha256", "sha1", "sha512"])
    def test_they_are_checked(
        self, lab: Lab, fetch: Callable[..., DRef], server: Server, kind: str
    ) -> None:
        """Each kind lets the right file in and no other."""
        url = server.answer("/file", Answer(BODY))
        rref = lab.realize(fetch(url, **{kind: hashlib.new(kind, BODY).hexdigest()}))
        assert contents(lab, rref) == {"file": BODY}
        wrong = fetch(url, **{kind: hashlib.new(kind, BODY + b"!").hexdigest()})
        with pytest.raises(HashMismatch) as caught:
            lab.realize(wrong)
        assert caught.value.found == Hash(kind, hashlib.new(kind, BODY).digest()).sri
        assert lab.store.realizations(wrong) == []
        assert lab.leftovers() == []


class TestModes:
    """A fetch is the file, or what is in it."""

    ARCHIVE = tarball(one=b"1", two=b"2")

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            ("", ["a.tar.gz"]),
            ("unpack", ["a.tar.gz", "one", "two"]),
            ("unpack,remove", ["one", "two"]),
            (" remove , unpack ", ["one", "two"]),
            (None, ["one", "two"]),
        ],
    )
    def test_archives(
        self,
        lab: Lab,
        fetch: Callable[..., DRef],
        server: Server,
        mode: str | None,
        expected: list[str],
    ) -> None:
        """By default an archive is unpacked and removed."""
        url = server.answer("/a.tar.gz", Answer(self.ARCHIVE))
        dref = fetch(url, sha256=hashlib.sha256(self.ARCHIVE).hexdigest(), mode=mode)
        assert list(contents(lab, lab.realize(dref))) == expected
        assert lab.leftovers() == []

    def test_other_files(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """By default another file is kept as it is, and promised as `out`."""
        dref = fetch(server.answer("/file", Answer(BODY)), sha256=SHA256)
        assert lab.registry.derivations[dref].config["out"] == [selfref, "file"]
        assert contents(lab, lab.realize(dref)) == {"file": BODY}

    def test_one_config_a_mode(self, fetch: Callable[..., DRef]) -> None:
        """Ways to write a mode are one derivation; modes are different ones."""
        url = "https://example.org/a.zip"
        modes = [None, "unpack,remove", "remove,unpack", "unpack", ""]
        drefs = [fetch(url, sha256=SHA256, mode=mode) for mode in modes]
        assert len(set(drefs[:3])) == 1
        assert len(set(drefs)) == 3

    @pytest.mark.parametrize("mode", ["remove", "unpack,erase", "x"])
    def test_bad_modes(self, fetch: Callable[..., DRef], mode: str) -> None:
        """A mode that is none is named."""
        with pytest.raises(InvalidValue, match=f"mode is '{mode}'"):
            fetch("https://example.org/a.zip", sha256=SHA256, mode=mode)

    def test_not_an_archive(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """A file that is no archive, but is to be unpacked, publishes nothing."""
        dref = fetch(server.answer("/file", Answer(BODY)), sha256=SHA256, mode="unpack")
        with pytest.raises(ArchiveError):
            lab.realize(dref)
        assert lab.store.realizations(dref) == []
        assert lab.leftovers() == []


class TestNames:
    """The file's name and the stage's."""

    @pytest.mark.parametrize(
        ("url", "given", "file", "stage"),
        [
            ("https://h/dir/file.txt?page=1#top", {}, "file.txt", "file.txt"),
            ("https://h/a%20b%C3%A9.txt", {}, "a bé.txt", "a-b-.txt"),
            ("https://h/file", {"filename": "other"}, "other", "other"),
            ("https://h/file", {"name": "stage"}, "file", "stage"),
            ("https://h/", {"filename": "$x'\"\n.txt"}, "$x'\"\n.txt", None),
            ("https://h/.hidden", {}, ".hidden", None),
            ("https://h/-rf", {}, "-rf", "-rf"),
        ],
    )
    def test_names(
        self, lab: Lab, fetch: Callable[..., DRef], url: str, given: Any, file: str, stage: str
    ) -> None:
        """By default both are the last part of the URL, as far as Nix takes it for a name."""
        dref = fetch(url, sha256=SHA256, **given)
        assert lab.registry.derivations[dref].config["filename"] == file
        assert stage is None or dref.name == stage

    @pytest.mark.parametrize("name", ["a b.txt", "é\n$(x)'\".txt", ".hidden", "-rf", "%41"])
    def test_odd_ones_are_kept(
        self, lab: Lab, fetch: Callable[..., DRef], server: Server, name: str
    ) -> None:
        """The file has the name that it was given, and other stages find it by that."""
        url = server.answer("/file", Answer(BODY))
        dref = fetch(url, sha256=SHA256, filename=name, mode="")
        assert contents(lab, lab.realize(dref)) == {name: BODY}
        copy = execute('cp "$file" "$out"', name="copy", file=dref / name, registry=lab.registry)
        assert contents(lab, lab.realize(copy)) == {"copy": BODY}

    @pytest.mark.parametrize("name", ["a/b", "/a", "..", ".", "a\0b"])
    def test_paths(self, fetch: Callable[..., DRef], name: str) -> None:
        """A name that would lead elsewhere is refused."""
        with pytest.raises((InvalidValue, InvalidRefpath)):
            fetch("https://h/x", sha256=SHA256, filename=name)

    @pytest.mark.parametrize("url", ["https://h", "https://h/dir/"])
    def test_none(self, fetch: Callable[..., DRef], url: str) -> None:
        """A URL without one asks for a name."""
        with pytest.raises(InvalidValue, match="without the name of a file"):
            fetch(url, sha256=SHA256)
        with pytest.raises(InvalidRefpath):
            fetch("https://h/a%2F..", sha256=SHA256)


class TestUrls:
    """Where a file may come from."""

    @pytest.mark.parametrize(
        "url", ["ftp://h/x", "h/x", "", "javascript:x", "http://[bad/x", "https://h/\0", 3]
    )
    def test_bad_ones(self, fetch: Callable[..., DRef], url: Any) -> None:
        """What can never be fetched is refused, as the first URL and as another."""
        for urls in ([url], ["https://h/x", url]):
            with pytest.raises(InvalidValue, match="cannot fetch from"):
                fetch(sha256=SHA256, filename="x", urls=urls)

    def test_no_url(self, fetch: Callable[..., DRef]) -> None:
        """One at least."""
        with pytest.raises(InvalidValue, match="got no URL"):
            fetch(sha256=SHA256)

    @pytest.mark.parametrize("user", ["me", "me:secret"])
    def test_credentials(self, fetch: Callable[..., DRef], user: str) -> None:
        """Configs are shared, so a URL with a password is refused, and is not in the message."""
        with pytest.raises(InvalidValue, match="netrc") as caught:
            fetch(f"https://{user}@example.org/x", sha256=SHA256)
        assert "secret" not in str(caught.value)

    def test_several(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """They are tried in turn, also if one has other contents."""
        good = server.answer("/good", Answer(BODY))
        wrong = server.answer("/wrong", Answer(b"other"))
        dref = fetch(server.url("/none"), urls=[wrong, good], sha256=SHA256, filename="x")
        assert contents(lab, lab.realize(dref)) == {"x": BODY}
        assert [request.path for request in server.requests] == ["/none", "/wrong", "/good"]

    def test_urls_alone(self, fetch: Callable[..., DRef]) -> None:
        """The first of `urls` may stand for `url`."""
        url = "https://example.org/x"
        assert fetch(urls=[url], sha256=SHA256) == fetch(url, sha256=SHA256)

    def test_not_there(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """404 is told with the URL, once."""
        with pytest.raises(DownloadFailed, match="404") as caught:
            lab.realize(fetch(server.url("/none"), sha256=SHA256))
        assert server.url("/none") in str(caught.value)
        assert server.count("/none") == 1

    def test_hashed_mirrors(
        self,
        lab: Lab,
        fetch: Callable[..., DRef],
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A hashed mirror of the environment is asked first; the URL is then not asked at all."""
        server.answer(f"/m/sha256/{SHA256}", Answer(BODY))
        monkeypatch.setenv("PLXNIX_HASHED_MIRRORS", server.url("/m"))
        dref = fetch(server.url("/file"), sha256=SHA256)
        assert contents(lab, lab.realize(dref)) == {"file": BODY}
        assert [request.path for request in server.requests] == [f"/m/sha256/{SHA256}"]

    def test_unknown_mirror(self, lab: Lab, fetch: Callable[..., DRef]) -> None:
        """A mirror that nobody knows is named."""
        with pytest.raises(InvalidValue, match="nowhere"):
            lab.realize(fetch("mirror://nowhere/x", sha256=SHA256))


class TestRealizing:
    """Nothing is asked for twice."""

    def test_once(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """What is realized is not asked for again, in this process or in another."""
        url = server.answer("/file", Answer(BODY))
        first = lab.realize(fetch(url, sha256=SHA256))
        assert lab.realize(fetch(url, sha256=SHA256)) == first
        lab.again()
        assert lab.realize(fetchurl(url, sha256=SHA256, registry=lab.registry)) == first
        assert server.count("/file") == 1

    def test_an_interruption(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """What has arrived when the user interrupts is resumed by the next realize."""
        body = os.urandom(1 << 20)
        url = server.answer("/big", Answer(body, etag='"1"', piece=1 << 14))
        digest = hashlib.sha256(body).hexdigest()
        observer = Interrupting(1 << 18)
        with pytest.raises(KeyboardInterrupt):
            lab.realize(fetch(url, sha256=digest), observer=observer)
        assert observer.seen[0] == ("big", 0, 1 << 20)
        part = Path(lab.store.layout.downloads)
        assert any(path.stat().st_size >= 1 << 18 for path in part.iterdir())
        assert lab.leftovers() == []

        rref = lab.realize(fetch(url, sha256=digest))
        assert contents(lab, rref) == {"big": body}
        asked = [request.headers.get("range") for request in server.requests]
        assert asked[0] is None
        assert int(str(asked[1]).removeprefix("bytes=").removesuffix("-")) >= 1 << 18
        assert list(part.iterdir()) == []

    def test_a_broken_connection(
        self, lab: Lab, fetch: Callable[..., DRef], server: Server
    ) -> None:
        """A part that a failed realize has left is resumed by the next."""
        body = bytes(range(256)) * 64
        url = server.answer(
            "/file",
            Answer(body, etag='"1"', stop_after=5000),
            Answer(status=404),
            Answer(body, etag='"1"'),
        )
        dref = fetch(url, sha256=hashlib.sha256(body).hexdigest())
        with pytest.raises(DownloadFailed):
            lab.realize(dref)
        assert contents(lab, lab.realize(dref)) == {"file": body}
        assert [request.headers.get("range") for request in server.requests] == [
            None,
            "bytes=5000-",
            "bytes=5000-",
        ]

    def test_progress(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """The observer is told the bytes there are, up to all."""
        seen = Interrupting(1 << 30)
        body = bytes(200_000)
        url = server.answer("/file", Answer(body))
        lab.realize(fetch(url, sha256=hashlib.sha256(body).hexdigest()), observer=seen)
        counts = [done for _, done, _ in seen.seen]
        assert counts == sorted(counts)
        assert seen.seen[-1] == ("file", 200_000, 200_000)

    def test_further_fields(self, lab: Lab, fetch: Callable[..., DRef], server: Server) -> None:
        """Fields of one's own go into the config; a promise among them has to be kept."""
        url = server.answer("/file", Answer(BODY))
        dref = fetch(url, sha256=SHA256, note="x")
        assert lab.registry.derivations[dref].config["note"] == "x"
        with pytest.raises(PromiseMissing, match="other"):
            lab.realize(fetch(url, sha256=SHA256, more=[selfref, "other"]))


class TestLocal:
    """`fetchlocal` takes a file of this machine."""

    def test_a_path(self, lab: Lab, local: Callable[..., DRef], tmp_path: Path) -> None:
        """The file is copied, under its name."""
        file = tmp_path / "a b é.txt"
        file.write_bytes(BODY)
        rref = lab.realize(local(path=file, sha256=SHA256))
        assert contents(lab, rref) == {"a b é.txt": BODY}
        assert file.read_bytes() == BODY

    def test_relative(
        self, local: Callable[..., DRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relative path is one from where the user is, and is kept absolute."""
        monkeypatch.chdir(tmp_path)
        assert local(path="x", sha256=SHA256) == local(path=tmp_path / "x", sha256=SHA256)

    def test_by_the_environment(
        self, lab: Lab, local: Callable[..., DRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A variable may hold the path."""
        file = tmp_path / "data.txt"
        file.write_bytes(BODY)
        with pytest.raises(InvalidValue, match="MY_DATA is not set"):
            local(envname="MY_DATA", sha256=SHA256)
        monkeypatch.setenv("MY_DATA", str(file))
        dref = local(envname="MY_DATA", sha256=SHA256)
        assert dref == local(path=file, sha256=SHA256)
        assert contents(lab, lab.realize(dref)) == {"data.txt": BODY}

    @pytest.mark.parametrize("given", [{}, {"path": "x", "envname": "X"}])
    def test_one_of_two(self, local: Callable[..., DRef], given: Any) -> None:
        """A path or a variable."""
        with pytest.raises(InvalidValue, match="give one of the two"):
            local(sha256=SHA256, **given)

    def test_missing(self, lab: Lab, local: Callable[..., DRef], tmp_path: Path) -> None:
        """A file that is not there fails when it is needed, with its path."""
        dref = local(path=tmp_path / "none", sha256=SHA256)
        with pytest.raises(DownloadFailed, match="/none"):
            lab.realize(dref)

    def test_changed(self, lab: Lab, local: Callable[..., DRef], tmp_path: Path) -> None:
        """A file that is not the one meant is refused, and the right hash told."""
        file = tmp_path / "file"
        file.write_bytes(BODY)
        dref = local(path=file, sha256=SHA256)
        file.write_bytes(BODY + b"!")
        with pytest.raises(HashMismatch) as caught:
            lab.realize(dref)
        assert caught.value.expected == Hash.parse(SHA256, "sha256").sri
        assert caught.value.found == Hash.of_bytes(BODY + b"!", "sha256").sri
        file.write_bytes(BODY)
        assert lab.realize(dref)

    def test_an_archive(self, lab: Lab, local: Callable[..., DRef], tmp_path: Path) -> None:
        """Modes are those of fetchurl."""
        file = tmp_path / "a.tgz"
        file.write_bytes(tarball(one=b"1"))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert contents(lab, lab.realize(local(digest, file))) == {"one": b"1"}
        kept = contents(lab, lab.realize(local(digest, file, mode="unpack")))
        assert list(kept) == ["a.tgz", "one"]

    def test_it_cannot_be_changed(
        self, lab: Lab, local: Callable[..., DRef], tmp_path: Path
    ) -> None:
        """The realization is a copy: a later change of the file does not reach it."""
        file = tmp_path / "file"
        file.write_bytes(BODY)
        rref = lab.realize(local(path=file, sha256=SHA256))
        file.write_bytes(b"changed")
        assert contents(lab, rref) == {"file": BODY}
