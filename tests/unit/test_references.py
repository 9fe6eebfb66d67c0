"""References as people write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import Build, DRef, Registry, Store, build_wrapper, instantiate, match_all, mkdrv
from plxnix.errors import InvalidReference, NotInStore
from plxnix.realize.realizing import realizeMany
from plxnix.references import resolve_one, resolve_realization, resolve_reference


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.init(tmp_path / "plxnix")


def realized(store: Store, name: str, count: int = 1, **fields: Any) -> DRef:
    """Register a derivation with `count` realizations."""

    def fill(build: Build) -> None:
        for number, folder in enumerate(build.outpaths):
            (folder / "number").write_text(str(number))

    def stage() -> DRef:
        return mkdrv({"name": name, **fields}, match_all(), build_wrapper(fill, count))

    closure = instantiate(stage, registry=Registry(store))
    realizeMany(closure, force_rebuild=True)
    return closure.dref


WAYS: list[Callable[[DRef], str]] = [
    str,
    lambda dref: dref.name,
    lambda dref: dref.dhash,
    lambda dref: dref.dhash[:8],
    lambda dref: dref[:13],
    lambda dref: dref[5:],
    lambda dref: f"{dref.dhash}-{dref.name[:2]}",
]


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_name_a_derivation(store: Store, way: Callable[[DRef], str]) -> None:
    """The reference, its head with or without `dref:`, its folder's name, its name."""
    dref = realized(store, "data")
    realized(store, "other")
    assert resolve_reference(store, way(dref)) == [dref]


def test_ways_to_name_a_realization(store: Store, tmp_path: Path) -> None:
    """The reference, its head, its folder, a path in it, and links that lead into it."""
    (rref,) = store.realizations(realized(store, "data"))
    folder = store.path(rref)
    link, chain = tmp_path / "link", tmp_path / "chain"
    link.symlink_to(folder)
    chain.symlink_to(link)
    for text in (rref, rref[:20], rref.rhash, rref.rhash[:9], folder, f"{folder}/number"):
        assert resolve_reference(store, text) == [rref], text
    assert resolve_reference(store, str(link)) == [rref]
    assert resolve_reference(store, str(chain)) == [rref]


def test_links_are_found_by_their_bare_names(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in the current folder needs no `./`, but a derivation of that name goes first."""
    monkeypatch.chdir(tmp_path)
    data = realized(store, "data")
    (rref,) = store.realizations(data)
    for name in ("result", "data"):
        (tmp_path / name).symlink_to(store.path(rref))
    assert resolve_reference(store, "result") == [rref]
    assert resolve_reference(store, "data") == [data]
    assert resolve_reference(store, "./data") == [rref]


def test_a_store_behind_a_link(store: Store, tmp_path: Path) -> None:
    """Paths are understood if the store itself is reached through a link, or they are."""
    (rref,) = store.realizations(realized(store, "data"))
    (tmp_path / "alias").symlink_to(store.root)
    alias = Store(tmp_path / "alias")
    assert resolve_reference(alias, store.path(rref)) == [rref]
    assert resolve_reference(store, alias.path(rref)) == [rref]


def test_a_derivations_folder(store: Store) -> None:
    """The folder of a derivation, and its config, stand for the derivation."""
    dref = realized(store, "data")
    folder = store.layout.derivation(dref)
    assert resolve_reference(store, folder) == [dref]
    assert resolve_reference(store, f"{folder}/config.json") == [dref]


def test_several_of_one_name(store: Store) -> None:
    """A name that several derivations have stands for all, or is an error that lists them."""
    drefs = sorted(realized(store, "data", size=size) for size in range(3))
    assert resolve_reference(store, "data") == drefs
    with pytest.raises(InvalidReference) as caught:
        resolve_one(store, "data")
    assert all(dref in caught.value.message for dref in drefs)
    assert "may mean 3 derivations" in caught.value.message


def test_the_realization_of_a_derivation(store: Store) -> None:
    """A derivation stands for its only realization; of several the latest, if that is said."""
    single, several = realized(store, "single"), realized(store, "several", 3)
    assert [resolve_realization(store, "single")] == store.realizations(single)
    with pytest.raises(InvalidReference, match="may mean 3 realizations"):
        resolve_realization(store, "several")
    latest = resolve_realization(store, "several", latest=True)
    assert latest in store.realizations(several)
    assert store.record(latest).index == 0


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("dta", "is it data?"),
        ("stages.py:data", "is it data?"),
        ("nothing-like-it", "`plxnix ls`"),
        ("abc", "at least 4 of its 32 digits"),
        ("dref:" + "0" * 32 + "-data", "instantiate"),
        ("rref:" + "0" * 32 + "-" + "0" * 32 + "-data", "realize"),
        ("00000000000000000000000000000000", "`plxnix ls`"),
        ("/nowhere/at/all", "a link to a realization"),
        ("", "`plxnix ls`"),
        (".", "a link to a realization"),
    ],
)
def test_what_is_not_there(store: Store, text: str, hint: str) -> None:
    """What means nothing is said with the value, and what might have been meant."""
    realized(store, "data")
    with pytest.raises(NotInStore) as caught:
        resolve_reference(store, text)
    assert text in caught.value.message
    assert hint in caught.value.hint


def test_damaged_configs_do_not_matter(store: Store) -> None:
    """References are found by names of folders: what is damaged can be named, to remove it."""
    dref = realized(store, "data")
    config = Path(store.layout.config(dref))
    config.chmod(0o600)
    config.write_text("{")
    fresh = Store(store.root)
    assert resolve_reference(fresh, str(dref)) == [dref]
    assert resolve_reference(fresh, "data") == [dref]
