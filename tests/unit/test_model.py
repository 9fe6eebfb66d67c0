"""References, names and refpaths."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from plxnix.errors import InvalidName, InvalidReference, InvalidRefpath, InvalidValue
from plxnix.model import (
    DRef,
    Name,
    RefPath,
    RRef,
    isdref,
    isrefpath,
    isrref,
    isselfpath,
    mkname,
    mkrefpath,
    rref2dref,
    selfref,
)

D = "dref:" + "0123456789abcdef" * 2 + "-model.v1"
R = "rref:" + "f" * 32 + "-" + "0123456789abcdef" * 2 + "-model.v1"


@pytest.mark.parametrize("text", ["a", "A-1+b._?=", "-dash", "_", "9", "a" * 207, "x.drvx"])
def test_legal_names(text: str) -> None:
    """What Nix accepts in a store path is a name."""
    assert Name.parse(text) == text
    assert mkname(text) == text


@pytest.mark.parametrize(
    "text",
    ["", ".hidden", "a b", "a/b", "é", "a\n", "a\0", "a" * 208, "x.drv", "a,b", None, 3, b"a"],
)
def test_illegal_names(text: object) -> None:
    """Anything else is refused, and the message shows it."""
    with pytest.raises(InvalidName) as caught:
        Name.parse(text)
    assert repr(text) in caught.value.message
    assert caught.value.hint
    assert isinstance(caught.value, ValueError)


def test_a_derivation_reference_has_parts() -> None:
    """The hash and the name can be read off, and the parts make the reference again."""
    dref = DRef.parse(D)
    assert (dref.dhash, dref.name) == ("0123456789abcdef" * 2, "model.v1")
    assert (dref.short, RRef(R).short) == ("0123456789ab", "f" * 12)
    assert DRef.make(dref.dhash, dref.name) == dref == D
    assert DRef.parse(dref) is dref


def test_a_realization_reference_has_parts() -> None:
    """The hash, the derivation and the name can be read off."""
    rref = RRef.parse(R)
    assert (rref.rhash, rref.dref, rref.name) == ("f" * 32, D, "model.v1")
    assert RRef.make(rref.rhash, rref.dref) == rref == R
    assert rref2dref(R) == D
    assert isinstance(rref2dref(R), DRef)


BROKEN = [
    "",
    "dref:",
    D[:-9],
    D.upper(),
    D.replace("dref", "ref"),
    D + "\n",
    " " + D,
    D.replace("-", "_", 1),
    D.replace("0", "g", 1),
    D.replace("model", "mo/del"),
    D.replace("0", "٠", 1),
    None,
    7,
    D.encode(),
    [D],
]


@pytest.mark.parametrize("text", [*BROKEN, R])
def test_what_is_no_derivation_reference(text: object) -> None:
    """A malformed reference is refused by `parse` and not recognised."""
    assert not isdref(text)
    with pytest.raises(InvalidReference) as caught:
        DRef.parse(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize("text", [*BROKEN, D, R[:-9], R + "/", R.replace("f", "F", 1)])
def test_what_is_no_realization_reference(text: object) -> None:
    """A malformed reference is refused by `parse` and `rref2dref` and not recognised."""
    assert not isrref(text)
    functions: tuple[Callable[[Any], object], ...] = (RRef.parse, rref2dref)
    for function in functions:
        with pytest.raises(InvalidReference):
            function(text)


def test_references_are_recognised() -> None:
    """Well-formed text is recognised, whether it is a `str` or of its own class."""
    assert isdref(D)
    assert isdref(DRef(D))
    assert isrref(R)
    assert not isdref(R)
    assert not isrref(D)


def test_references_are_text() -> None:
    """References and refpaths go into JSON and pickles as they are."""
    assert json.dumps([DRef(D), RRef(R), DRef(D) / "a"]) == json.dumps([D, R, [D, "a"]])
    for value in (DRef(D), RRef(R), Name("a"), DRef(D) / "a", selfref):
        copy = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
        assert (copy, type(copy)) == (value, type(value))


def test_refpaths_are_built_with_slashes() -> None:
    """`dref / part` is a list in configs and a path in f-strings."""
    path = DRef(D) / "dir" / "sub/file"
    assert path == [D, "dir", "sub/file"]
    assert isinstance(path, RefPath)
    assert f"--input={path}" == f"--input={D}/dir/sub/file"
    assert str(path) == f"{D}/dir/sub/file"
    assert path == mkrefpath(D, ["dir", "sub/file"])
    assert selfref / "out" == [selfref, "out"]
    start = DRef(D) / "a"
    assert (start / "b", start) == ([D, "a", "b"], [D, "a"])


@pytest.mark.parametrize("part", ["", ".", "..", "/etc", "a/../b", "a//b", "a/", "a\0b", "./a"])
def test_refpaths_cannot_leave(part: str) -> None:
    """A part that leads out, or nowhere, is refused by all ways to build a refpath."""
    ways: list[Callable[[], object]] = [
        lambda: DRef(D) / part,
        lambda: selfref / part,
        lambda: DRef(D) / "a" / part,
        lambda: mkrefpath(D, [part]),
        lambda: RefPath.make(D, ["a", part]),
    ]
    for way in ways:
        with pytest.raises(InvalidRefpath) as caught:
            way()
        assert repr(part) in caught.value.message


def test_parts_are_text() -> None:
    """A part of another type is refused, not converted."""
    with pytest.raises(InvalidRefpath, match="7"):
        DRef(D) / 7  # type: ignore[operator]
    with pytest.raises(InvalidValue):
        mkrefpath("model", ["a"])


def test_refpaths_are_recognised() -> None:
    """A refpath is a reference with at least one part; lists of references are none."""
    assert isrefpath([D, "a"])
    assert isrefpath(DRef(D) / "a")
    for value in ([], [D], [D, D], [D, 1], ["a", "b"], (D, "a"), D, None, [R, "a"]):
        assert not isrefpath(value)


def test_promises_are_recognised() -> None:
    """A promise is a list of text headed by `selfref`."""
    assert isselfpath([selfref])
    assert isselfpath([selfref, "a", "b"])
    assert isselfpath(["__self__", "a"])
    for value in ([], [selfref, 1], ["a", selfref], (selfref, "a"), selfref, [D, "a"]):
        assert not isselfpath(value)
