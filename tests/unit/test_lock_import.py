"""What other programs have locked, taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plxnix.errors import InvalidValue
from plxnix.locking.importing import Offer, read_foreign
from plxnix.locking.source import LockedSource
from plxnix.nix.hashes import Hash

DIGEST = Hash.of_bytes(b"tree")
REVISION = "0123456789abcdef0123456789abcdef01234567"


def offers(tmp_path: Path, value: Any) -> dict[str, Offer]:
    """Read a foreign file."""
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(value))
    return {offer.name: offer for offer in read_foreign(path)}


def source(offer: Offer) -> LockedSource:
    """Return what could be taken."""
    assert offer.source is not None, offer.reason
    return offer.source


@pytest.mark.parametrize("version", [3, 4, 5])
def test_npins(tmp_path: Path, version: int) -> None:
    """Pins with URL and hash are trees, as npins gives them to fetchTarball."""
    github = {
        "type": "Git",
        "repository": {"type": "GitHub", "owner": "o", "repo": "r"},
        "branch": "main",
        "revision": REVISION,
        "url": f"https://github.com/o/r/archive/{REVISION}.tar.gz",
        "hash": DIGEST.base32 if version < 5 else DIGEST.sri,
    }
    channel = {
        "type": "Channel",
        "name": "nixos-unstable",
        "url": "https://releases.nixos.org/x/nixexprs.tar.xz",
        "hash": DIGEST.base32,
    }
    pins: dict[str, Any] = {
        "github": github,
        "frozen": {**github, "frozen": True},
        "channel": channel,
        "checkout": {**github, "url": None},
        "modules": {**github, "submodules": True},
        "image": {"type": "Container", "hash": DIGEST.sri},
        "partial": {**channel, "hash": None},
        "file": {"type": "Url", "url": "https://example.org/x.csv", "hash": DIGEST.sri},
        "secret": {**channel, "url": "https://me:geheim@example.org/x.tar"},
        "a b": channel,
        "none": 1,
    }
    found = offers(tmp_path, {"pins": pins, "version": version})
    taken = source(found["github"])
    assert (taken.unpack, taken.hash, taken.name) == (True, DIGEST, "source")
    assert taken.sources == [github["url"]]
    assert source(found["frozen"]).frozen
    assert source(found["channel"]).unpack
    assert not source(found["file"]).unpack
    left = {name: offer.reason for name, offer in found.items() if offer.source is None}
    assert left.keys() == {"checkout", "modules", "image", "partial", "secret", "a b", "none"}
    assert "checkout by git" in left["checkout"]
    assert "submodules" in left["modules"]
    assert "'Container'" in left["image"]
    assert "no hash" in left["partial"]
    assert "geheim" not in left["secret"]
    assert "not a name" in left["a b"]


def test_nvfetcher(tmp_path: Path) -> None:
    """Fetches of files and archives are taken, checkouts are not."""
    github = {
        "type": "github",
        "owner": "o",
        "repo": "r",
        "rev": "v1",
        "sha256": DIGEST.sri,
        "fetchSubmodules": False,
        "deepClone": False,
        "leaveDotGit": False,
    }
    file = {"type": "url", "url": "https://example.org/x.csv", "sha256": DIGEST.hex, "name": "y"}
    sources = {
        "github": github,
        "file": file,
        "tree": {"type": "tarball", "url": "https://example.org/x.tgz", "sha256": DIGEST.sri},
        "git": {"type": "git", "url": "https://example.org/x.git", "sha256": DIGEST.sri},
        "deep": {**github, "fetchSubmodules": True},
        "empty": {**file, "sha256": None},
        "odd": {**file, "sha256": "x"},
        "bare": 1,
    }
    found = offers(
        tmp_path,
        {name: {"src": src, "pinned": name == "tree"} for name, src in sources.items()},
    )
    assert source(found["github"]).sources == ["https://github.com/o/r/archive/v1.tar.gz"]
    assert source(found["github"]).unpack
    assert (source(found["file"]).name, source(found["file"]).hash) == ("y", DIGEST)
    assert source(found["tree"]).frozen
    assert {name for name in found if found[name].source is None} == {
        *("git", "deep", "empty", "odd", "bare"),
    }


def test_flake(tmp_path: Path) -> None:
    """Inputs that are archives become trees with the same NAR hash."""

    def node(**locked: Any) -> dict[str, Any]:
        return {"locked": {"narHash": DIGEST.sri, "lastModified": 1, "rev": REVISION, **locked}}

    nodes = {
        "root": {"inputs": {"nixpkgs": "nixpkgs"}},
        "nixpkgs": node(type="github", owner="NixOS", repo="nixpkgs"),
        "own": node(type="github", owner="o", repo="r", host="git.example.org"),
        "lab": node(type="gitlab", owner="o", repo="r"),
        "hut": node(type="sourcehut", owner="~o", repo="r"),
        "tar": node(type="tarball", url="https://example.org/x.tar.gz"),
        "path": node(type="path", path="/x"),
        "git": node(type="git", url="https://example.org/x"),
        "file": node(type="file", url="https://example.org/x"),
        "loose": {"original": {}},
    }
    found = offers(tmp_path, {"nodes": nodes, "root": "root", "version": 7})
    archive = f"archive/{REVISION}.tar.gz"
    assert {name: source(offer).url for name, offer in found.items() if offer.source} == {
        "nixpkgs": f"https://github.com/NixOS/nixpkgs/{archive}",
        "own": f"https://git.example.org/o/r/{archive}",
        "lab": f"https://gitlab.com/api/v4/projects/o%2Fr/repository/archive.tar.gz?sha={REVISION}",
        "hut": f"https://git.sr.ht/~o/r/{archive}",
        "tar": "https://example.org/x.tar.gz",
    }
    assert all(offer.source.unpack for offer in found.values() if offer.source)
    assert "no archive" in found["git"].reason
    assert "not locked" in found["loose"].reason


def test_another_lock_of_ours(tmp_path: Path) -> None:
    """The sources of another lock are taken as they are."""
    one = LockedSource("https://example.org/{version}.csv", DIGEST, version="1", frozen=True)
    sources = {"one": one.value(), "bad": {"url": "x"}}
    found = offers(tmp_path, {"version": 1, "sources": sources, "derivations": {}})
    assert source(found["one"]).value() == one.value()
    assert "has no hash" in found["bad"].reason


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"version": 1},
        {"pins": {}, "version": 2},
        {"pins": {}, "version": "3"},
        {"nodes": {}, "root": "root", "version": 99},
        {"a": {"b": 1}},
    ],
)
def test_foreign_files_that_are_not_known(tmp_path: Path, value: Any) -> None:
    """A file of none of these programs, or of an unknown version, is refused whole."""
    with pytest.raises(InvalidValue):
        offers(tmp_path, value)
