"""Garbage collection: what is kept and why, what goes and in which order."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from plxnix.errors import CorruptEntry, NotInStore, StoreError
from plxnix.model import DRef, RRef
from plxnix.realize.build import build_wrapper
from plxnix.realize.matchers import match_only
from plxnix.realize.realizing import realize1
from plxnix.realize.registry import instantiate, mkdrv
from plxnix.store import Record, Store
from plxnix.store.gc import Garbage, collect, plan_gc
from plxnix.store.record import rhash
from plxnix.store.removal import plan_removal
from plxnix.store.roots import add_root, remove_root, roots
from plxnix.store.verify import verify
from tests.store_samples import build, derive


@pytest.fixture
def chain(store: Store) -> list[RRef]:
    """Data, a model made from it, a plot made from that, and something else, in this order."""
    data = build(store, "data", started=1.0)
    model = build(store, "model", [data], started=2.0)
    plot = build(store, "plot", [model], started=3.0)
    return [data, model, plot, build(store, "other", started=2.5)]


def present(store: Store) -> set[RRef]:
    """Return all realizations that a fresh process sees."""
    opened = Store(store.root)
    return {rref for dref in opened.derivations() for rref in opened.realizations(dref)}


def names(plan_deleted: list[Garbage]) -> list[str]:
    """Return the names of what is deleted, in order."""
    return [garbage.rref.name for garbage in plan_deleted]


def test_roots_keep_what_they_need(store: Store, chain: list[RRef], tmp_path: Path) -> None:
    """The rooted realization and all below it stay, each with its reason; the rest goes."""
    data, model, plot, other = chain
    link = add_root(store, tmp_path / "result", model)
    plan = plan_gc(store)
    assert plan.kept == {model: f"root {link}", data: f"needed by {model}"}
    sizes = {rref: store.record(rref).nar_size for rref in chain}
    assert plan.deleted == [Garbage(other, sizes[other], 2.5), Garbage(plot, sizes[plot], 3.0)]
    assert plan.drefs == sorted([plot.dref, other.dref])
    assert plan.freed == sizes[plot] + sizes[other]
    assert present(store) == set(chain)
    done = collect(store, plan)
    assert (done.deleted, done.drefs, done.freed) == (plan.deleted, plan.drefs, plan.freed)
    assert present(store) == {data, model}
    assert set(Store(store.root).derivations()) == {data.dref, model.dref}
    assert list(verify(store)) == []


def test_keep_is_a_root(store: Store, chain: list[RRef]) -> None:
    """What the caller asks to keep stays with all it needs; it has to be there."""
    data, model, plot, other = chain
    plan = plan_gc(store, keep=[plot, plot])
    assert plan.kept == {
        plot: "asked to keep",
        model: f"needed by {plot}",
        data: f"needed by {model}",
    }
    assert names(plan.deleted) == ["other"]
    with pytest.raises(NotInStore):
        plan_gc(store, keep=[RRef.make("0" * 32, other.dref)])


def test_without_roots_nothing_is_deleted(store: Store, chain: list[RRef], tmp_path: Path) -> None:
    """A store without roots is not emptied by accident, only on request; a plan tells of it."""
    for options in ({}, {"older_than": 10.0}, {"max_size": 0}):
        refused = plan_gc(store, **options)
        assert refused.refused
        assert len(refused.deleted) == len(chain)
        with pytest.raises(StoreError, match="nothing is kept") as caught:
            collect(store, refused, pytest.fail)
        assert "--out-link" in caught.value.hint
        assert "--all" in caught.value.hint
    plan = plan_gc(store, everything=True)
    assert not plan.refused
    assert len(plan.deleted) == len(chain)
    collect(store, plan)
    assert list(store.derivations()) == []
    assert plan_gc(store).deleted == []
    add_root(store, tmp_path / "result", build(store, "one"))
    planned = plan_gc(store)
    remove_root(store, tmp_path / "result")
    with pytest.raises(StoreError, match="nothing is kept"):
        collect(store, planned)


def test_a_context_keeps_all_that_it_lists(store: Store) -> None:
    """Competing realizations stay if they were selected, and go if they were not."""
    runs = [build(store, "run", entries={"n": b"%d" % n}) for n in range(4)]
    best = build(store, "best", [runs[2], runs[0]])
    plan = plan_gc(store, keep=[best])
    assert set(plan.kept) == {best, runs[0], runs[2]}
    assert {garbage.rref for garbage in plan.deleted} == {runs[1], runs[3]}
    assert plan.drefs == []


def test_derivations_without_results(store: Store, chain: list[RRef]) -> None:
    """A derivation that was never realized goes; one that a kept one depends on stays."""
    derive(store, "unborn", [chain[0].dref])
    unselected = derive(store, "unselected")
    dref = derive(store, "picky", [unselected, chain[0].dref])
    # A matcher may select nothing: then the context names a derivation without a realization.
    record = Record({unselected: (), chain[0].dref: (chain[0],)}, "sha256-x", 7)
    picky = RRef.make(rhash(dref, record.context, record.nar_hash), dref)
    os.mkdir(store.layout.realization(picky))
    Path(store.layout.record(picky)).write_bytes(record.text())
    collect(store, plan_gc(store, keep=[picky]))
    assert set(store.derivations()) == {dref, unselected, chain[0].dref}


def test_the_age_limit(store: Store) -> None:
    """Garbage that was used since then is spared, with what it was made from."""
    now = time.time()
    old = build(store, "old", started=now - 10_000)
    needed = build(store, "needed", started=now - 9_000)
    user = build(store, "user", [needed], started=now - 10)
    kept = build(store, "kept", started=now - 100_000)
    unborn = derive(store, "unborn")
    forgotten = derive(store, "forgotten")
    os.utime(store.layout.config(forgotten), (now - 10_000, now - 10_000))
    plan = plan_gc(store, keep=[kept], older_than=5_000)
    assert names(plan.deleted) == ["old"]
    assert plan.kept == {
        kept: "asked to keep",
        needed: "younger than the age limit",
        user: "younger than the age limit",
    }
    assert plan.drefs == sorted([old.dref, forgotten])
    collect(store, plan)
    assert unborn in set(store.derivations())


def test_the_size_limit(store: Store) -> None:
    """The oldest garbage goes, only until the total fits; a limit that is met deletes nothing."""
    rrefs = [build(store, f"n{n}", started=float(n)) for n in range(5)]
    size = store.record(rrefs[0]).nar_size
    for limit, count in (
        (5 * size, 0),
        (5 * size - 1, 1),
        (3 * size, 2),
        (2 * size + 1, 3),
        (0, 4),
    ):
        plan = plan_gc(store, keep=[rrefs[1]], max_size=limit)
        expected = [rref for rref in rrefs if rref != rrefs[1]][:count]
        assert [garbage.rref for garbage in plan.deleted] == expected
        spared = {rref for rref, reason in plan.kept.items() if reason == "within the size limit"}
        assert spared == set(rrefs) - set(expected) - {rrefs[1]}


def test_both_limits(store: Store) -> None:
    """With both limits, garbage goes only if it is old and in the way."""
    now = time.time()
    rrefs = [build(store, f"n{n}", started=now - 10_000 + 3_000 * n) for n in range(3)]
    size = store.record(rrefs[0]).nar_size
    kept = build(store, "kept")
    assert names(plan_gc(store, [kept], 5_000, 3 * size).deleted) == ["n0"]
    assert names(plan_gc(store, [kept], 5_000, 0).deleted) == ["n0", "n1"]


def test_dependents_go_first(store: Store, chain: list[RRef]) -> None:
    """What was used last by later garbage goes after that garbage, though it is older itself."""
    data, model, plot, other = chain
    plan = plan_gc(store, everything=True)
    assert [garbage.rref for garbage in plan.deleted] == [other, plot, model, data]
    assert [garbage.used for garbage in plan.deleted] == [2.5, 3.0, 3.0, 3.0]
    size = sum(store.record(rref).nar_size for rref in (data, model))
    assert names(plan_gc(store, everything=True, max_size=size).deleted) == ["other", "plot"]


def test_what_happened_since_the_plan(store: Store, chain: list[RRef], tmp_path: Path) -> None:
    """What was rooted, used or made after the plan stays; nothing else than planned goes."""
    data, model, plot, other = chain
    kept = build(store, "kept")
    plan = plan_gc(store, keep=[kept])
    rooted = add_root(store, tmp_path / "result", model)
    new = build(store, "new", [other])
    unborn = derive(store, "unborn", [derive(store, "below")])
    done = collect(store, plan)
    assert names(done.deleted) == ["plot"]
    assert present(store) == {data, model, other, kept, new}
    assert done.kept[model] == f"root {rooted}"
    assert done.kept[new] == "newer than the plan"
    assert done.kept[other] == f"needed by {new}"
    assert unborn in set(store.derivations())
    assert plot.dref not in set(store.derivations())
    assert list(verify(store)) == []


def test_what_is_gone_already(store: Store, chain: list[RRef]) -> None:
    """A plan of which somebody else has done a part can still be carried out."""
    plan = plan_gc(store, everything=True)
    collect(Store(store.root), plan)
    done = collect(store, plan)
    assert (done.deleted, done.drefs, done.freed) == ([], [], 0)
    assert present(store) == set()
    assert chain


def test_stale_registrations_go(store: Store, chain: list[RRef], tmp_path: Path) -> None:
    """Collecting forgets roots whose links are gone, which do not count, and locks of the dead."""
    Path(store.layout.lock(chain[0].dref)).write_text("of a process that was killed")
    add_root(store, tmp_path / "result", chain[0])
    add_root(store, tmp_path / "kept", chain[3])
    (tmp_path / "result").unlink()
    collect(store, plan_gc(store))
    assert present(store) == {chain[3]}
    assert len(os.listdir(Path(store.layout.gcroots, "auto"))) == 1
    assert [root.rref for root in roots(store)] == [chain[3]]
    assert not os.path.exists(store.layout.lock(chain[0].dref))


def test_a_lost_record_keeps_all_it_may_need(store: Store) -> None:
    """Without a record, all realizations of the dependencies stay; it goes like other garbage."""
    runs = [build(store, "run", entries={"n": b"%d" % n}) for n in range(2)]
    best = build(store, "best", [runs[0]])
    other = build(store, "other")
    Path(store.layout.record(best)).unlink()
    fresh = Store(store.root)
    assert set(plan_gc(fresh, keep=[best]).kept) == {best, *runs}
    plan = plan_gc(fresh, keep=[other])
    assert plan.deleted[0].rref == best
    collect(fresh, plan)
    assert present(store) == {other}


def test_nothing_is_guessed(store: Store, chain: list[RRef]) -> None:
    """If record and config of a kept realization are lost, nothing is deleted."""
    data, model, _, other = chain
    for path in (store.layout.record(model), store.layout.config(model.dref)):
        Path(path).unlink()
    with pytest.raises(CorruptEntry, match="cannot be read") as caught:
        plan_gc(Store(store.root), keep=[model])
    assert model in caught.value.message
    plan = plan_gc(Store(store.root), keep=[data, other])
    collect(Store(store.root), plan)
    assert present(store) == {data, other}


def test_strays_do_not_stop_it(store: Store, chain: list[RRef]) -> None:
    """Foreign files in the store and a folder without a config are no obstacle."""
    Path(store.layout.store, "notes").touch()
    empty = DRef("dref:" + "0" * 32 + "-empty")
    os.mkdir(store.layout.derivation(empty))
    collect(store, plan_gc(store, keep=[chain[3]]))
    assert present(store) == {chain[3]}
    assert os.path.exists(f"{store.layout.store}/notes")


def test_who_holds_the_store_is_waited_for(store: Store, chain: list[RRef]) -> None:
    """Collecting waits until nobody needs the whole store, and says so."""
    plan = plan_gc(store, keep=[chain[0]])
    waits, built = threading.Event(), threading.Event()

    def waiting(_: str) -> None:
        assert present(store) == set(chain)
        waits.set()
        built.wait(60)

    with store.keeping_all():
        worker = threading.Thread(target=collect, args=(store, plan, waiting))
        worker.start()
        assert waits.wait(60)
    built.set()
    worker.join(60)
    assert present(store) == {chain[0]}


def test_collecting_between_instantiation_and_realization(store: Store, chain: list[RRef]) -> None:
    """A derivation that was collected after its stage was instantiated is realized all the same."""

    def stage() -> DRef:
        return mkdrv({"name": "late"}, match_only(), build_wrapper(lambda _: None))

    closure = instantiate(stage, store=store)
    collect(Store(store.root), plan_gc(Store(store.root), keep=[chain[0]]))
    assert closure.dref not in set(store.derivations())
    rref = realize1(closure)
    assert Store(store.root).config(rref.dref).name == "late"
    assert list(verify(store)) == []


def test_forged_circles(store: Store) -> None:
    """Records that name each other neither stop the collection nor hide anything from it."""
    drefs = [derive(store, name) for name in ("one", "two")]
    rrefs = [RRef.make("0" * 32, dref) for dref in drefs]
    for number, rref in enumerate(rrefs):
        os.mkdir(store.layout.realization(rref))
        record = Record({drefs[1 - number]: (rrefs[1 - number],)}, "sha256-x", 1)
        Path(store.layout.record(rref)).write_bytes(record.text())
    assert set(plan_gc(store, keep=rrefs[:1]).kept) == set(rrefs)
    assert set(plan_removal(store, drefs).rrefs) == set(rrefs)
    plan = plan_gc(store, everything=True)
    assert {garbage.rref for garbage in plan.deleted} == set(rrefs)
    collect(store, plan)
    assert present(store) == set()


def test_long_chains(store: Store) -> None:
    """A chain much longer than Python's stack is deep is kept, and deleted from its end."""
    below: list[RRef] = []
    for number in range(1500):
        context = {rref.dref: (rref,) for rref in below}
        dref = derive(store, f"n{number}", list(context))
        record = Record(context, "sha256-x", 1)
        below = [RRef.make(rhash(dref, context, record.nar_hash), dref)]
        os.mkdir(store.layout.realization(below[0]))
        Path(store.layout.record(below[0])).write_bytes(record.text())
    assert len(plan_gc(store, keep=below).kept) == 1500
    plan = plan_gc(store, everything=True)
    assert names(plan.deleted) == [f"n{number}" for number in reversed(range(1500))]
