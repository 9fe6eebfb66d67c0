"""Realizing: the calls that turn a closure into realizations; `work.py` does it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, overload

from plxnix.errors import InvalidValue
from plxnix.model import DRef, RRef, isdref
from plxnix.realize.plan import Plan, make_plan
from plxnix.realize.registry import Closure, RealizeArguments, instantiate
from plxnix.realize.resources import Resources
from plxnix.realize.run import Observer
from plxnix.realize.schedule import Schedule
from plxnix.realize.work import named, prepare, require_closure


@overload
def realize(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = ...,
    assert_realized: Collection[DRef] = ...,
    realize_args: Mapping[DRef, RealizeArguments] | None = ...,
    dry_run: Literal[False] = ...,
    keep_failed: bool = ...,
    observer: Observer | None = ...,
    sandbox: str | None = ...,
    jobs: int | None = ...,
    executor: Any = ...,
    keep_going: bool = ...,
    timeout: float | None = ...,
    retries: int = ...,
    resources: Resources | None = ...,
) -> Any: ...


@overload
def realize(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = ...,
    assert_realized: Collection[DRef] = ...,
    realize_args: Mapping[DRef, RealizeArguments] | None = ...,
    *,
    dry_run: Literal[True],
    keep_failed: bool = ...,
    observer: Observer | None = ...,
    sandbox: str | None = ...,
    jobs: int | None = ...,
    executor: Any = ...,
    keep_going: bool = ...,
    timeout: float | None = ...,
    retries: int = ...,
    resources: Resources | None = ...,
) -> Plan: ...


def realize(
    closure: Closure,
    force_rebuild: bool | Collection[DRef] = False,
    assert_realized: Collection[DRef] = (),
    realize_args: Mapping[DRef, RealizeArguments] | None = None,
    dry_run: bool = False,
    keep_failed: bool = False,
    observer: Observer | None = None,
    sandbox: str | None = None,
    jobs: int | None = None,
    executor: Any = None,
    keep_going: bool = False,
    timeout: float | None = None,
    retries: int = 0,
    resources: Resources | None = None,
) -> Any:
    """Realize a closure; return its result with each reference replaced by what was selected.

    That is a realization, or a list of them where the matcher selects several. `force_rebuild`
    names derivations that are run even if their matchers are content (True: the targets);
    `assert_realized` names those that must not run; `realize_args` passes arguments to realizers.
    With `dry_run` nothing runs and a `Plan` comes back. With `keep_failed` the folder of a failed
    realizer is kept below `failed/` in the store. `sandbox` is `on` or `off` for
    commands, or `auto`: on if it works here; the default is `$PLXNIX_SANDBOX`, else `auto`.

    At most `jobs` stages run at once (default: `$PLXNIX_JOBS`, else 1, or what an executor takes;
    0: one for each CPU).
    Recipes run in threads then, and Python code in processes of this machine, unless an `executor`
    is given: `"threads"`, `"dask:ADDRESS"`, a Dask client, or what has the `submit` of
    `concurrent.futures`. `resources` says how much there is of what stages need, such as
    `{"gpus": 2}`. A stage that takes longer than `timeout` seconds fails; one that fails is tried
    `retries` times more. A failure stops what runs; with `keep_going` all goes on that does not
    depend on it. What is selected does not depend on any of this.

    What Python code prints goes into the stage's log as well. So does, in those processes and under
    the command line, what programs print that it starts.

    Raises `BuildFailed` (with the original exception as its cause), `PromiseMissing`,
    `NotRealized`, `MatcherUnsatisfied`, `StagesFailed` (with `keep_going`), and what matchers and
    recipes raise; `MissingExtra` where other processes are needed without cloudpickle. What was
    realized before a failure stays.
    """
    schedule = Schedule.make(jobs, executor, keep_going, timeout, retries, resources)
    if dry_run:
        forced = named(closure, force_rebuild, "force_rebuild")
        with closure.store.keeping(closure.derivations):
            return make_plan(closure, forced)
    work = prepare(
        closure,
        force_rebuild,
        assert_realized,
        realize_args,
        keep_failed,
        observer,
        sandbox,
    )
    if schedule.plain:
        return replace_references(closure.result, work.select())
    from plxnix.realize.scheduling import Scheduler

    return replace_references(closure.result, Scheduler(work, schedule).select())


def realizeMany(closure: Closure, *args: Any, **kwargs: Any) -> list[RRef]:  # noqa: N802
    """Realize a closure with one target and return the list of what its matcher selected.

    Further arguments are those of `realize`.
    """
    require_closure(closure)
    target = closure.dref
    found = realize(Closure(target, (target,), closure.derivations, closure.store), *args, **kwargs)
    return found if isinstance(found, list) else [found]


def realize1(closure: Closure, *args: Any, **kwargs: Any) -> RRef:
    """Realize a closure with one target, of which the matcher selects one realization.

    Raises `InvalidValue` if it selects several. Further arguments are those of `realize`.
    """
    rrefs = realizeMany(closure, *args, **kwargs)
    if len(rrefs) != 1:
        raise InvalidValue(
            f"the matcher of {closure.dref} selected {len(rrefs)} realizations, not one",
            "use realizeMany",
        )
    return rrefs[0]


def evaluate(stage: Any, *args: Any, **kwargs: Any) -> RRef:
    """Instantiate a stage and realize it: `realize1(instantiate(stage, ...))`."""
    return realize1(instantiate(stage, *args, **kwargs))


def replace_references(result: Any, selected: Mapping[DRef, list[RRef]]) -> Any:
    """Replace each reference in what a stage returned by what was selected for it."""
    if isinstance(result, str) and isdref(result):
        rrefs = selected[DRef(result)]
        return rrefs[0] if len(rrefs) == 1 else list(rrefs)
    if isinstance(result, Mapping):
        return {key: replace_references(item, selected) for key, item in result.items()}
    if isinstance(result, (list, tuple, set, frozenset)):
        items = [replace_references(item, selected) for item in result]
        return tuple(items) if isinstance(result, tuple) else items
    return result
