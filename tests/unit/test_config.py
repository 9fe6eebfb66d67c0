"""Configs: what they hold, what they refuse, and their hashes."""

from __future__ import annotations

import math
from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any

import numpy
import pytest

from plxnix.config import MAX_DEPTH, Config, canonical
from plxnix.errors import InvalidConfig, InvalidName, InvalidReference, InvalidRefpath
from plxnix.model import DRef, RefPath, RRef, selfref
from plxnix.store.record import canonical_context, rhash

A = DRef("dref:" + "a" * 32 + "-first")
B = DRef("dref:" + "b" * 32 + "-second.part")
R = RRef("rref:" + "1" * 32 + "-" + "a" * 32 + "-first")


class Colour(str, Enum):
    """Text with a name, as programs use it for choices."""

    RED = "red"


class Level(int, Enum):
    """A number that is no plain number."""

    LOW = 1


@pytest.mark.parametrize(
    ("value", "said", "advice"),
    [
        ((1, 2), "tuple", "list"),
        (math.nan, "nan", "None"),
        (math.inf, "inf", "None"),
        (-math.inf, "-inf", "None"),
        (b"abc", "bytes", "mkfile"),
        (bytearray(b"abc"), "bytearray", "mkfile"),
        (numpy.float64(1.5), "numpy", "float("),
        (numpy.int64(3), "numpy", "int("),
        (numpy.arange(3), "numpy", "tolist"),
        (numpy.array(3), "numpy", "tolist"),
        (numpy.str_("a"), "numpy", "tolist"),
        ({1, 2}, "set", "sorted"),
        (frozenset("a"), "frozenset", "sorted"),
        (Path("data"), "Path", "fetchlocal"),
        (1j, "complex", "strings"),
        (Level.LOW, "Level", "int("),
        (OrderedDict(a=1), "OrderedDict", "dicts"),
        (object(), "object", "strings"),
        (len, "len", "strings"),
        ("\ud800", "Unicode", "decode"),
    ],
)
def test_what_is_no_json_is_refused(value: object, said: str, advice: str) -> None:
    """Each foreign value is refused wherever it stands, and the error says what to write."""
    for config in ({"x": value}, {"x": [0, value]}, {"x": {"y": [value]}}):
        with pytest.raises(InvalidConfig) as caught:
            Config(config)
        assert said in caught.value.message
        assert advice in caught.value.hint


def test_endless_integers_are_refused() -> None:
    """An integer of more digits than Python writes is refused like any other wrong value."""
    with pytest.raises(InvalidConfig, match="integer is too large"):
        Config({"x": [10**5000]})
    with pytest.raises(InvalidConfig, match="integer is too large"):
        canonical(10**5000)


@pytest.mark.parametrize("value", [(1,), math.nan, {1}, "\udfff", b""])
def test_the_place_is_named(value: object) -> None:
    """The error names the path to the value that is wrong."""
    with pytest.raises(InvalidConfig) as caught:
        Config({"a": {"b": [0, {"c": value}]}})
    assert caught.value.where == "config.a.b[1].c"
    assert "config.a.b[1].c" in str(caught.value)


@pytest.mark.parametrize("key", [1, None, 1.5, True, b"a", (1,)])
def test_keys_are_text(key: object) -> None:
    """A key that JSON would silently turn into text is refused."""
    for config in ({key: 1}, {"a": [{key: 1}]}):
        with pytest.raises(InvalidConfig) as caught:
            Config(config)  # type: ignore[arg-type]
        assert repr(key) in caught.value.message


def test_a_key_is_valid_unicode() -> None:
    """A lone surrogate in a key is refused like one in a value."""
    with pytest.raises(InvalidConfig, match="Unicode"):
        Config({"a\ud800": 1})


@pytest.mark.parametrize("value", [None, [], "text", 3, (("a", 1),)])
def test_a_config_is_an_object(value: Any) -> None:
    """Anything but a mapping is refused."""
    with pytest.raises(InvalidConfig, match="is an object"):
        Config(value)


