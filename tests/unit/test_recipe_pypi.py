"""`fetchpypi`: files of Python packages by name, version and hash, from an index on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plxnix import execute, fetchpypi
from plxnix.builders import package_index
from plxnix.builders.package_index import configured_index, same_version, split
from plxnix.errors import (
    DownloadFailed,
    FetchError,
    HashMismatch,
    InvalidHash,
    InvalidSetting,
    InvalidValue,
)
from plxnix.model import DRef
from tests.http_server import Answer, Server
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("registered")


def wheel(version: str) -> bytes:
    """Return a wheel of `my-tool`."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("my_tool.py", f"VERSION = {version!r}\n")
        about = f"my_tool-{version}.dist-info"
        archive.writestr(f"{about}/METADATA", f"Name: my-tool\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return data.getvalue()


class Index:
    """An index of the project `my-tool` with what is put into it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.files: dict[str, bytes] = {}
        self.yanked: dict[str, str] = {}
        self.url = server.url("/simple")

    def add(self, filename: str, body: bytes, yanked: str | None = None) -> str:
        """Add a file and return its sha256."""
        self.files[filename] = body
        if yanked is not None:
            self.yanked[filename] = yanked
        self.server.answer(f"/files/{filename}", Answer(body))
        self.publish()
        return hashlib.sha256(body).hexdigest()

    def publish(self, html: bool = False, hashes: bool = True) -> None:
        """Write the project's page, as JSON or as HTML."""
        package_index.files.cache_clear()
        listed = []
        lines = ["<!DOCTYPE html><html><body>"]
        for name, body in self.files.items():
            digest = hashlib.sha256(body).hexdigest()
            listed.append(
                {
                    "filename": name,
                    "url": f"../../files/{name}",
                    "hashes": {"sha256": digest} if hashes else {},
                    "yanked": self.yanked.get(name, False),
                }
            )
            mark = f' data-yanked="{self.yanked[name]}"' if name in self.yanked else ""
            fragment = f"#sha256={digest}" if hashes else ""
            lines.append(f'<a href="../../files/{name}{fragment}"{mark}>{name}</a>')
        page = json.dumps({"meta": {"api-version": "1.0"}, "name": "my-tool", "files": listed})
        kind = "text/html" if html else "application/vnd.pypi.simple.v1+json"
        self.server.answer(
            "/simple/my-tool/",
            Answer(("\n".join(lines) if html else page).encode(), headers={"Content-Type": kind}),
        )


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no Nix store and no setting of the machine have a say."""
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
    monkeypatch.setenv("PLXNIX_DOWNLOAD_TRIES", "1")
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "VIRTUAL_ENV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def index() -> Iterator[Index]:
    """An index on loopback."""
    with Server() as running:
        yield Index(running)


def folder(lab: Lab, dref: DRef) -> Path:
    """Realize a stage and return where it is."""
    return Path(lab.store.path(lab.realize(dref)))


class TestFiles:
    """A file is found by its hash among those of a release."""

    @pytest.mark.parametrize("html", [False, True])
    def test_once(self, lab: Lab, index: Index, html: bool) -> None:
        """The page and the file are asked for once, and nothing in a new process."""
        name = "my_tool-1.0-py3-none-any.whl"
        sha256 = index.add(name, wheel("1.0"))
        index.add("my_tool-1.0.tar.gz", b"an sdist")
        index.publish(html)
        dref = fetchpypi("My.Tool", "1.0", sha256, index=index.url)
        path = folder(lab, dref)
        assert (path / name).read_bytes() == index.files[name]
        assert len(index.server.requests) == 2
        package_index.files.cache_clear()
        lab.again()
        again = fetchpypi("My.Tool", "1.0", sha256, index=index.url, registry=lab.registry)
        assert folder(lab, again) == path
        assert len(index.server.requests) == 2
        assert lab.leftovers() == []

    def test_the_config(self, lab: Lab, index: Index) -> None:
        """It is the same whatever the index and however the file was named, and holds no URL."""
        name = "my_tool-1.0-py3-none-any.whl"
        sha256 = index.add(name, wheel("1.0"))
        drefs = {
            fetchpypi("my-tool", "1.0", sha256, index=index.url, filename=given, r=lab.registry)
            for given in (None, "py3-none-any", name)
        }
        assert len(drefs) == 1
        (dref,) = drefs
        assert "127.0.0.1" not in lab.registry.derivations[dref].config.canonical.decode()
        other = Lab(lab.root / "other")
        options: dict[str, Any] = {"index": "http://127.0.0.1:1/simple", "filename": name}
        assert fetchpypi("my-tool", "1.0", sha256, r=other.registry, **options) == dref

    def test_a_whole_name_asks_nobody(self, lab: Lab, index: Index) -> None:
        """With the file's name the stage is made without the index."""
        name = "my_tool-1.0-py3-none-any.whl"
        sha256 = index.add(name, wheel("1.0"))
        dref = fetchpypi("my-tool", "1.0", sha256, filename=name, index=index.url, r=lab.registry)
        assert not index.server.requests
        assert (folder(lab, dref) / name).exists()

    def test_without_hashes(self, lab: Lab, index: Index) -> None:
        """If the index has no hashes, name or tags tell the file, which is then checked."""
        index.add("my_tool-1.0.tar.gz", b"an sdist")
        name = "my_tool-1.0-py3-none-any.whl"
        sha256 = index.add(name, wheel("1.0"))
        index.publish(hashes=False)
        with pytest.raises(FetchError, match="tells no sha256") as caught:
            fetchpypi("my-tool", "1.0", sha256, index=index.url)
        assert name in caught.value.hint
        dref = fetchpypi(*("my-tool", "1.0", sha256), filename="py3-none-any", index=index.url)
        assert (folder(lab, dref) / name).exists()

    def test_below_another_stage(self, lab: Lab, index: Index) -> None:
        """A command can take the file by the stage's reference, and asks nobody for the URL."""
        sha256 = index.add("my_tool-1.0-py3-none-any.whl", wheel("1.0"))
        dref = fetchpypi("my-tool", "1.0", sha256, index=index.url)
        folder(lab, dref)
        asked = len(index.server.requests)
        package_index.files.cache_clear()
        used = execute(f'cp {dref} "$out"', name="used")
        assert lab.realize(used)
        assert len(index.server.requests) == asked

    def test_the_record(self, lab: Lab, index: Index) -> None:
        """The record has the URL, without the credentials of the index, which were sent."""
        sha256 = index.add("my_tool-1.0-py3-none-any.whl", wheel("1.0"))
        secret = index.server.url("/simple", user="me:hush")
        dref = fetchpypi("my-tool", "1.0", sha256, index=secret)
        rref = lab.realize(dref)
        assert all("authorization" in one.headers for one in index.server.requests)
        url = index.server.url("/files/my_tool-1.0-py3-none-any.whl")
        assert lab.store.record(rref).nix["url"] == url
        for path in lab.root.rglob("*"):
            assert not path.is_file() or b"hush" not in path.read_bytes()


class TestFaults:
    """Errors name what there is."""

    def test_no_such_project(self, index: Index) -> None:
        """404 means that the index does not have it."""
        with pytest.raises(FetchError, match="has no project 'other'"):
            fetchpypi("other", "1.0", "0" * 64, index=index.url)

    def test_no_such_version(self, index: Index) -> None:
        """The versions are listed."""
        index.add("my_tool-1.0.tar.gz", b"1")
        index.add("my_tool-1.1.tar.gz", b"2")
        with pytest.raises(FetchError, match="has no version 2") as caught:
            fetchpypi("my-tool", "2", "0" * 64, index=index.url)
        assert "1.0, 1.1" in caught.value.hint

    def test_no_such_file(self, lab: Lab, index: Index) -> None:
        """The files of the version are listed."""
        sha256 = index.add("my_tool-1.0.tar.gz", b"1")
        name = "my_tool-1.0-py3-none-any.whl"
        dref = fetchpypi("my-tool", "1.0", sha256, filename=name, index=index.url, r=lab.registry)
        with pytest.raises(FetchError, match="has no file") as caught:
            lab.realize(dref)
        assert "my_tool-1.0.tar.gz" in caught.value.hint
        assert lab.leftovers() == []

    def test_another_hash(self, index: Index) -> None:
        """What the index says is known before anything is downloaded."""
        sha256 = index.add("my_tool-1.0.tar.gz", b"1")
        with pytest.raises(HashMismatch) as caught:
            fetchpypi("my-tool", "1.0", "0" * 64, index=index.url)
        assert sha256 in caught.value.message
        assert len(index.server.requests) == 1

    def test_other_contents(self, lab: Lab, index: Index) -> None:
        """The file itself is checked, whatever the index says."""
        sha256 = index.add("my_tool-1.0.tar.gz", b"1")
        index.server.answer("/files/my_tool-1.0.tar.gz", Answer(b"2"))
        dref = fetchpypi("my-tool", "1.0", sha256, index=index.url)
        with pytest.raises(HashMismatch):
            lab.realize(dref)

    @pytest.mark.parametrize("html", [False, True])
    def test_withdrawn(self, lab: Lab, index: Index, html: bool) -> None:
        """A withdrawn file is refused with the reason, unless it is wanted all the same."""
        sha256 = index.add("my_tool-1.0.tar.gz", b"1", yanked="it bites")
        index.add("my_tool-1.1.tar.gz", b"2")
        index.publish(html)
        with pytest.raises(FetchError, match="it bites") as caught:
            fetchpypi("my-tool", "1.0", sha256, index=index.url)
        assert "1.1" in caught.value.hint
        assert "1.0," not in caught.value.hint
        options: dict[str, Any] = {"index": index.url, "yanked": True}
        assert lab.realize(fetchpypi("my-tool", "1.0", sha256, r=lab.registry, **options))

    @pytest.mark.parametrize("answer", [Answer(status=500), Answer(b"{}"), Answer(b"[", 200)])
    def test_no_page(self, index: Index, answer: Answer) -> None:
        """An index that is down or is none is an error of the network, credentials not shown."""
        kind = {"Content-Type": "application/json"}
        told = Answer(answer.body, answer.status, kind)
        index.server.answer("/simple/my-tool/", told)
        url = index.server.url("/simple", user="me:hush")
        with pytest.raises(DownloadFailed) as caught:
            fetchpypi("my-tool", "1.0", "0" * 64, index=url)
        assert caught.value.attempts
        assert "hush" not in str(caught.value) + str(caught.value.attempts)

    def test_nonsense(self) -> None:
        """Arguments are checked before anybody is asked."""
        with pytest.raises(InvalidValue, match="version is ''"):
            fetchpypi("my-tool", "", "0" * 64)
        with pytest.raises(InvalidValue, match="project is"):
            fetchpypi("a/b", "1", "0" * 64)
        with pytest.raises(InvalidHash):
            fetchpypi("a", "1", "0")
        with pytest.raises(InvalidValue, match="not a path"):
            fetchpypi("a", "1", "0" * 64, filename="x/a-1.zip")


class TestSettings:
    """The index is the one that uv or pip would ask."""

    def test_the_order(self, tmp_path: Path) -> None:
        """Variables go before files; the environment's file before the user's."""
        home, environment = tmp_path / "h", tmp_path / "v"
        for place, url in ((home / ".config" / "pip", "user"), (environment, "own")):
            place.mkdir(parents=True)
            (place / "pip.conf").write_text(f"[global]\nindex-url = https://{url}.example/simple\n")
        named = tmp_path / "named.conf"
        named.write_text("[install]\nindex-url = https://named.example/simple\n")
        given = {
            "HOME": str(home),
            "VIRTUAL_ENV": str(environment),
            "PIP_CONFIG_FILE": str(named),
            "PIP_INDEX_URL": "https://pip.example/simple",
            "UV_INDEX_URL": "https://uv.example/simple",
            "UV_DEFAULT_INDEX": "main=https://default.example/simple",
        }
        hosts = []
        for variable in reversed(list(given)):
            hosts.append(configured_index(given).removeprefix("https://").partition(".")[0])
            del given[variable]
            if variable == "VIRTUAL_ENV":
                break
            assert given
        assert hosts == ["default", "uv", "pip", "named", "own"]
        assert configured_index({"HOME": str(home)}).startswith("https://user")

    def test_a_broken_file(self, tmp_path: Path) -> None:
        """It is named, and what it holds is not shown."""
        broken = tmp_path / "pip.conf"
        broken.write_text("index-url = https://me:hush@example.org\n")
        with pytest.raises(InvalidSetting) as caught:
            configured_index({"PIP_CONFIG_FILE": str(broken)})
        assert "hush" not in str(caught.value)

    def test_used(self, lab: Lab, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without `index=` it is asked."""
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        sha256 = index.add("my_tool-1.0.tar.gz", b"1")
        assert lab.realize(fetchpypi("my-tool", "1.0", sha256))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a-1.0.tar.gz", ("a", "1.0", "")),
        ("a-b-1.0.zip", ("a-b", "1.0", "")),
        ("a_b-1.0-2-cp311-cp311-linux_x86_64.whl", ("a_b", "1.0", "cp311-cp311-linux_x86_64")),
        ("a.exe", ("", "", "")),
    ],
)
def test_names(name: str, parts: tuple[str, str, str]) -> None:
    """Names of wheels and sdists are taken apart."""
    assert split(name) == parts


def test_versions() -> None:
    """Spellings of a version are the same version."""
    assert same_version("1.0", "1")
    assert same_version("V1.2", "1.2.0")
    assert same_version("1+a-b", "1+A.b")
    assert not same_version("1.0", "1.1")
    assert not same_version("10", "1")
