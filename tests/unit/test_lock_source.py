"""One source of a lock: its form, its names and its path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import InvalidName, InvalidValue, PlxnixError
from plxnix.locking.source import LockedSource, check_key
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path
from plxnix.recipes.urls import expanded

DIGEST = Hash.of_bytes(b"contents")
PLAIN = {"url": "https://example.org/a/data.csv", "hash": DIGEST.sri}
VERSIONED = {
    "url": "https://example.org/{version}/x-{version}.tgz",
    "hash": DIGEST.sri,
    "version": "1.2",
}


def parse(value: Any) -> LockedSource:
    """Read a source as if a lock had it."""
    return LockedSource.parse("one", value)


def test_url_and_hash_suffice() -> None:
    """Name and path follow from URL and hash, and are written down."""
    source = parse(PLAIN)
    assert source.name == "data.csv"
    assert source.predicted == fixed_path("data.csv", DIGEST)
    assert source.value() == {**PLAIN, "name": "data.csv", "path": source.predicted}


def test_all_fields_come_back() -> None:
    """What is read is what is written."""
    value = {
        **VERSIONED,
        "archive": Hash.of_bytes(b"archive").sri,
        "fetched": "2026-01-02T03:04:05Z",
        "frozen": True,
        "name": "source",
        "path": fixed_path("source", DIGEST, recursive=True),
        "size": 12,
        "unpack": True,
        "urls": ["https://example.com/x-{version}.tgz"],
    }
    assert parse(value).value() == value
    assert parse(value).sources == [
        "https://example.org/1.2/x-1.2.tgz",
        "https://example.com/x-1.2.tgz",
    ]


def test_names_follow_the_version() -> None:
    """A name that follows from the URL follows it to another version; one of its own stays."""
    written = parse(parse(VERSIONED).value())
    assert written.name == "x-1.2.tgz"
    assert written.at("2").name == "x-2.tgz"
    assert parse({**VERSIONED, "name": "mine.tgz"}).at("2").name == "mine.tgz"
    assert parse({**VERSIONED, "name": "mine-{version}.tgz"}).at("2").name == "mine-2.tgz"
    assert parse({**VERSIONED, "unpack": True}).at("2").name == "source"


def test_stage_is_that_of_fetchurl_and_fetchtree() -> None:
    """The config has the same name, URLs and hash."""
    config = parse(VERSIONED).config({"extra": 1})
    assert (config["filename"], config["mode"], config["extra"]) == ("x-1.2.tgz", "", 1)
    assert config["url"] == "https://example.org/1.2/x-1.2.tgz"
    tree = parse({**VERSIONED, "unpack": True}).config({})
    assert (tree["name"], tree["filename"], tree["hash"]) == ("source", "x-1.2.tgz", DIGEST.sri)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": None}, "it has to be a string"),
        ({"url": "ftp://example.org/x"}, "cannot fetch from"),
        ({"url": "https:///x"}, "cannot fetch from"),
        ({"url": "https://example.org:port/x"}, "malformed"),
        ({"url": "https://[::1/x"}, "malformed"),
        ({"url": "https://example.org/"}, "without the name of a file"),
        ({"url": "https://example.org/a b"}, "need an escape"),
        ({"url": "https://example.org/é"}, "need an escape"),
        ({"url": "https://example.org/\0"}, "need an escape"),
        ({"url": "mirror://gnu/x"}, "cannot fetch from"),
        ({"url": "https://example.org/{version}"}, "a version that is not known"),
        ({"version": "1"}, "no URL has a place for it"),
        ({"version": "../x", "url": "https://example.org/{version}"}, "the version is '../x'"),
        ({"hash": "sha256-x"}, "sources.one: not a sha256 hash"),
        ({"hash": 1}, "it has to be a string"),
        ({"urls": [1]}, "a list of strings"),
        ({"urls": "https://example.org/x"}, "it has to be a list"),
        ({"size": -1}, "a number of bytes"),
        ({"size": True}, "a whole number"),
        ({"frozen": 1}, "true or false"),
        ({"name": "a/b"}, "not a name for a store path"),
        ({"name": "x.drv"}, "not a name for a store path"),
        ({"frozn": True}, "not known"),
        ({"archive": DIGEST.sri}, "but is a file"),
        ({"unpack": True, "hash": Hash.of_bytes(b"", "sha512").sri}, "the hash of a tree"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str) -> None:
    """Each wrong field is refused by a typed error that names the source."""
    with pytest.raises(InvalidValue) as error:
        parse({**PLAIN, **change})
    assert said in str(error.value)
    assert "one" in str(error.value)


@pytest.mark.parametrize("field", ["url", "hash"])
def test_what_is_missing_is_said(field: str) -> None:
    """Without URL or hash it is no source."""
    with pytest.raises(InvalidValue, match=f"has no {field}"):
        parse({key: value for key, value in PLAIN.items() if key != field})


@pytest.mark.parametrize(
    "url",
    [
        "https://me:geheim@example.org/x",
        "https://geheim@example.org/x",
        "https://example.org/x?token=geheim",
        "https://example.org/x?X-Amz-Signature=geheim",
    ],
)
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    """A URL with a secret gets into no lock, and the secret into no message."""
    with pytest.raises(InvalidValue) as error:
        parse({**PLAIN, "urls": [url]})
    assert "geheim" not in str(error.value)
    assert ".netrc" in error.value.hint


@pytest.mark.parametrize("key", ["", ".x", "a b", "a/b", "é", "x" * 101, "-f", "a\n"])
def test_names_of_sources(key: str) -> None:
    """Names are such as can be typed anywhere."""
    with pytest.raises(InvalidName):
        check_key(key)
    assert check_key("a.b-C_1") == "a.b-C_1"


def test_mirrors_are_written_out() -> None:
    """`mirror://` becomes the URLs that it stands for, as Nix does not know it."""
    assert expanded("mirror://gnu/hello/x.tgz")[0].endswith(".gnu.org/hello/x.tgz")
    assert all(url.startswith("https://") for url in expanded("mirror://gnu/x"))
    assert expanded("https://example.org/x") == ["https://example.org/x"]
    with pytest.raises(InvalidValue, match="'nobody', which is not known"):
        expanded("mirror://nobody/x")


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*VERSIONED, "urls", "name", "path", "unpack", "size", "frozen", "x"]),
        json | st.sampled_from([*VERSIONED.values(), "https://[", "\ud800", "{version}"]),
    )
)
def test_anything_is_read_or_refused(change: dict[str, Any]) -> None:
    """Whatever a lock has there, the outcome is a source with a path, or a typed error."""
    try:
        source = parse({**PLAIN, **change})
    except PlxnixError:
        return
    assert source.predicted.startswith("/nix/store/")
    assert parse(source.value()).value() == source.value()