def test_values_that_hold_themselves_are_refused() -> None:
    """A cycle ends in an error, not in a full stack."""
    loop: list[Any] = [1]
    loop.append(loop)
    ring: dict[str, Any] = {}
    ring["a"] = {"b": ring}
    for value in ({"x": loop}, ring):
        with pytest.raises(InvalidConfig, match="holds itself"):
            Config(value)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}])
def test_depth_has_a_limit(wrap: Any) -> None:
    """The deepest allowed value passes, one level more does not."""
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = wrap(value)
    assert Config.parse(Config({"x": value}).canonical)["x"] == value
    with pytest.raises(InvalidConfig, match="nested deeper"):
        Config({"x": wrap(value)})


@pytest.mark.parametrize("text", [R, R + "/file", f"--model={R}", f"see {R}."])
def test_realizations_are_refused(text: str) -> None:
    """A config that names a realization, also within text, says which and what to do."""
    for config in ({"x": text}, {"x": [[text]]}, {text: 1}):
        with pytest.raises(InvalidConfig, match="refers to a realization") as caught:
            Config(config)
        assert "rref2dref" in caught.value.hint


def test_text_about_references_is_text() -> None:
    """Words that only begin like references are no references."""
    config = Config({"x": ["rref: a word", "dref:abc", "xref:1", "dref:" + "A" * 32 + "-x"]})
    assert config.dependencies == ()


@pytest.mark.parametrize("name", ["", "a b", ".x", "x.drv", "a" * 208, 3, None, ["a"]])
def test_the_name_is_checked(name: object) -> None:
    """The field `name` has to be a name, whatever its type."""
    with pytest.raises(InvalidName):
        Config({"name": name})


@pytest.mark.parametrize(
    "path",
    [
        [A, ".."],
        [A, "a/../../b"],
        [A, "/etc/passwd"],
        [A, ""],
        [A, "a\0"],
        [selfref, ".."],
        [selfref, "a", "/b"],
        [selfref, 1],
        [selfref, None],
        [selfref, ["a"]],
    ],
)
def test_bad_refpaths_are_refused(path: list[Any]) -> None:
    """A refpath or promise that leads out of its folder is refused where it stands."""
    with pytest.raises(InvalidRefpath):
        Config({"x": {"y": path}})


def test_a_mention_with_an_impossible_name_is_refused() -> None:
    """A mention whose name is no name is an error rather than a lost dependency."""
    with pytest.raises(InvalidReference):
        Config({"x": f"cat dref:{'a' * 32}-.hidden"})


def test_dependencies_are_found_everywhere() -> None:
    """References, refpaths, text that mentions one, and keys make dependencies, each once."""
    for value in (
        {"x": A, "y": B},
        {"x": [A, "file"], "y": [[B]]},
        {"x": f"cat {A}/file {B / 'x'} {A}"},
        {"x": {A: {"deep": [B, A]}}},
        {"x": [A, B, "a", 1]},
    ):
        assert Config(value).dependencies == (A, B)
    assert Config({"x": "none"}).dependencies == ()
    assert all(isinstance(dref, DRef) for dref in Config({"x": str(A)}).dependencies)


def test_promises_are_found() -> None:
    """Promises come as parts of paths, in the order of the config."""
    config = Config({"b": [selfref, "x"], "a": [{"c": [selfref, "y", "z"]}], "d": [selfref]})
    assert config.promises == (("x",), ("y", "z"), ())
    assert config.dependencies == ()


def test_resolved_promises_are_refpaths() -> None:
    """`resolved` turns promises into refpaths of the derivation and leaves the config alone."""
    config = Config({"out": [selfref, "x"], "in": [A, "f"], "n": [[selfref, "y"]], "d": {"e": 1}})
    resolved = config.resolved()
    assert resolved["out"] == [config.dref, "x"]
    assert resolved["n"] == [[config.dref, "y"]]
    assert isinstance(resolved["out"], RefPath)
    assert isinstance(resolved["in"], RefPath)
    assert config["out"] == [selfref, "x"]


