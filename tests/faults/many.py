"""Many processes on one store: what is needed is built once, and nothing that is kept is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from plxnix import Registry, Store, build_wrapper, instantiate, match_only, mkdrv, realize
from plxnix.store import Fsync
from plxnix.store.gc import collect, plan_gc
from plxnix.store.roots import add_root, remove_root
from plxnix.store.verify import verify
from tests.faults.children import Child, Outcome
from tests.faults.counting import Row, Scale


def many(scale: Scale) -> Iterator[Row]:
    """Let processes need the same stages at the same time."""
    processes = 8 if scale.short else 32
    for number in (1, 20 if scale.short else 100):
        row = Row("many", f"{processes} processes on {number} stages: each built once")
        root, runs = f"{scale.folder}/many-{number}", f"{scale.folder}/runs-{number}"
        outcomes = _together([_realizing(root, runs, number) for _ in range(processes)])
        results = {str(outcome.result) for outcome in outcomes}
        for index, outcome in enumerate(outcomes):
            row.check(f"process {index}", _failure(outcome))
        built = Path(runs).read_text().splitlines()
        wrong = "" if len(results) == 1 else f"{len(results)} different results"
        twice = "" if sorted(built) == sorted(set(built)) else "a stage was built twice"
        all_there = "" if len(set(built)) == number else f"{len(set(built))} stages were built"
        damage = [found.message for found in verify(Store(root))]
        row.check("together", wrong, twice, all_there, *damage)
        row.note = f"{len(built)} builds"
        yield row


def race(scale: Scale) -> Iterator[Row]:
    """Realize, collect garbage and verify at once, for a minute."""
    row = Row("race", "realize against gc against verify: 0 lost")
    root = f"{scale.folder}/race"
    Store.init(root, Fsync.NONE)
    seconds = scale.number(60, 8)
    end = time.monotonic() + seconds
    jobs = [*(_builder(root, number, end, scale) for number in range(4)), _collector(root, end)]
    jobs.append(_verifier(root, end))
    outcomes = _together(jobs, 300.0 + seconds)
    for index, outcome in enumerate(outcomes):
        rounds = outcome.result if isinstance(outcome.result, int) else 0
        row.tried += max(0, rounds - 1)
        row.check(f"process {index}", _failure(outcome))
    row.check("afterwards", *(damage.message for damage in verify(Store(root))))
    row.note = f"rounds: {', '.join(str(outcome.result) for outcome in outcomes)}"
    yield row


def _together(functions: list[Callable[[], object]], patience: float = 300.0) -> list[Outcome]:
    """Run functions in children that begin at the same time."""
    children = [Child(function, held=True) for function in functions]
    for child in children:
        child.let_go()
    return [child.wait(patience) for child in children]


def _failure(outcome: Outcome) -> str:
    if outcome.wedged:
        return "it is wedged"
    return "" if outcome.status == 0 else f"it failed: {outcome.error[-2000:]}"


def _realizing(root: str, runs: str, number: int) -> Callable[[], object]:
    """Realize so many stages, each made from up to two that come before it."""

    def make(build: Any) -> None:
        with open(runs, "a") as file:
            file.write(f"{build.dref}\n")
        (build.outpaths[0] / "out").write_text(build.dref)

    def stages() -> list[str]:
        drefs: list[str] = []
        for index in range(number):
            below = [drefs[index // 2], drefs[index - 1]] if drefs else []
            config = {"name": f"stage-{index}", "below": below}
            drefs.append(mkdrv(config, match_only(), build_wrapper(make)))
        return drefs

    def run() -> object:
        store = Store.init(root, Fsync.NONE)
        found = realize(instantiate(stages, registry=Registry(store)))
        store.session().close()
        return sorted(found)

    return run


def _stage(name: str, number: int) -> Callable[[], str]:
    """Return a chain of two stages that write what they are called, and read what is below."""

    def make(build: Any) -> None:
        time.sleep(0.01)
        for (rref,) in build.context.values():
            Path(build.store.path(rref), "out").read_text()
        (build.outpaths[0] / "out").write_text(build.dref.name)

    def stages() -> str:
        below = mkdrv({"name": f"base-{number % 3}"}, match_only(), build_wrapper(make))
        config = {"name": f"{name}-{number}", "below": below}
        return mkdrv(config, match_only(), build_wrapper(make))

    return stages


def _builder(root: str, who: int, end: float, scale: Scale) -> Callable[[], object]:
    """Realize, root, look, unroot: what has a root has to be whole, whoever collects."""

    def run() -> int:
        chance, rounds = scale.random(f"builder {who}"), 0
        kept: dict[str, tuple[str, str]] = {}
        while time.monotonic() < end or rounds == 0:
            rounds += 1
            store = Store(root, Fsync.NONE)
            number = chance.randrange(6)
            name = "shared" if chance.random() < 0.5 else f"own-{who}"
            closure = instantiate(_stage(name, number), registry=Registry(store))
            with store.keeping(closure.derivations):  # from the realization to its root
                rref = realize(closure)
                link = f"{root}/gcroots/{who}-{rounds}"
                add_root(store, link, rref)
            kept[link] = rref, f"{name}-{number}"
            for one, text in kept.values():
                if Path(store.path(one), "out").read_text() != text:
                    raise ValueError(f"{one} is not what it was")
                for below in store.record(one).context.values():
                    store.path(below[0])
            while len(kept) > 3:
                gone = chance.choice(sorted(kept))
                remove_root(store, gone)
                del kept[gone]
        Store(root).session().close()
        return rounds

    return run


def _collector(root: str, end: float) -> Callable[[], object]:
    def run() -> int:
        rounds = 0
        while time.monotonic() < end or rounds == 0:
            store = Store(root, Fsync.NONE)
            collect(store, plan_gc(store, everything=True))
            rounds += 1
            time.sleep(0.01)
        Store(root).session().close()
        return rounds

    return run


def _verifier(root: str, end: float) -> Callable[[], object]:
    def run() -> int:
        rounds = 0
        while time.monotonic() < end or rounds == 0:
            store = Store(root, Fsync.NONE)
            found = [damage for damage in verify(store) if not damage.harmless]
            if found:
                raise ValueError(f"verify found {found[:3]}")
            rounds += 1
            time.sleep(0.05)
        return rounds

    return run


__all__ = ["many", "race"]
