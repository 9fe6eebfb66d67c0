"""Sources of a download: their order, mirrors by name, and what of a URL may be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.builders.sources import MIRRORS, hashed_mirrors_from, redact, sources
from plxnix.errors import InvalidValue
from plxnix.nix.hashes import Hash

HASH = Hash.of_bytes(b"", "sha512")


def test_hashed_mirrors_go_first() -> None:
    """The layout is URL, algorithm, hex digest; without a hash there is nothing to ask for."""
    mirrors = ("https://one.example", "https://two.example/x/")
    assert sources(["https://three.example/f"], HASH, hashed_mirrors=mirrors) == (
        f"https://one.example/sha512/{HASH.hex}",
        f"https://two.example/x/sha512/{HASH.hex}",
        "https://three.example/f",
    )
    assert sources(["https://three.example/f"], None, hashed_mirrors=mirrors) == (
        "https://three.example/f",
    )


def test_a_source_is_tried_once() -> None:
    """A URL that is named twice is one source, at its first place."""
    assert sources(["https://a.example/f", "file:///f", "https://a.example/f"], HASH) == (
        "https://a.example/f",
        "file:///f",
    )


@pytest.mark.parametrize("name", sorted(MIRRORS))
def test_every_mirror_of_the_table_is_a_base(name: str) -> None:
    """Each entry is an https URL that a path can be put behind."""
    assert all(url.startswith("https://") and url.endswith("/") for url in MIRRORS[name])
    assert sources([f"mirror://{name}/a/b"], None) == tuple(f"{url}a/b" for url in MIRRORS[name])


def test_gnu_has_two_mirrors() -> None:
    """GNU's own server is there for when the redirector fails."""
    hosts = " ".join(sources(["mirror://gnu/hello/hello-2.10.tar.gz"], None))
    assert "https://ftp.gnu.org/gnu/hello/hello-2.10.tar.gz" in hosts
    assert "https://ftpmirror.gnu.org/hello/hello-2.10.tar.gz" in hosts


def test_mirrors_of_the_caller_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's table replaces an entry; `NIX_MIRRORS_<name>` goes before it, in its order."""
    monkeypatch.setenv("NIX_MIRRORS_gnu", "https://a.example https://b.example/")
    assert sources(["mirror://gnu/f"], None, mirrors={"gnu": ["https://c.example"]}) == (
        "https://a.example/f",
        "https://b.example/f",
        "https://c.example/f",
    )


def test_an_unknown_mirror_is_named() -> None:
    """An unknown mirror is an error that lists the known ones."""
    with pytest.raises(InvalidValue, match="'nowhere'") as caught:
        sources(["mirror://nowhere/f"], None)
    assert "gnu" in caught.value.hint


def test_our_variable_hides_that_of_nix() -> None:
    """`PLXNIX_HASHED_MIRRORS` counts alone if it is set, and set empty means none."""
    nix = {"NIX_HASHED_MIRRORS": "https://a.example  https://b.example"}
    assert hashed_mirrors_from({}) == ()
    assert hashed_mirrors_from(nix) == ("https://a.example", "https://b.example")
    assert hashed_mirrors_from({**nix, "PLXNIX_HASHED_MIRRORS": "https://c.example"}) == (
        "https://c.example",
    )
    assert hashed_mirrors_from({**nix, "PLXNIX_HASHED_MIRRORS": ""}) == ()


@given(
    user=st.text("ab:@%4", min_size=1, max_size=8),
    rest=st.sampled_from(["", "/", "/path", "/p@th", "?a=b", "#c"]),
)
def test_users_and_passwords_are_never_shown(user: str, rest: str) -> None:
    """Everything before a host is hidden, also if it was not encoded as it should be."""
    assert redact(f"https://{user}@host.example{rest}") == f"https://***@host.example{rest}"
    assert redact(f"https://host.example{rest}") == f"https://host.example{rest}"


@pytest.mark.parametrize(
    "name", ["token", "access_token", "X-Amz-Signature", "sig", "password", "api_key", "Key"]
)
def test_secrets_of_a_query_are_never_shown(name: str) -> None:
    """Values that give access are hidden; others, and the names, stay."""
    url = f"https://h.example/f?page=2&{name}=hush&size=3"
    assert redact(url) == f"https://h.example/f?page=2&{name}=***&size=3"