def test_a_config_cannot_be_changed() -> None:
    """Neither the dict it was made of nor what it gives out leads into it."""
    source: dict[str, Any] = {"a": [1, {"b": 2}]}
    config = Config(source)
    before = config.canonical
    source["a"].append(3)
    config["a"].append(3)
    config["a"][1]["b"] = 9
    config.value()["a"].clear()
    config.resolved()["a"].clear()
    assert config.canonical == before
    assert config.value() == {"a": [1, {"b": 2}]}
    assert Config(config).dref == config.dref
    with pytest.raises(TypeError):
        config["a"] = 1  # type: ignore[index]


def test_text_classes_become_text() -> None:
    """Text of a subclass, as an enumeration or a reference, is written as its text."""
    config = Config({"a": Colour.RED, Colour.RED: A})
    assert config.canonical == b'{"a":"red","red":"' + A.encode() + b'"}'
    assert type(config["a"]) is str


def test_golden_canonical_text() -> None:
    """The canonical text is fixed to the byte: sorted keys, no blanks, UTF-8, shortest floats."""
    value = {
        "title": "été",
        "rate": 0.1,
        "name": "train",
        "steps": [1, 2, {"y": True, "x": None}],
    }
    text = '{"name":"train","rate":0.1,"steps":[1,2,{"x":null,"y":true}],"title":"été"}'
    assert Config(value).canonical == text.encode()
    numbers = [1e16, 1e-7, 5e-324, 1.7976931348623157e308, -0.0, 100.0, 2**70]
    assert canonical(numbers) == (
        b"[1e+16,1e-07,5e-324,1.7976931348623157e+308,-0.0,100.0,1180591620717411303424]"
    )
    assert canonical('"\\\n\x01\x7f\u2028/') == b'"\\"\\\\\\n\\u0001\x7f\xe2\x80\xa8/"'


def test_golden_references() -> None:
    """The hashes of derivations never change, or all stores would be lost."""
    train = Config(
        {"title": "été", "rate": 0.1, "name": "train", "steps": [1, 2, {"y": True, "x": None}]}
    )
    assert train.dref == "dref:5d48b3203ae73da27a0c44e7b74e38e8-train"
    assert Config({}).dref == "dref:44136fa355b3678a1146ad16f7e8649e-unnamed"


def test_golden_realization_hashes() -> None:
    """The hashes of realizations never change; the order within a context counts."""
    nar = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    other = RRef("rref:" + "2" * 32 + "-" + "a" * 32 + "-first")
    dref = Config({"name": "train"}).dref
    assert canonical_context({B: [], A: [R, other]}) == (
        f'{{"{A}":["{R}","{other}"],"{B}":[]}}'.encode()
    )
    assert rhash(dref, {}, nar) == "b480f2724cf4a2e3a7b4aa49f79d3ded"
    assert rhash(dref, {A: [R, other], B: []}, nar) == "1f066ce2e1f1513e4faad724aa6cd09a"
    assert rhash(dref, {B: [], A: [R, other]}, nar) == "1f066ce2e1f1513e4faad724aa6cd09a"
    assert rhash(dref, {A: [other, R], B: []}, nar) == "6f25c804a98c151d4573835dee309956"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1}\n',
        b'{"a":"\\u00e9"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e5}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_only_canonical_text_is_read(text: bytes) -> None:
    """Text that is not a config in canonical form is refused, however it is broken."""
    with pytest.raises(InvalidConfig):
        Config.parse(text)


def test_a_config_is_a_mapping() -> None:
    """It compares and hashes by its canonical text, and reads like a dict."""
    one, two = Config({"a": 1, "b": [2]}), Config({"b": [2], "a": 1})
    assert one == two
    assert hash(one) == hash(two)
    assert one != Config({"a": 1.0, "b": [2]})
    assert one != {"a": 1, "b": [2]}
    assert dict(one) == {"a": 1, "b": [2]}
    assert (len(one), one.get("c"), "a" in one) == (2, None, True)
    assert repr(one) == "Config({'a': 1, 'b': [2]})"
    assert Config({}).name == "unnamed"
