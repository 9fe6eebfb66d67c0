"""Shell functions: ls, cat, rm, du, find, diff and links for what is in a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    DRef,
    Registry,
    autostage,
    copyclosure,
    current_registry,
    fsinit,
    mkdrv,
    mknode,
    nix_build,
    sunpack,
)
from plxnix.comparison import MISSING
from plxnix.errors import InvalidReference, InvalidValue, NotInStore, PlxnixError, StoreError
from plxnix.model import RRef
from plxnix.realize.build import Build
from plxnix.realize.matchers import match_latest
from plxnix.shell_functions import (
    catref,
    diff,
    du,
    find,
    linkdref,
    linkrref,
    linkrrefs,
    lsref,
    rmref,
    shell,
    shellref,
)
from plxnix.store import Store, current_storage
from plxnix.store.gc import plan_gc
from plxnix.store.roots import linked, roots
from tests.store_samples import Entry, build

FILES: dict[str, Entry] = {"data/one.txt": b"one\ntwo\n", "top.txt": b"top\n", "link": "top.txt"}


def test_lsref(store: Store) -> None:
    """A derivation has hashes of realizations, a realization has files, a path what is there."""
    rref = build(store, "one", entries=FILES)
    other = build(store, "one", entries={})
    assert lsref(rref.dref, store=store) == sorted([rref.rhash, other.rhash])
    assert lsref(rref, store=store) == ["data", "link", "top.txt"]
    assert lsref(str(rref), ["data"], store=store) == ["one.txt"]
    assert lsref(Path(store.path(rref)), ["data"], store) == ["one.txt"]
    assert lsref(other, store=store) == []
    with current_storage(store):
        assert lsref(other) == []


def test_catref(store: Store) -> None:
    """Lines come with their ends, from a realization, a refpath, a path."""
    rref = build(store, "one", entries=FILES)
    assert catref(rref, ["data", "one.txt"], store) == ["one\n", "two\n"]
    assert catref(rref.dref / "data" / "one.txt", store=store) == ["one\n", "two\n"]
    assert catref(Path(store.path(rref), "link"), store=store) == ["top\n"]
    for wrong in ([], ["data"]):
        with pytest.raises(InvalidReference, match="is no file"):
            catref(rref, wrong, store)


@pytest.mark.parametrize("function", [lsref, catref, shell, rmref])
def test_garbage_is_refused(store: Store, function: Callable[..., Any]) -> None:
    """What is no reference, and what is not in the store, is an error of its kind."""
    with pytest.raises(InvalidReference):
        function("foobar", store=store)
    for gone in (DRef.make("0" * 32, "x"), RRef.make("0" * 32, DRef.make("0" * 32, "x"))):
        with pytest.raises(NotInStore):
            function(gone, store=store)


@pytest.mark.parametrize("parts", [["..", "config.json"], ["/etc/passwd"], ["missing"]])
def test_parts_stay_inside(store: Store, parts: list[str]) -> None:
    """The way to a file cannot lead out of its realization."""
    rref = build(store, "one", entries=FILES)
    for function in (lsref, catref):
        with pytest.raises(PlxnixError):
            function(rref, parts, store)


def test_a_build_is_its_first_folder(store: Store) -> None:
    """A build stands for its first output folder, once it has one."""
    from plxnix import build_setoutpaths

    rref = build(store, "one")
    run = Build(store, rref.dref, {})
    with pytest.raises(InvalidValue, match="not made yet"):
        lsref(run, store=store)
    folder = build_setoutpaths(run, 2)[0]
    (folder / "half").write_text("x\n")
    assert lsref(run, store=store) == ["half"]
    assert catref(run, ["half"], store) == ["x\n"]


def test_rmref(store: Store) -> None:
    """What is needed stays, unless all above goes too or force is used."""
    below = build(store, "below")
    above = build(store, "above", [below])
    with pytest.raises(StoreError, match="is needed by"):
        rmref(below, store)
    rmref(above, store)
    assert store.realizations(above.dref) == []
    assert store.config(above.dref)
    rmref(below.dref, store, recursive=True)
    assert list(store.derivations()) == []
    below = build(store, "below")
    build(store, "above", [below])
    rmref(below, store, force=True)
    assert store.realizations(below.dref) == []
    rmref(below.dref, store, force=True)
    assert [dref.name for dref in store.derivations()] == ["above"]


def test_rmref_spares_roots(store: Store, tmp_path: Path) -> None:
    """A root keeps its realization."""
    rref = build(store, "kept")
    linkrref(rref, tmp_path, store=store)
    with pytest.raises(StoreError, match="kept by the root"):
        rmref(rref, store)


def test_shell(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$SHELL runs in the place that is meant, and its exit status comes back."""
    program = tmp_path / "sh"
    program.write_text(f"#!/bin/sh\npwd >> {tmp_path}/seen\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("SHELL", str(program))
    rref = build(store, "one", entries=FILES)
    assert shell(rref, store) == 3
    shellref(rref.dref, store)
    shell(store=store)
    shell(Path(store.path(rref), "data", "one.txt"), store)
    seen = (tmp_path / "seen").read_text().splitlines()
    top = store.path(rref)
    assert seen == [top, os.path.dirname(top), store.layout.store, f"{top}/data"]
    monkeypatch.setenv("SHELL", str(tmp_path / "none"))
    with pytest.raises(InvalidValue, match="cannot be run"):
        shell(rref, store)


def test_du(store: Store) -> None:
    """Sizes add up; a derivation that is not realized has that of its config."""
    assert du(store) == {}
    one = build(store, "one", entries={"a": bytes(1000)})
    two = build(store, "one", entries={"a": bytes(5000)})
    ((dref, (total, sizes)),) = du(store).items()
    assert dref == one.dref
    assert sizes == {one: store.record(one).nar_size, two: store.record(two).nar_size}
    assert total == sum(sizes.values()) + len(store.config(dref).canonical)
    Path(store.layout.record(one)).unlink()
    assert du(Store(store.root))[dref][1][one] == 0


def test_find(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, times and fields choose; the order is that of the starts."""
    late = build(store, "train", entries={"late": b""}, started=1000.0)
    early = build(store, "train", started=500.0)
    other = build(store, "train2", started=700.0)
    assert find(store=store) == [early, other, late]
    assert find("train", store=store) == [early, late]
    assert find("tr*", newer=700, store=store) == [other, late]
    assert find(older=700, store=store) == [early]
    monkeypatch.setattr("time.time", lambda: 1001.0)
    assert find(newer=-2, store=store) == [late]
    assert find(older=-400, store=store) == [early]
    assert find(early.dref, store=store) == [early, late]
    assert find("nothing", store=store) == []


def staged(registry: Registry, name: str, **fields: object) -> DRef:
    """Register a stage that has a name and fields."""
    return mkdrv({"name": name, **fields}, match_latest(), lambda *_: [], registry)


def test_find_by_stage_and_field(store: Store) -> None:
    """A stage stands for its name and is not written; fields of objects have dots."""
    from plxnix.store import Record
    from plxnix.store.publication import publish
    from tests.store_samples import derive

    dref = derive(store, "model", model={"rate": 0.5, "deep": True})
    rref = publish(store, dref, store.session().folder("x"), Record({}, "", 0))
    assert find(where={"model.rate": 0.5}, store=store) == [rref]
    for wrong in ({"model.rate": 0.6}, {"rate": 0.5}, {"model.rate.x": 1}, {"model.deep": 1}):
        assert find(where=wrong, store=store) == []
    before = list(store.derivations())

    def stage(r: Registry) -> DRef:
        return staged(r, "model", other=1)

    assert find(stage, store=store) == [rref]
    assert list(store.derivations()) == before


def test_diff_of_configs(store: Store) -> None:
    """Fields that differ are named, with both values, whatever their depth."""

    def one(r: Registry) -> DRef:
        return staged(r, "a", same=1, rate=0.1, layers=[1, 2], gone=None, flag=True)

    def two(r: Registry) -> DRef:
        return staged(r, "a", same=1, rate=0.2, layers=[1, 3, 4], flag=1)

    found = diff(one, two, store)
    assert {(field.path, field.before, field.after) for field in found.fields} == {
        ("rate", 0.1, 0.2),
        ("layers[1]", 2, 3),
        ("layers[2]", MISSING, 4),
        ("gone", None, MISSING),
        ("flag", True, 1),
    }
    assert "layers[2]: nothing -> 4" in list(found.lines())
    assert not diff(one, one, store)


def test_diff_of_trees(store: Store) -> None:
    """Files that were added, removed or changed are named, with the lines that changed."""
    one = build(store, "one", entries=FILES)
    two = build(
        store,
        "one",
        entries={"data/one.txt": b"one\n2\n", "link": "data", "new": b"", "top.txt": b"TOP\n"},
    )
    found = diff(one, two, store)
    assert found.fields == ()
    kinds = {change.path: change.kind for change, _ in found.files}
    assert kinds == {
        "data/one.txt": "contents",
        "link": "target",
        "new": "extra",
        "top.txt": "contents",
    }
    text = "\n".join(found.lines())
    for line in ("  -two", "  +2", "  -top", "  +TOP", "new is only in the second: a file"):
        assert line in text
    assert diff(one, one.dref, store).files == ()
    assert not diff(one, one, store)


def test_links_are_roots(store: Store, tmp_path: Path) -> None:
    """A link has the stage's name and time, leads to the realization and keeps it."""
    rref = build(store, "plot", started=86400.0)
    link = linkrref(rref, tmp_path / "links", store=store)
    assert link == tmp_path / "links" / "_rref_19700102T000000Z_plot"
    assert os.path.realpath(link) == store.path(rref)
    assert [root.rref for root in roots(store)] == [rref]
    others = [build(store, "plot", entries={str(number): b""}) for number in range(2)]
    made = linkrrefs([rref, *others], tmp_path, "%(N)s", store)
    assert [path.name for path in made] == ["plot", "plot-2", "plot-3"]
    assert linkrrefs([others[0]], tmp_path, "%(N)s", store) == made[:1]
    assert os.path.realpath(made[0]) == store.path(others[0])


@pytest.mark.parametrize("form", ["%(X)s", "%d", "%(N)", "a/b", "", "..", "%"])
def test_formats_that_are_none(store: Store, tmp_path: Path, form: str) -> None:
    """A format that gives no name for a link is refused."""
    rref = build(store, "plot")
    for function, reference in ((linkrref, rref), (linkdref, rref.dref)):
        with pytest.raises(InvalidValue):
            function(reference, tmp_path, form, store)


def test_links_in_folders_keep(store: Store, tmp_path: Path) -> None:
    """Collection can start from what links in folders lead to, derivations included."""
    below = build(store, "below")
    kept = build(store, "kept", [below])
    lone = build(store, "lone")
    gone = build(store, "gone")
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    (folder / "kept").symlink_to(store.path(kept))
    linkdref(lone.dref, tmp_path / "mine", store=store)
    (folder / "elsewhere").symlink_to("/")
    Path(tmp_path, gone.dref[5:]).mkdir()
    (folder / "alike").symlink_to(tmp_path / gone.dref[5:])
    (folder / "dangling").symlink_to(store.path(gone) + "x")
    drefs, rrefs = linked(store, [tmp_path / "mine"])
    assert (drefs, rrefs) == ([lone.dref], [kept])
    assert linked(store, [folder / "kept"]) == ([], [kept])
    plan = plan_gc(store, rrefs, drefs=drefs)
    assert {one.rref for one in plan.deleted} == {gone}
    assert plan.drefs == [gone.dref]
    with pytest.raises(StoreError, match="no folder and no link"):
        linked(store, [tmp_path / "missing"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: copyclosure([], 5), "the store is 5"),  # type: ignore[arg-type]
        (lambda: copyclosure(5, 5), "the store is 5"),  # type: ignore[arg-type]
        (lambda: du(5), "the store is 5"),  # type: ignore[arg-type]
        (lambda: find(store="x"), "the store is 'x'"),  # type: ignore[arg-type]
        (lambda: linkrrefs(5), "realization references: 5"),  # type: ignore[arg-type]
        (lambda: linkrrefs("rref:x"), "realization references: 'rref:x'"),
        (lambda: fsinit(5), "the store's folder is 5"),  # type: ignore[arg-type]
        (lambda: Store([]), r"the store's folder is \[\]"),  # type: ignore[arg-type]
        (lambda: sunpack(5), "the archive is 5"),  # type: ignore[arg-type]
        (lambda: sunpack("a\0b"), r"the archive is 'a\\x00b'"),
        (lambda: autostage(5), "5 is no function"),  # type: ignore[call-overload]
        (lambda: mknode(5), "the config is 5"),  # type: ignore[arg-type]
        (lambda: nix_build(5), "the expression is 5"),  # type: ignore[arg-type]
        (lambda: nix_build(file=5), "the file is 5"),  # type: ignore[arg-type]
    ],
)
def test_what_is_of_another_kind(call: Callable[[], object], message: str, tmp_path: Path) -> None:
    """What is no store, path, reference or function is refused, and shown."""
    store = fsinit(tmp_path / "own")
    with current_registry(Registry(store)), pytest.raises(InvalidValue, match=message) as caught:
        call()
    assert caught.value.hint
