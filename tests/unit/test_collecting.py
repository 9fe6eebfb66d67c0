"""Garbage collection from Python: what is kept by which argument, and what comes back."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from plxnix.collecting import collect_garbage
from plxnix.errors import InvalidValue, NotInStore, StoreError
from plxnix.model import RRef
from plxnix.store import Fsync, Store, current_storage
from plxnix.store.roots import add_root
from tests.store_samples import build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with three runs, made from data, and notes without a score."""
    store = Store.init(tmp_path / "store", Fsync.NONE)
    data = build(store, "data", entries={"score": b"words"}, started=time.time())
    for number, score in enumerate([b"0.5", b"0.9", b"0.1"]):
        build(store, "run", [data], {"score": score}, started=float(number))
    build(store, "notes", started=10.0)
    return store


def left(store: Store) -> list[str]:
    """Return the names of what is there, with the scores."""
    found = []
    opened = Store(store.root)
    for dref in opened.derivations():
        for rref in opened.realizations(dref):
            score = Path(opened.path(rref), "score")
            found.append(f"{dref.name} {score.read_text()}" if score.exists() else dref.name)
    return sorted(found)


KEPT: list[tuple[dict[str, Any], list[str]]] = [
    ({"keep": "data"}, ["data words"]),
    ({"keep": ["notes", "data"]}, ["data words", "notes"]),
    ({"keep_latest": 1}, ["data words", "notes", "run 0.1"]),
    ({"keep_best": {"score": 2}}, ["data words", "run 0.5", "run 0.9"]),
    ({"keep_best": [("score", -1)]}, ["data words", "run 0.1"]),
    ({"older_than": 3600}, ["data words"]),
    ({"older_than": timedelta(hours=1)}, ["data words"]),
    ({"max_size": 0, "keep": "notes"}, ["notes"]),
    ({"max_size": 10**9}, ["data words", "notes", "run 0.1", "run 0.5", "run 0.9"]),
    ({"everything": True}, []),
]


@pytest.mark.parametrize(("arguments", "expected"), KEPT)
def test_what_stays(store: Store, arguments: dict[str, Any], expected: list[str]) -> None:
    """Each argument keeps what it says; a dry run says the same, and deletes nothing."""
    given = {"everything": True, **arguments}
    before = left(store)
    plan = collect_garbage(store, dry_run=True, **given)
    assert left(store) == before
    done = collect_garbage(store, **given)
    assert (done.deleted, done.kept, done.freed) == (plan.deleted, plan.kept, plan.freed)
    assert left(store) == expected
    assert len(done.deleted) == len(before) - len(expected)


def test_links_and_roots(store: Store, tmp_path: Path) -> None:
    """Roots count, and so do other links that are named; the current store is meant."""
    rrefs = {
        str(rref.name): rref for dref in store.derivations() for rref in store.realizations(dref)
    }
    add_root(store, tmp_path / "result", rrefs["data"])
    (tmp_path / "links").mkdir()
    (tmp_path / "links/notes").symlink_to(store.path(rrefs["notes"]))
    with current_storage(store):
        done = collect_garbage(links=[tmp_path / "links"])
    assert left(store) == ["data words", "notes"]
    assert set(done.kept) == {rrefs["data"], rrefs["notes"]}
    assert {one.rref.name for one in done.deleted} == {"run"}


def test_nothing_is_kept(store: Store) -> None:
    """Without a root nothing is deleted, unless that is meant."""
    before = left(store)
    with pytest.raises(StoreError, match="nothing is kept"):
        collect_garbage(store)
    assert len(collect_garbage(store, dry_run=True).deleted) == len(before)
    with pytest.raises(NotInStore):
        collect_garbage(store, keep=RRef("rref:" + "0" * 32 + "-" + "1" * 32 + "-no"))
    assert left(store) == before


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("older_than", -1),
        ("older_than", float("nan")),
        ("older_than", "30d"),
        ("older_than", timedelta(-1)),
        ("max_size", "10G"),
        ("max_size", -1),
        ("max_size", True),
        ("keep_latest", 0),
        ("keep_latest", 1.5),
        ("keep_best", {"score": 0}),
        ("keep_best", {"score": "3"}),
    ],
)
def test_values_that_mean_nothing(store: Store, argument: str, value: object) -> None:
    """What is no limit is refused, and nothing is deleted."""
    before = left(store)
    with pytest.raises(InvalidValue, match=argument):
        collect_garbage(store, everything=True, **{argument: value})  # type: ignore[arg-type]
    assert left(store) == before
