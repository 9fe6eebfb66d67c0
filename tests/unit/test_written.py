"""Values as they are written in a shell: what is JSON, what is text, and what parameters want."""

from __future__ import annotations

import inspect
import json
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.written import read, wanted_by

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("1.0", 1.0),
        ("1e-3", 0.001),
        ("2.5E4", 25000.0),
        ("true", True),
        ("null", None),
        ('"2.10"', "2.10"),
        ("[2.10]", [2.1]),
        ("2.10", "2.10"),
        ("-0.30", "-0.30"),
        ("0.12345678901234567890", "0.12345678901234567890"),
        ("12e4567", "12e4567"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("007", "007"),
        ("1.2.3", "1.2.3"),
        ("", ""),
        ("[" * 100000, "[" * 100000),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_nothing_is_lost(text: str, value: Any) -> None:
    """A value is JSON; what JSON cannot hold, or would hold only in part, is text."""
    found = read(text)
    assert (type(found), found) == (type(value), value)


@given(JSON)
def test_json_comes_back(value: Any) -> None:
    """What was written as JSON is read as that, whatever it is."""
    assert read(json.dumps(value)) == value


@given(st.text())
def test_text_comes_back(text: str) -> None:
    """Where text is wanted, it is text; quotes are JSON's, so that all text can be written."""
    assert read(json.dumps(text), "text") == text
    if not text.strip().startswith('"'):
        assert read(text, "text") == text


def test_numbers_where_they_are_wanted() -> None:
    """For a number, all spellings do, and what is none is text still."""
    assert read("2.10", "number") == 2.1
    assert read("1e999", "number") == float("inf")
    assert read("two", "number") == "two"


def test_null_and_text() -> None:
    """Where text or None is wanted, null is None; where text is wanted it is text."""
    assert read("null", "text or null") is None
    assert read("null", "text") == "null"
    assert read("5", "text or null") == "5"


def typed(
    a: str,
    b: float,
    c: Optional[str],  # noqa: UP045
    d: int | None,
    e: Any = "x",
    f: Any = 1,
    *,
    i: list[str],
    j: float = 1,
    k: object = "x",
) -> None:
    """Parameters of all kinds, with annotations that are text."""


def test_what_parameters_want() -> None:
    """An annotation says it, else the default; what says nothing wants nothing."""
    parameters = inspect.signature(typed).parameters
    expected = {
        "a": "text",
        "b": "number",
        "c": "text or null",
        "d": "number",
        "e": "text",
        "f": "number",
        "i": "",
        "j": "number",
        "k": "text",
    }
    assert {name: wanted_by(one) for name, one in parameters.items()} == expected
    evaluated = inspect.signature(typed, eval_str=True).parameters
    assert {name: wanted_by(one) for name, one in evaluated.items()} == expected


@pytest.mark.parametrize(
    ("default", "wanted"), [("x", "text"), (1, "number"), (0.5, "number"), (True, ""), (None, "")]
)
def test_what_bare_parameters_want(default: object, wanted: str) -> None:
    """Without an annotation the default says it; true is no number."""
    bare = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, default=default)
    assert wanted_by(bare) == wanted
    optional = bare.replace(annotation="typing.Optional[str]")
    assert wanted_by(optional) == "text or null"


def test_what_a_default_elsewhere_wants() -> None:
    """The decorator's default counts where the parameter has none; an annotation comes first."""
    parameters = inspect.signature(typed).parameters
    assert wanted_by(None) == ""
    assert wanted_by(None, "2.9") == "text"
    assert wanted_by(parameters["i"], 0.5) == "number"
    assert wanted_by(parameters["a"], 0.5) == "text"
