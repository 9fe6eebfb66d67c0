"""`instantiate` and `realize`: from targets to references and results."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.progress import Progress, talking
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted, duration_text
from plxnix.cli.values import duration, pairs
from plxnix.errors import PlxnixError, StagesFailed, StoreError
from plxnix.model import DRef, RRef
from plxnix.realize.events import EventLog
from plxnix.realize.plan import Plan
from plxnix.realize.realizing import realize as realize_closure
from plxnix.realize.registry import Closure, Registry
from plxnix.store import Store
from plxnix.store.roots import add_root
from plxnix.targets import load, user_frames

#: How many lines of a failed realizer's output are shown.
LAST_LINES = 20


def _amounts(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    found = pairs(context, parameter, values)
    for name, amount in found.items():
        if not isinstance(amount, (int, float)) or isinstance(amount, bool) or amount < 0:
            raise click.BadParameter(f"{name}={amount} is no amount", context, parameter)
    return found


def _target_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    del context, parameter
    return [CompletionItem(begun, type="file")]


targets_argument = click.argument(
    "targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=_target_files
)
arguments_option = click.option(
    "-a",
    "--arg",
    "arguments",
    metavar="NAME=VALUE",
    multiple=True,
    callback=pairs,
    help="Pass a value to the stage: JSON, or else a string. May be repeated.",
)


@command(
    "instantiate",
    "Register stages and print their references.",
    examples=(
        "plxnix instantiate experiment.py:plot",
        "plxnix instantiate experiment.py:train -a rate=0.1 -a 'layers=[64, 10]'",
    ),
)
@targets_argument
@arguments_option
@json_option
@pass_session
def instantiate(
    session: Session,
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    as_json: bool,
) -> None:
    """Register the stages of each TARGET and print the references of their derivations.

    Nothing is realized; the configs are written into the store.
    """
    store = session.store(create=True)
    progress = Progress(session.console)
    with talking(session.console, progress):
        closures = load_targets(session, store, targets, arguments)
    for closure in closures:
        for derivation in closure.derivations.values():
            closure.store.restore(derivation.config)
    if as_json:
        session.console.json(
            [
                {"target": target, "drefs": list(closure.targets)}
                for target, closure in zip(targets, closures, strict=True)
            ]
        )
    else:
        session.console.lines(
            dict.fromkeys(dref for closure in closures for dref in closure.targets)
        )


@command(
    "realize",
    "Make what does not exist yet and print the results.",
    examples=(
        "plxnix realize experiment.py:plot",
        "plxnix realize experiment.py:plot -a rate=0.1 --dry-run",
        "plxnix realize experiment.py:plot --out-link plot --print paths",
        "plxnix realize experiment.py:plot -j 4 --keep-going --timeout 2h",
    ),
)
@targets_argument
@arguments_option
@click.option("-n", "--dry-run", is_flag=True, help="Only show which stages would run, and why.")
@click.option("--force", is_flag=True, help="Run the targets even if there are results.")
@click.option(
    "-o",
    "--out-link",
    metavar="LINK",
    help="Make a link to the result, which keeps it from gc; further ones are LINK-2, LINK-3, ...",
)
@click.option("--keep-failed", is_flag=True, help="Keep the folder of a stage that fails.")
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "on", "off"]),
    help="Run commands in a sandbox, with the bytes of Nix; else PLXNIX_SANDBOX, else auto.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=0),
    help="How many stages may run at once, 0: one for each CPU; else PLXNIX_JOBS, else 1.",
)
@click.option(
    "--executor",
    metavar="WHERE",
    help="Where Python code runs: processes, threads, or dask:tcp://HOST:PORT.",
)
@click.option(
    "-k", "--keep-going", is_flag=True, help="After a failure, realize what does not depend on it."
)
@click.option(
    "--timeout",
    metavar="TIME",
    callback=duration,
    help="Kill a stage that takes longer: 90s, 15min, 12h.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Try a stage that fails N times more.",
)
@click.option(
    "--resource",
    "resources",
    metavar="NAME=AMOUNT",
    multiple=True,
    callback=_amounts,
    help="How much there is of what stages need, such as gpus=2. May be repeated.",
)
@click.option(
    "--events",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write what happens into FILE, as a JSON object a line.",
)
@click.option(
    "--print",
    "printed",
    type=click.Choice(["rrefs", "paths", "none"]),
    default="rrefs",
    help="What to print of the results.",
)
@json_option
@pass_session
def realize(
    session: Session,
    targets: tuple[str, ...],
    arguments: dict[str, Any],
    dry_run: bool,
    force: bool,
    out_link: str | None,
    keep_failed: bool,
    sandbox: str | None,
    jobs: int | None,
    executor: str | None,
    keep_going: bool,
    timeout: float | None,
    retries: int,
    resources: dict[str, float],
    events: str | None,
    printed: str,
    as_json: bool,
) -> None:
    """Make what each TARGET needs and does not exist yet; print the references of the results.

    What stages print goes to standard error and into their logs (`plxnix log`).
    """
    check_link(out_link)  # now, not after hours of work
    store = session.store(create=True)
    progress = Progress(session.console)
    with talking(session.console, progress):
        closures = load_targets(session, store, targets, arguments)
    closure = joined(closures)
    if dry_run:
        _show_plan(session, realize_closure(closure, force_rebuild=force, dry_run=True), as_json)
        return
    log = None if events is None else EventLog(events, progress)
    # The links are made before gc may take what they are to keep.
    with closure.store.building(session.console.say):
        try:
            with talking(session.console, progress):
                selected = realize_closure(
                    closure,
                    force_rebuild=force,
                    keep_failed=keep_failed,
                    observer=log or progress,
                    sandbox=sandbox,
                    jobs=jobs,
                    executor=executor,
                    keep_going=keep_going,
                    timeout=timeout,
                    retries=retries,
                    resources=resources,
                )
        except (PlxnixError, OSError) as error:
            again = command_line(targets, arguments)
            report_failure(session, closure.store, progress, error, again)
            raise click.exceptions.Exit(1) from None
        finally:
            if log is not None:
                log.close()
        results = {dref: _list(found) for dref, found in selected.items()}
        rrefs = list(dict.fromkeys(rref for found in results.values() for rref in found))
        if out_link is not None:
            for number, rref in enumerate(rrefs, start=1):
                add_root(closure.store, out_link if number == 1 else f"{out_link}-{number}", rref)
    if as_json:
        session.console.json(
            {
                "targets": [
                    {
                        "target": target,
                        "dref": dref,
                        "rrefs": results[dref],
                        "paths": [closure.store.path(rref) for rref in results[dref]],
                    }
                    for target, one in zip(targets, closures, strict=True)
                    for dref in one.targets
                ],
                "realized": progress.realized,
                "cached": progress.satisfied,
                "seconds": round(progress.seconds, 3),
            }
        )
    elif printed != "none":
        session.console.lines(map(closure.store.path, rrefs) if printed == "paths" else rrefs)
    session.console.say(_summary(progress))


def load_targets(
    session: Session, store: Store, targets: Sequence[str], arguments: dict[str, Any]
) -> list[Closure]:
    """Import the targets and instantiate their stages, in one registry over `store`."""
    from plxnix.store import current_storage, current_store

    registry = Registry(store)
    closures = [load(target, registry, arguments) for target in targets]
    with current_storage(None):
        try:
            other = current_store().root
        except PlxnixError:
            other = store.root
    if other != store.root and session.place is not None:
        session.console.detail(f"the store is {store.root}; fsinit in the file is not followed")
    return closures


def joined(closures: Sequence[Closure]) -> Closure:
    """Join closures; the result maps each target to itself, so that it shows what was selected."""
    targets = tuple(dict.fromkeys(dref for closure in closures for dref in closure.targets))
    derivations = {
        dref: derivation for closure in closures for dref, derivation in closure.derivations.items()
    }
    return Closure({dref: dref for dref in targets}, targets, derivations, closures[0].store)


def _list(found: RRef | list[RRef]) -> list[RRef]:
    return found if isinstance(found, list) else [found]


def _summary(progress: Progress) -> str:
    ran, cached = len(progress.realized), len(progress.satisfied)
    took = duration_text(progress.seconds)
    if not ran:
        what = "the stage is" if cached == 1 else f"all {cached} stages are"
        return f"nothing to do: {what} realized ({took})"
    return f"realized {counted(ran, 'stage')}, {cached} cached, in {took}"


def _show_plan(session: Session, plan: Plan, as_json: bool) -> None:
    if as_json:
        session.console.json(
            [
                {
                    "dref": stage.dref,
                    "would_run": stage.would_run,
                    "reason": stage.reason,
                    "rrefs": list(stage.rrefs),
                }
                for stage in plan
            ]
        )
        return
    session.console.table(
        ["STAGE", "HASH", "", "REASON"],
        [
            (
                stage.dref.name,
                Cell(stage.dref.dhash[:12], stage.dref),
                "would run" if stage.would_run else "cached",
                stage.reason,
            )
            for stage in plan
        ],
    )
    session.console.say(
        f"{counted(len(plan.would_run), 'stage')} of {len(plan.stages)} would run"
        if plan.would_run
        else f"nothing to do: {counted(len(plan.stages), 'stage')} realized"
    )


def check_link(link: str | None) -> None:
    """Refuse a place for a link where something else is."""
    if link is not None and os.path.lexists(link) and not os.path.islink(link):
        raise StoreError(
            f"{link} is there already and is no symbolic link",
            "choose another place for the link, or move what is there",
        )


def command_line(targets: Sequence[str], arguments: Mapping[str, Any]) -> str:
    """Return the command that realizes the targets and keeps the folder of a stage that fails."""
    given = [f"{key}={json.dumps(value)}" for key, value in arguments.items()]
    pairs = [word for pair in given for word in ("-a", pair)]
    return shlex.join(["plxnix", "realize", *targets, *pairs, "--keep-failed"])


# -- failures --------------------------------------------------------------------------------------


def report_failure(
    session: Session, store: Store, progress: Progress, error: Exception, again: str
) -> None:
    """Print what failed: where in the user's code, the last of what it printed, what to do."""
    if isinstance(error, StagesFailed):
        for one, failure in error.failures.items():
            _report_one(session, store, DRef(one), failure, again)
        count = len(error.failures)
        left = f", {len(error.skipped)} left out" if error.skipped else ""
        session.console.error(f"{counted(count, 'stage')} failed{left}", "the others are realized")
        return
    dref = getattr(error, "dref", "")
    _report_one(session, store, DRef(dref) if dref else progress.broken, error, again)


def _report_one(
    session: Session, store: Store, dref: DRef | None, error: Exception, again: str
) -> None:
    details = user_frames(error.__cause__) if error.__cause__ is not None else []
    hint = error.hint if isinstance(error, PlxnixError) else ""
    if dref is not None:
        log = f"`plxnix log {dref.dhash[:12]}`"
        lines = last_lines(store.layout.failed_log(dref))
        told = {line.strip() for line in str(error).splitlines()}
        if lines and lines[-1].strip() not in told:
            details += [f"the last lines that {dref.name} printed; {log} shows them all:"]
            details += [f"| {line}" for line in lines]
            details += [f"in {store.layout.failed_log(dref)}"]
        hint = hint.replace("`plxnix log`", log)
        if again:
            hint = f"{hint}; `{again}` keeps its folder"
    session.report(error, hint.removeprefix("; "), details)


def last_lines(path: str, count: int = LAST_LINES) -> list[str]:
    """Return the last lines of a log; none if there is no log or it cannot be read."""
    if not os.path.exists(path):
        return []
    try:
        with gzip.open(path, "rb") as file:
            return file.read().decode(errors="replace").splitlines()[-count:]
    except (OSError, EOFError):
        return []
