"""What failures, dead processes and old formats leave: what is swept, and what stays."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plxnix.errors import InvalidValue, StoreError, StoreNotFound, StoreVersionError
from plxnix.model import DRef, RRef
from plxnix.realize.matchers import latest, match, number
from plxnix.store import Store, locks, temproots
from plxnix.store.gc import Choice, collect, plan_gc
from plxnix.store.layout import FORMAT, Layout
from plxnix.store.reach import StoreGraph
from plxnix.store.roots import add_root, roots
from plxnix.store.session import sweep
from plxnix.store.verify import verify
from plxnix.store.versions import STEPS, migrate, plan_migration, read_version
from tests.store_samples import build, derive, plant


@pytest.fixture
def kept(store: Store) -> RRef:
    """A realization that a root keeps."""
    rref = build(store, "kept")
    add_root(store, f"{store.layout.gcroots}/it", rref)
    return rref


# -- litter ----------------------------------------------------------------------------------------


def litter(store: Store, name: str, age: float = 0.0) -> list[Path]:
    """Leave a log, a folder and a download of a derivation that is so many seconds old."""
    head = derive(store, name)[5:]
    paths = [
        Path(store.layout.failed, f"{head}.log.gz"),
        Path(store.layout.failed, f"{head}-0"),
        Path(store.layout.downloads, head),
        Path(store.layout.downloads, f"{head}.json"),
    ]
    paths[1].mkdir()
    plant(paths[1], {"deep/file": b"left"})
    for path in (paths[0], *paths[2:]):
        path.write_text("left")
    for path in paths:
        os.utime(path, (time.time() - age, time.time() - age))
    return paths


def test_litter_goes_with_its_derivation(store: Store, kept: RRef) -> None:
    """Logs, folders and downloads of what is garbage go; of what stays they stay."""
    gone, staying = litter(store, "gone"), litter(store, "kept")
    plan = plan_gc(store)
    assert [one.path for one in plan.litter] == sorted(map(str, gone))
    assert sum(one.size for one in plan.litter) >= 16
    assert all(path.exists() for path in gone)
    assert collect(store, plan).litter == plan.litter
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in staying)
    assert kept.dref.name == "kept"


def test_litter_goes_with_its_age(store: Store, kept: RRef) -> None:
    """With an age limit old litter goes, even of what stays, and young litter stays."""
    old, young = litter(store, "kept", age=100), litter(store, "other", age=1)
    collect(store, plan_gc(store, [kept], older_than=50))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)


def test_a_download_that_goes_on_is_no_litter(store: Store, kept: RRef) -> None:
    """A download that a live process has locked stays, with what allows it to be resumed."""
    *_, download, validator = litter(store, "gone")
    with locks.exclusive(str(download)):
        assert str(validator) not in [one.path for one in plan_gc(store).litter]
        collect(store, plan_gc(store, [kept]))
        assert download.exists()
        assert validator.exists()


def test_half_realizations_are_swept(store: Store, kept: RRef) -> None:
    """A record and a log without a realization go, in every derivation that stays."""
    ghost = RRef.make("0" * 32, kept.dref)
    for path in (store.layout.record(ghost), store.layout.log(ghost)):
        Path(path).write_text("{}")
    assert [damage.kind for damage in verify(store)] == ["leftover", "leftover"]
    collect(store, plan_gc(store))
    assert list(verify(store)) == []


def test_a_record_that_may_help_stays(store: Store) -> None:
    """The record of a lost realization from which another was made is not swept."""
    below = build(store, "below")
    add_root(store, f"{store.layout.gcroots}/it", build(store, "above", [below]))
    os.chmod(store.path(below), 0o700)
    os.rename(store.path(below), f"{store.root}/../lost")
    collect(store, plan_gc(Store(store.root)))
    assert os.path.exists(store.layout.record(below))


def test_one_bad_entry_does_not_block_the_rest(
    store: Store, kept: RRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be moved stays with what it needs and is said to; the rest goes."""
    below = build(store, "below")
    bad = build(store, "bad", [below])
    build(store, "good")
    rename = os.rename

    def failing(source: str, target: str, **options: int) -> None:
        if source == store.layout.realization(bad):
            raise OSError(errno.EPERM, "Operation not permitted", source)
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", failing)
    done = collect(store, plan_gc(store))
    monkeypatch.undo()
    assert [one.rref.name for one in done.deleted] == ["good"]
    assert kept in done.kept
    assert done.kept[bad] == "it cannot be deleted: Operation not permitted"
    assert done.kept[below] == f"needed by {bad}"
    assert {dref.name for dref in store.derivations()} == {"bad", "below", "kept"}
    assert Store(store.root).path(bad)
    assert list(verify(Store(store.root))) == []


