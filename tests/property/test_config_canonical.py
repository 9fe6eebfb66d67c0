"""Laws of canonical JSON and of the dependencies in configs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plxnix.config import Config, canonical
from plxnix.model import DRef, selfref

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.from_regex(r"[0-9A-Za-z+_?=-][0-9A-Za-z+._?=-]{0,20}", fullmatch=True).filter(
    lambda name: not name.endswith(".drv")
)
DREFS = st.builds(
    lambda digits, name: DRef.parse(f"dref:{digits}-{name}"),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    NAMES,
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
OBJECTS = st.dictionaries(TEXT.filter(lambda key: key != "name"), VALUES, max_size=5)


def exact(value: Any) -> Any:
    """Return a value that equals another one's only if both are the same JSON."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value).__name__, repr(value))


def shuffled(value: Any) -> Any:
    """Return an equal value with the keys of all objects in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_reading_and_writing_again_changes_nothing(value: Any) -> None:
    """Canonical text reads back as the same value, and that is written as the same text."""
    text = canonical(value)
    again = json.loads(text)
    assert exact(again) == exact(value)
    assert canonical(again) == text


@given(OBJECTS)
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    """The same config in another order is the same derivation."""
    assert Config(shuffled(value)).dref == Config(value).dref
    assert Config(shuffled(value)) == Config(value)


@given(OBJECTS, OBJECTS)
def test_configs_are_equal_just_if_their_values_are(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two configs have the same text and hash if and only if they are the same JSON."""
    same = exact(one) == exact(other)
    assert (Config(one).canonical == Config(other).canonical) == same
    assert (Config(one).dref == Config(other).dref) == same


@given(OBJECTS, TEXT, VALUES, VALUES)
def test_a_changed_field_is_another_config(
    value: dict[str, Any], key: str, before: Any, after: Any
) -> None:
    """Changing one field changes the hash, unless it is the same JSON as before."""
    field = {"field": {key: before}}
    changed = {"field": {key: after}}
    same = exact(before) == exact(after)
    assert (Config({**value, **field}).dhash == Config({**value, **changed}).dhash) == same


@given(OBJECTS)
def test_a_config_is_read_back(value: dict[str, Any]) -> None:
    """`parse` undoes `canonical`, and copies are equal to what was given."""
    config = Config(value)
    assert Config.parse(config.canonical) == config
    assert exact(config.value()) == exact(value)
    assert exact(dict(config)) == exact(value)


@given(OBJECTS, st.lists(DREFS, max_size=4), TEXT, st.integers(0, 4))
def test_all_mentions_are_dependencies(
    value: dict[str, Any], drefs: list[DRef], around: str, how: int
) -> None:
    """Wherever references stand, and whatever text is around them, they are dependencies."""
    forms: list[Any] = [
        [str(dref) for dref in drefs],
        [[dref, "dir", "file"] for dref in drefs],
        " ".join([around, *(f"{dref / 'file'}" for dref in drefs), around]),
        {dref: [around] for dref in drefs},
        [{"deep": [[f"{around}/{dref}/{around}"]]} for dref in drefs],
    ]
    config = Config({**value, "field": forms[how]})
    assert config.dependencies == tuple(sorted(set(drefs)))


@given(st.lists(st.lists(NAMES, max_size=3), max_size=4))
def test_promises_become_refpaths(paths: list[list[str]]) -> None:
    """Each promise is found in its order, and resolves to a path of this derivation."""
    safe = [[part for part in path if part != ".."] for path in paths]
    config = Config({"out": [[selfref, *path] for path in safe]})
    assert config.promises == tuple(tuple(path) for path in safe)
    assert config.resolved()["out"] == [[config.dref, *path] for path in safe]
