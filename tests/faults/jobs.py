"""Faults while several stages run at once, in threads and in processes."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from plxnix import (
    Registry,
    Store,
    build_path,
    build_wrapper,
    instantiate,
    match_latest,
    match_only,
    mkdrv,
    realize,
    selfref,
)
from plxnix.store import Fsync
from tests.faults.children import Child, Outcome, injected
from tests.faults.counting import Row, Scale
from tests.faults.errors import ERRORS, READING
from tests.faults.trials import Stage, stages
from tests.faults.workflows import Workflow, harm, store_of

#: Seconds that the processes which a killed one has started may outlive it.
_GRACE = 120.0

_PR_SET_CHILD_SUBREAPER = 36


def _make(build: Any) -> None:
    print("made", build.dref.name)
    for number, out in enumerate(build.outpaths):
        (out / "dir").mkdir()
        (out / "dir" / "file").write_text(f"{number}" * 10)
        (out / "out").write_text(build.dref.name * 500 + str(number))


def _stages() -> str:
    """Define two stages, and a third with three outputs that is made from both."""
    below = [
        mkdrv({"name": name, "out": [selfref, "out"]}, match_only(), build_wrapper(_make))
        for name in ("left", "right")
    ]

    def above(build: Any) -> None:
        for dref in below:
            if not build_path(build, [dref, "out"]).read_text().startswith(("left", "right")):
                raise ValueError(f"{dref} is not what was published")
        _make(build)

    config = {"name": "above", "data": [[dref, "out"] for dref in below]}
    return mkdrv(config, match_latest(3), build_wrapper(above, 3))


def _realizing(executor: str) -> Callable[[str, Fsync], list[str]]:
    def run(place: str, fsync: Fsync) -> list[str]:
        store = Store.init(store_of(place), fsync)
        closure = instantiate(_stages, registry=Registry(store))
        made = sorted(realize(closure, jobs=2, executor=executor))
        for dref in store.derivations():
            for rref in store.realizations(dref):
                store.path(rref)  # What was left open by a kill is closed by who looks at it.
        return made

    return run


def _nothing(place: str) -> None:
    """Prepare nothing."""


WORKFLOWS = tuple(
    Workflow(f"jobs=2, {name}", _nothing, _realizing(name)) for name in ("threads", "processes")
)


def jobs(scale: Scale) -> Iterator[Row]:
    """Kill, and let calls fail, while two stages run at once."""
    # What a killed process leaves behind becomes a child of this one, and can be waited for.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    for stage in stages(scale.folder, WORKFLOWS, everywhere=True):
        yield _kills(scale, stage)
        yield _errors(scale, stage)
        yield _random_kills(scale, stage)


def _kills(scale: Scale, stage: Stage) -> Row:
    """Kill whoever is the first to make a changing call for the n-th time: a thread or a worker."""
    row = Row("jobs", f"{stage.workflow.name}: killed before each changing call")
    chosen = [call for call in stage.calls if call.changes]
    killed = 0
    for call in scale.sample(stage.workflow.name, chosen, _few(stage)):
        with stage.place() as place:
            outcome = injected(stage.run(place), f"{stage.folder}/log", call, "signal=SIGKILL")
            killed += outcome.status == -9
            row.check(f"at {call}", *_after(stage, place, outcome))
    row.note = f"{killed} died"
    return row


def _errors(scale: Scale, stage: Stage) -> Row:
    """Let a call fail where it is made for the n-th time, in each thread and process.

    Each call fails in one way, another one with another seed: what one process does with all of
    them is tried by `errors`, and what fails here takes seconds to start.
    """
    row = Row("jobs", f"{stage.workflow.name}: an error at each call")
    ways = ((call, ERRORS[call.name] if call.changes else READING) for call in stage.calls)
    trials = [(call, way[(scale.seed + n) % len(way)]) for n, (call, way) in enumerate(ways)]
    failed = 0
    for call, error in scale.sample(f"errors {stage.workflow.name}", trials, _few(stage)):
        with stage.place() as place:
            outcome = injected(stage.run(place), f"{stage.folder}/log", call, f"error={error}")
            failed += outcome.status != 0
            row.check(f"{error} at {call}", *_after(stage, place, outcome))
    row.note = f"{failed} said so, the others went on"
    return row


def _random_kills(scale: Scale, stage: Stage) -> Row:
    """Kill the process at random times; those that it has started have to end as well."""
    row = Row("jobs", f"{stage.workflow.name}: killed at random times")
    killed = 0
    with stage.place() as place:
        begun = time.monotonic()
        Child(stage.run(place)).wait()
        seconds = time.monotonic() - begun
    full = 100 if "processes" in stage.workflow.name else 250
    for number in range(scale.number(full, _few(stage))):
        pause = scale.random(f"jobs {number}").uniform(0, 1.1 * seconds)
        with stage.place() as place:
            child = Child(stage.run(place))
            time.sleep(pause)
            child.kill()
            outcome = child.wait()
            killed += outcome.status == -9
            row.check(f"after {pause:.4f} s (number {number})", *_after(stage, place, outcome))
    row.note = f"{killed} died"
    return row


def _after(stage: Stage, place: str, outcome: Outcome) -> list[str]:
    """Return what is wrong with how a child ended, with what it left, and with the next run."""
    wrong = [_left()]
    if outcome.wedged:
        wrong.append("it is wedged")
    elif outcome.status == 0 and outcome.result != stage.expected:
        wrong.append(f"it gave {outcome.result}")
    elif outcome.status not in (0, -9) and not outcome.typed:
        wrong.append(f"no typed error: {outcome.status} {outcome.error[-2500:]}")
    wrong += [f"half visible: {problem}" for problem in harm(place)]
    return wrong + stage.again(place) + [_left()]


def _few(stage: Stage) -> int:
    """Return how many trials the short part makes; workers take long to start."""
    return 4 if "processes" in stage.workflow.name else 12


def _left() -> str:
    """Wait for the processes that a child has left; say so if they do not end."""
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ""
        if not pid:
            time.sleep(0.001)
    return "processes that it started go on"


__all__ = ["jobs"]