def test_the_dead_are_swept_and_the_living_are_not(store: Store) -> None:
    """Folders of dead processes go, whatever their age; one that is locked stays."""
    program = (
        "import sys, os, time; from plxnix import Store; s = Store(sys.argv[1]).session();"
        "open(s.file('x'), 'w').close(); print(s.path, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, store.root],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    os.utime(path, (0, 0))
    assert sweep(store.layout.tmp) == 0
    assert os.listdir(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sweep(store.layout.tmp) == 1
    assert not os.path.exists(path)


def test_an_entry_that_cannot_be_swept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the dead that cannot be removed does not keep the others from being swept."""
    for name in ("a", "b", "c"):
        Path(store.layout.tmp, name).mkdir()
    rmdir = os.rmdir

    def failing(path: str, **options: int) -> None:
        if path.endswith("/b"):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", failing)
    assert sweep(store.layout.tmp) == 2
    assert [name for name in os.listdir(store.layout.tmp) if len(name) == 1] == ["b"]


@pytest.mark.parametrize("by", ["reader", "gc"])
def test_what_was_not_closed_is_closed(store: Store, kept: RRef, by: str) -> None:
    """A realization whose publisher was killed before the last chmod is made read-only."""
    place = store.layout.realization(kept)
    os.chmod(place, 0o755)
    os.utime(place, (5, 5))
    if by == "reader":
        store.path(kept)
    else:
        collect(store, plan_gc(store))
    found = os.stat(place)
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o555, 1)


# -- what keeps what -------------------------------------------------------------------------------


def test_chains(store: Store) -> None:
    """From each root that keeps something leads the shortest chain; other roots are left out."""
    data = build(store, "data")
    model = build(store, "model", [data])
    plot = build(store, "plot", [model, data])
    other = build(store, "other")
    for name, rref in (("plot", plot), ("model", model), ("other", other)):
        add_root(store, f"{store.layout.gcroots}/{name}", rref)
    chains = StoreGraph(store).chains(roots(store), [data])
    assert [(chain.root.path.rpartition("/")[2], chain.rrefs) for chain in chains] == [
        ("model", [model, data]),
        ("plot", [plot, data]),
    ]
    (own,) = StoreGraph(store).chains(roots(store), [other])
    assert own.rrefs == [other]


def test_choices_keep_some_of_each_stage(store: Store) -> None:
    """The latest and the best of every derivation stay, with what they were made from."""
    runs = [
        build(store, "run", entries={"score": score, "n": b"%d" % n}, started=float(n))
        for n, score in enumerate([b"0", b"1", b"2", b"0"])
    ]
    silent = [build(store, "silent", entries={"n": b"%d" % n}, started=float(n)) for n in range(2)]
    newest = Choice("among the latest", match(latest(), lambda rrefs: rrefs[:1]))
    best = Choice("among the best", match(number("score"), lambda rrefs: rrefs[:1]))
    plan = plan_gc(store, choices=[newest, best])
    assert plan.kept == {
        runs[3]: "among the latest",
        silent[1]: "among the latest",
        runs[2]: "among the best",
    }
    assert collect(store, plan).deleted == plan.deleted
    assert set(store.realizations(runs[0].dref)) == {runs[2], runs[3]}
    wrong = build(store, "run", entries={"score": b"good"})
    with pytest.raises(InvalidValue, match="no number"):
        plan_gc(store, choices=[best])
    assert store.path(wrong)


# -- who is waited for -----------------------------------------------------------------------------


def test_who_collects_is_told_who_builds(store: Store, kept: RRef) -> None:
    """Garbage collection names the processes that it waits for."""
    told: list[str] = []
    waits = threading.Event()

    def waiting(message: str) -> None:
        told.append(message)
        waits.set()

    def collecting() -> None:
        collect(store, plan_gc(store), waiting)

    with store.keeping_all():
        worker = threading.Thread(target=collecting)
        worker.start()
        assert waits.wait(60)
    worker.join(60)
    assert told == [f"waiting for process {os.getpid()}, which holds store"]
    assert kept


# -- formats ---------------------------------------------------------------------------------------


@pytest.fixture
def nameless(store: Store, kept: RRef) -> Path:
    """A store whose copy has lost its number and its empty folders."""
    assert kept
    store.session().close()
    for path in (store.layout.failed, store.layout.downloads, store.layout.tmp):
        os.rmdir(path)
    os.unlink(store.layout.version)
    return Path(store.root)


def test_a_store_without_a_number(nameless: Path) -> None:
    """It is refused with the command that helps, and is whole after that."""
    for opens in (Store, Store.init):
        with pytest.raises(StoreVersionError, match="format 0") as caught:
            opens(nameless)
        assert f"plxnix store migrate {nameless}" in caught.value.hint
    assert plan_migration(nameless) == [1]
    assert migrate(nameless) == [1]
    assert migrate(nameless) == []
    assert list(verify(Store(nameless))) == []


def test_a_store_in_use_is_not_migrated(nameless: Path) -> None:
    """What a running process works with is not changed under it; the error names the process."""
    layout = Layout(str(nameless))
    dref = DRef("dref:" + "0" * 32 + "-one")
    with temproots.keep(layout, [dref]):
        with pytest.raises(StoreError, match=f"process {os.getpid()} on .* works with {dref}"):
            migrate(nameless)
        assert plan_migration(nameless) == [1]
    assert migrate(nameless) == [1]


def test_a_chain_of_migrations(nameless: Path) -> None:
    """Steps are taken in order, each once; the number is written after each."""
    done: list[int] = []

    def one(layout: Layout) -> None:
        assert read_version(layout) == 1
        done.append(1)

    def two(layout: Layout) -> None:
        assert read_version(layout) == 2
        Path(layout.root, "new-folder").mkdir(exist_ok=True)
        done.append(2)

    steps = {**STEPS, 1: one, 2: two}
    assert plan_migration(nameless, steps, 3) == [1, 2, 3]
    assert migrate(nameless, steps, 3) == [1, 2, 3]
    assert (done, read_version(Layout(str(nameless)))) == ([1, 2], 3)
    assert migrate(nameless, steps, 3) == []
    # What was written by the future is refused, both to use and to migrate.
    with pytest.raises(StoreVersionError, match="has format 3"):
        Store(nameless)
    with pytest.raises(StoreVersionError, match="no way back"):
        migrate(nameless)
    with pytest.raises(StoreVersionError, match="no step leads from format 3"):
        plan_migration(nameless, steps, 5)


def test_an_interrupted_migration(nameless: Path) -> None:
    """A step that fails is taken again, and those before it are not."""
    calls: list[int] = []

    def one(layout: Layout) -> None:
        calls.append(read_version(layout))
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        migrate(nameless, {**STEPS, 1: one}, 2)
    assert read_version(Layout(str(nameless))) == 1
    assert migrate(nameless, {**STEPS, 1: one}, 2) == [2]
    assert calls == [1, 1]


def test_migration_waits_for_users(nameless: Path) -> None:
    """A store is not migrated while somebody builds in it."""
    os.mkdir(nameless / "tmp")
    waits = threading.Event()
    layout = Layout(str(nameless))
    with locks.shared(layout.store_lock()):
        worker = threading.Thread(
            target=migrate, args=(nameless,), kwargs={"waiting": lambda _: waits.set()}
        )
        worker.start()
        assert waits.wait(60)
        assert read_version(layout) == 0
    worker.join(60)
    assert read_version(layout) == FORMAT


def test_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    """A folder that is no store is an error, and stays as it is."""
    with pytest.raises(StoreNotFound):
        migrate(tmp_path / "home")
    assert os.listdir(tmp_path / "home") == []
