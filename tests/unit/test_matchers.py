"""Matchers: what they select among realizations, and when they ask for another."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import (
    RRef,
    Store,
    match,
    match_all,
    match_best,
    match_exact,
    match_latest,
    match_only,
    match_some,
)
from plxnix.config import Config
from plxnix.errors import AmbiguousMatch, InvalidReference, InvalidValue
from plxnix.realize.matchers import at_least, exact, is_single, latest, number, texthash
from plxnix.realize.registry import Matcher
from plxnix.store import Record
from plxnix.store.publication import publish

#: Makes a realization with these files, started at this time.
Make = Callable[..., RRef]


@pytest.fixture
def make(store: Store) -> Make:
    """Make competing realizations of one derivation."""
    dref = store.add(Config({"name": "compete"}))

    def make(started: float = 0.0, nix: dict[str, bool] | None = None, **files: str) -> RRef:
        folder = Path(store.session().folder("made"))
        for name, text in files.items():
            (folder / name).write_text(text)
        return publish(store, dref, str(folder), Record({}, "", 0, started=started, nix=nix or {}))

    return make


def test_only(store: Store, make: Make) -> None:
    """The only realization is matched; none means realize; two are an error that lists them."""
    assert match_only()(store, []) is None
    a, b = make(x="1"), make(x="2")
    assert match_only()(store, [a]) == [a]
    with pytest.raises(AmbiguousMatch, match="deterministic") as caught:
        match_only()(store, [b, a])
    assert sorted(caught.value.candidates) == sorted([a, b])
    assert caught.value.dref == a.dref
    assert str(a) in caught.value.message
    assert str(b) in caught.value.message


def test_only_prefers_the_sandbox(store: Store, make: Make) -> None:
    """One result of the sandbox stands for all of plain processes; else they are told apart."""
    plain, other = make(1.0, {"sandboxed": False}, x="1"), make(2.0, {"sandboxed": False}, x="2")
    boxed, code = make(3.0, {"sandboxed": True}, x="3"), make(4.0, x="4")
    assert match_only()(store, [plain, boxed, other]) == [boxed]
    with pytest.raises(AmbiguousMatch) as caught:
        match_only()(store, [plain, other])
    assert f"{plain}, made outside of the sandbox on 19" in caught.value.message
    assert f"plxnix rm {plain}`" in caught.value.hint
    with pytest.raises(AmbiguousMatch) as caught:
        match_only()(store, [boxed, code])
    assert f"{boxed}, made in the sandbox on 19" in caught.value.message
    assert f"{code}, made on 19" in caught.value.message
    assert f"plxnix rm {code}`" in caught.value.hint
    boxed_too = make(2.5, {"sandboxed": True}, x="5")
    with pytest.raises(AmbiguousMatch) as caught:
        match_only()(store, [boxed, boxed_too])
    assert f"plxnix rm {boxed_too}`" in caught.value.hint


def test_only_is_single() -> None:
    """Only match_only declares a stage deterministic; that is what export asks."""
    assert is_single(match_only())
    assert not any(map(is_single, (match_all(), match_latest(), lambda *_: None)))


def test_latest(store: Store, make: Make) -> None:
    """The latest by the start of their realizers, latest first, as many as asked for."""
    old, new, middle = make(1.0, x="a"), make(3.0, x="b"), make(2.0, x="c")
    all_of_them = [old, middle, new]
    assert match_latest()(store, all_of_them) == [new]
    assert match_latest(2)(store, all_of_them) == [new, middle]
    assert match_latest(3)(store, all_of_them) == [new, middle, old]
    assert match_latest(4)(store, all_of_them) is None
    assert match_latest()(store, []) is None


def test_all(store: Store, make: Make) -> None:
    """All there are, in an order that does not depend on how they were listed; at least one."""
    rrefs = [make(x=str(n)) for n in range(5)]
    found = match_all()(store, rrefs)
    assert found is not None
    assert sorted(found) == sorted(rrefs)
    assert match_all()(store, rrefs[::-1]) == found
    assert match_all()(store, []) is None


def test_some(store: Store, make: Make) -> None:
    """As many as asked for, the first by a key."""
    rrefs = [make(float(n), x=str(n)) for n in range(4)]
    two = match_some(2)(store, rrefs)
    assert two is not None
    assert len(two) == 2
    assert match_some(2)(store, rrefs[::-1]) == two
    assert match_some(2, latest())(store, rrefs) == [rrefs[3], rrefs[2]]
    assert match_some(5)(store, rrefs) is None


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        (match_best("score"), ["30"]),
        (match_best("score", top=2), ["30", "4"]),
        (match_best("score", minimize=True), ["-5"]),
        (match_best("score", top=2, minimize=True), ["-5", "1e0"]),
        (match_best("score", among=4), ["30"]),
        (match_best("score", among=5), None),
        (match_best("score", top=5), None),
        (match_best("score", top=3, among=1), ["30", "4", "1e0"]),
    ],
    ids=repr,
)
def test_best(store: Store, make: Make, matcher: Matcher, expected: list[str] | None) -> None:
    """Numbers are compared as numbers, greatest first or smallest first, out of enough of them."""
    texts = ["4", " 30\n", "-5", "1e0"]
    by_rref = {make(score=text): text.strip() for text in texts}
    found = matcher(store, list(by_rref))
    assert (None if found is None else [by_rref[rref] for rref in found]) == expected


def test_best_in_json(store: Store, make: Make) -> None:
    """A pointer leads to a number inside a JSON file, through objects and lists (RFC 6901)."""
    a = make(score='{"valid": [{"a/b": 1}, {"a~": 7}]}')
    b = make(score='{"valid": [{"a/b": 2}, {"a~": 3}]}')
    assert match_best("score", pointer="/valid/0/a~1b")(store, [a, b]) == [b]
    assert match_best("score", pointer="/valid/1/a~0")(store, [a, b]) == [a]
    assert match_best("score", pointer="/valid/1/a~0", minimize=True)(store, [a, b]) == [b]
    number_alone = make(score="12")
    assert match_best("score", pointer="")(store, [number_alone]) == [number_alone]


@pytest.mark.parametrize("pointer", ["/loss/x", "/list/2", "/list/x", "/none", "/nothing"])
def test_best_without_the_member(store: Store, make: Make, pointer: str) -> None:
    """Realizations without the member, or with null, do not take part."""
    rref = make(score='{"loss": 1, "list": [1, 2], "none": null}')
    assert match_best("score", pointer=pointer)(store, [rref]) is None


def test_best_without_the_file_or_a_number(store: Store, make: Make) -> None:
    """Those without the file and those with NaN do not take part; infinity does."""
    a, b, c = make(score="nan"), make(other="x"), make(score="1")
    top = make(score="inf")
    assert match_best("score")(store, [a, b]) is None
    assert match_best("score")(store, [a, b, c]) == [c]
    assert match_best("score")(store, [a, b, c, top]) == [top]
    assert match_best("score", top=2)(store, [a, b, c]) is None


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("", None),
        ("seven", None),
        ("1 2", None),
        ("{", "/a"),
        ('{"a": []}', "/a"),
        ('{"a": "x"}', "/a"),
        ('{"a": 1%s}' % ("0" * 400), "/a"),
        ("[" * 100_000, "/a"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_best_of_no_number(store: Store, make: Make, text: str, pointer: str | None) -> None:
    """A file that holds no number is an error of ours that shows it, and not all of it."""
    rref = make(score=text)
    with pytest.raises(InvalidValue) as caught:
        match_best("score", pointer=pointer)(store, [rref])
    assert "score" in caught.value.message
    assert len(caught.value.message) < 400


def test_bad_pointer() -> None:
    """A pointer that is none is refused when the matcher is made."""
    with pytest.raises(InvalidValue, match="not a JSON pointer: 'loss'"):
        match_best("score", pointer="loss")


def test_best_of_what_is_no_text(store: Store, make: Make) -> None:
    """Bytes that are no UTF-8, and folders, are errors too."""
    folder = Path(store.session().folder("bytes"))
    (folder / "score").write_bytes(b"\xff")
    (folder / "folder").mkdir()
    rref = publish(store, make().dref, str(folder), Record({}, "", 0))
    for path in ("score", "folder"):
        with pytest.raises(InvalidValue, match=path):
            match_best(path)(store, [rref])


def test_ties(store: Store, make: Make) -> None:
    """Among equals the smaller reference is first, in whatever order the candidates come."""
    rrefs = sorted(make(1.0, score="1", x=str(n)) for n in range(6))
    for order in (rrefs, rrefs[::-1], rrefs[3:] + rrefs[:3]):
        assert match_best("score", top=2)(store, order) == rrefs[:2]
        assert match_best("score", top=2, minimize=True)(store, order) == rrefs[:2]
        assert match_latest(3)(store, order) == rrefs[:3]


def test_exact(store: Store, make: Make) -> None:
    """Just the named ones, in the order in which they are named; if one is missing: realize."""
    a, b, c = make(x="a"), make(x="b"), make(x="c")
    assert match_exact([c, a])(store, [a, b, c]) == [c, a]
    assert match_exact([a, c])(store, [a, b, c]) == [a, c]
    assert match_exact([b])(store, [a, b, c]) == [b]
    assert match_exact([a, c])(store, [a, b]) is None


@pytest.mark.parametrize("rrefs", [["x"], ["dref:" + "0" * 32 + "-x"]])
def test_exact_of_no_reference(rrefs: list[str]) -> None:
    """What is no reference to a realization is refused when the matcher is made."""
    with pytest.raises(InvalidReference):
        match_exact(rrefs)


def test_exact_of_nothing_or_twice(make: Make) -> None:
    """No realization can never be content, nor one named twice: refused when it is made."""
    with pytest.raises(InvalidValue, match="no realization"):
        match_exact([])
    rref = make(x="1")
    with pytest.raises(InvalidValue, match="twice"):
        match_exact([rref, rref])


def test_composition(store: Store, make: Make) -> None:
    """The best of the latest: `match` trims by one key and asks the next matcher about the rest."""
    scores = ["9", "3", "5", "1"]
    rrefs = [make(float(age), score=score) for age, score in enumerate(scores)]
    best_of_latest = match(latest(), at_least(3), match_best("score"))
    assert best_of_latest(store, rrefs) == [rrefs[2]]
    assert best_of_latest(store, rrefs[2:]) is None
    oldest_two = match(lambda s, r: -s.record(r).started, at_least(2))
    assert oldest_two(store, rrefs) == [rrefs[0], rrefs[1]]


def test_keys(store: Store, make: Make) -> None:
    """Keys can be asked by themselves."""
    rref, other = make(7.0, n="3"), make(x="other")
    assert texthash()(store, rref) == rref.rhash
    assert latest()(store, rref) == 7.0
    assert number("n")(store, rref) == 3.0
    assert number("n", minimize=True)(store, rref) == -3.0
    assert exact([other, rref])(store, rref) == 1
    assert exact([other])(store, rref) is None


def test_at_least(make: Make) -> None:
    """A trim wants some and takes some of them."""
    rrefs = [make(x=str(n)) for n in range(3)]
    assert at_least(2)(rrefs) == rrefs[:2]
    assert at_least(3, 1)(rrefs) == rrefs[:1]
    assert at_least(4, 1)(rrefs) is None


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2", math.inf])
def test_counts(value: int) -> None:
    """Counts are whole numbers of at least one."""
    for maker in (match_latest, match_some, at_least):
        with pytest.raises(InvalidValue, match="at least 1"):
            maker(value)
    with pytest.raises(InvalidValue, match="at least 1"):
        match_best("score", top=value)
    with pytest.raises(InvalidValue, match="at least 1"):
        match_best("score", among=value)


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (match_only(), "match_only()"),
        (match_latest(3), "match_latest(3)"),
        (match_all(), "match_all()"),
        (match_some(2), "match_some(2)"),
        (match_some(2, latest()), "match_some(2, latest)"),
        (match_best("s", top=3), "match_best('s', top=3, minimize=False)"),
        (
            match_best("s", pointer="/a", among=9),
            "match_best('s', top=1, minimize=False, pointer='/a', among=9)",
        ),
        (
            match(latest(), at_least(2), match_only()),
            "match(latest, at_least, match_only())",
        ),
    ],
)
def test_repr(matcher: Matcher, text: str) -> None:
    """A matcher shows itself as it was written, for plans and error messages."""
    assert repr(matcher) == text
