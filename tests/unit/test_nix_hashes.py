"""Hashes, base 32 and store paths: what is accepted, what is refused, and why."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest

from plxnix.errors import InvalidHash, InvalidName, NixFormatError
from plxnix.nix import base32, paths
from plxnix.nix.hashes import ALGORITHMS, Hash

EMPTY = Hash.of_bytes(b"")


@pytest.mark.parametrize(
    "text",
    [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ],
)
def test_all_forms_are_one_hash(text: str) -> None:
    """A sha256 is known by its length, its prefix or the argument."""
    assert Hash.parse(text) == Hash.parse(text, "sha256") == EMPTY


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_the_algorithm_follows_from_the_length(algorithm: str) -> None:
    """Hex and base 64 of each algorithm are recognised bare."""
    digest = Hash(algorithm, hashlib.new(algorithm, b"x").digest())
    assert Hash.parse(digest.hex) == Hash.parse(digest.base64) == digest


def test_32_digits_are_hex_before_base_32() -> None:
    """32 hex digits are an md5, unless a sha1 is expected, which has 32 digits of base 32."""
    digits = "0" * 31 + "1"
    assert Hash.parse(digits).algorithm == "md5"
    assert Hash.parse(digits, "sha1").base32 == digits
    assert Hash.parse("z" * 32).algorithm == "sha1"


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("", None),
        ("0" * 63, None),
        ("g" * 64, None),
        ("0" * 64 + "\n", None),
        (" " + "0" * 64, None),
        ("0" * 64, "sha1"),
        ("0" * 64, "blake3"),
        ("0" * 64, ""),
        (f"sha1:{'0' * 64}", None),
        (f"sha512-{EMPTY.base64}", None),
        (f"sha256:{EMPTY.hex}", "sha512"),
        (f"sha256-{EMPTY.hex}", None),
        (f"sha256-{EMPTY.base32}", None),
        ("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", None),
        ("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=", None),
        ("sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=", None),
        ("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSu===", None),
        ("SHA256:" + EMPTY.hex, None),
        ("z" * 52, None),
        (None, None),
        (b"0" * 64, None),
    ],
)
def test_what_is_no_hash_is_refused(text: str, algorithm: str | None) -> None:
    """The error shows the value and says which forms there are."""
    with pytest.raises(InvalidHash) as caught:
        Hash.parse(text, algorithm)
    assert (repr(text)[1:20] in str(caught.value)) or algorithm is not None
    assert caught.value.hint


def test_hashes_are_values() -> None:
    """They are equal, ordered and hashed by value, and print as SRI."""
    assert {Hash.parse(EMPTY.sri), EMPTY} == {EMPTY}
    assert sorted([EMPTY, Hash("md5", b"z" * 16)])[1] == EMPTY
    assert f"{EMPTY}" == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_files_are_hashed_in_pieces(algorithm: str, tmp_path: Path) -> None:
    """A file of several pieces has the hash of its bytes, and is never in memory as a whole."""
    data = bytes(range(256)) * 20000
    path = tmp_path / "file"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        found = Hash.of_file(path, algorithm)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert found == Hash.of_bytes(data, algorithm)
    assert found.digest == hashlib.new(algorithm, data).digest()


def test_unknown_algorithms_are_refused() -> None:
    """An algorithm that Nix lacks makes no hash, though Python may have it."""
    with pytest.raises(InvalidHash, match="sha384"):
        Hash.of_bytes(b"", "sha384")


@pytest.mark.parametrize("text", ["0", "zz", "000", "e0", "0A", "0\n", "00é", "z" * 52])
def test_text_that_is_not_base_32_is_refused(text: str) -> None:
    """A wrong length, a foreign letter, and bits beyond the last byte."""
    with pytest.raises(InvalidHash):
        base32.decode(text)


# -- names and paths ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "-", "a.b", "_=?+", "0", "x" * 207, "a.drv.x", "drv"])
def test_legal_names(name: str) -> None:
    """The whole alphabet of Nix, and 207 bytes."""
    assert paths.check_name(name) == name
    assert paths.sanitise_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "a b", "a/b", "a%20b", "é", "a\n", "a~", "x" * 208, "a.drv"]
)
def test_illegal_names(name: str) -> None:
    """A name that some version of Nix refuses, or that gives no derivation, is refused."""
    with pytest.raises(InvalidName):
        paths.check_name(name)


def test_other_paths_have_more_names() -> None:
    """What is no derivation may end in .drv, start with a dot and have 211 bytes."""
    for name in ("a.drv", ".a", "...", "x" * 211):
        assert paths.check_name(name, allow_drv=True) == name
    for name in (".", "..", ".-a", "..-a", "", "x" * 212, "a b"):
        with pytest.raises(InvalidName):
            paths.check_name(name, allow_drv=True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hello-2.10.tar.gz", "hello-2.10.tar.gz"),
        ("a%20b.txt", "a-20b.txt"),
        ("dl?f=a&x=1", "dl?f=a-x=1"),
        (".gitignore", "gitignore"),
        ("...", "source"),
        ("", "source"),
        ("é", "-"),
        ("x.drv", "x-drv"),
        (".drv", "drv"),
        ("y" * 300, "y" * 207),
        ("y" * 203 + ".drvs", "y" * 203 + "-drv"),
    ],
)
def test_names_are_made_legal(text: str, name: str) -> None:
    """Any text becomes a legal name that is near to it."""
    assert paths.sanitise_name(text) == name


def test_references_are_a_set() -> None:
    """Order and repetition of references do not change a path, but references do."""
    one, two = paths.text_path("a", b""), paths.text_path("b", b"")
    path = paths.text_path("c", b"", [one, two])
    assert path == paths.text_path("c", b"", [two, one, two]) != paths.text_path("c", b"")
    assert paths.source_path("c", EMPTY, [one]) != paths.source_path("c", EMPTY)


def test_a_source_has_a_sha256() -> None:
    """Other algorithms have other paths, and are refused rather than given a wrong one."""
    with pytest.raises(NixFormatError, match="sha256"):
        paths.source_path("a", Hash.of_bytes(b"", "sha1"))


def test_output_names_are_in_the_path() -> None:
    """The output `out` has the derivation's name; others have theirs after it, within 211."""
    digest = bytes(32)
    assert paths.output_path("a", "out", digest).endswith("-a")
    assert paths.output_path("a", "dev", digest).endswith("-a-dev")
    with pytest.raises(InvalidName):
        paths.output_path("x" * 207, "development", digest)


def test_paths_are_taken_apart() -> None:
    """A store path is its hash and its name."""
    path = paths.text_path("a.txt", b"")
    digits, name = paths.split(path)
    assert f"/nix/store/{digits}-{name}" == path
    assert name == "a.txt"


@pytest.mark.parametrize(
    "path",
    [
        "/nix/store/short-a",
        "/nix/store/" + "0" * 32,
        "/nix/store/" + "0" * 32 + "-",
        "/nix/store/" + "e" * 32 + "-a",
        "/nix/store/" + "0" * 32 + "-a/b",
        "/nix/store/" + "0" * 32 + "-a\n",
        "/gnu/store/" + "0" * 32 + "-a",
        "0" * 32 + "-a",
    ],
)
def test_what_is_no_store_path_is_refused(path: str) -> None:
    """Paths below one, elsewhere or with a broken hash."""
    with pytest.raises(NixFormatError):
        paths.split(path)
