"""`instantiate` and `realize`: from targets to references and results."""

from __future__ import annotations

from typing import Any

import click

from plxnix.cli.console import Cell
from plxnix.cli.failures import report_failure
from plxnix.cli.out_links import check_link, link_results, out_link_option
from plxnix.cli.progress import Progress, talking
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.targets import (
    arguments_option,
    command_line,
    joined,
    load_targets,
    targets_argument,
)
from plxnix.cli.units import counted, duration_text
from plxnix.cli.values import duration, pairs
from plxnix.errors import PlxnixError
from plxnix.model import RRef
from plxnix.realize.events import EventLog
from plxnix.realize.labels import Labels
from plxnix.realize.plan import Plan
from plxnix.realize.realizing import realize as realize_closure
from plxnix.written import read


def _amounts(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    found = {}
    for name, text in pairs(context, parameter, values).items():
        found[name] = amount = read(text, "number")
        if not isinstance(amount, (int, float)) or isinstance(amount, bool) or amount < 0:
            raise click.BadParameter(f"{name}={text} is no amount", context, parameter)
    return found


@command(
    "instantiate",
    "plxnix instantiate experiment.py:plot",
    "plxnix instantiate experiment.py:train -a rate=0.1 -a 'layers=[64, 10]'",
)
@targets_argument
@arguments_option
@json_option
@pass_session
def instantiate(
    session: Session, targets: tuple[str, ...], arguments: dict[str, Any], as_json: bool
) -> None:
    """Register the stages of each TARGET and print the references of their derivations.

    Nothing is realized; the configs are written into the store.
    """
    closures = load_targets(session, targets, arguments)
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
    "plxnix realize experiment.py:plot",
    "plxnix realize experiment.py:plot -a rate=0.1 --dry-run",
    "plxnix realize experiment.py:plot --out-link plot --print paths",
    "plxnix realize experiment.py:plot -j 4 --keep-going --timeout 2h",
)
@targets_argument
@arguments_option
@click.option("-n", "--dry-run", is_flag=True, help="Only show which stages would run, and why.")
@click.option("--force", is_flag=True, help="Run the targets even if there are results.")
@out_link_option()
@click.option("--keep-failed", is_flag=True, help="Keep the folder of a stage that fails.")
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "on", "off"]),
    help="Run commands in a sandbox, with the bytes of Nix; else PLXNIX_SANDBOX, else auto.",
)
@click.option(
    "-j",
    "--jobs",
    metavar="N",
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
    progress = Progress(session.console)
    closures = load_targets(session, targets, arguments)
    closure = joined(closures)
    if dry_run:
        plan = realize_closure(closure, force_rebuild=force, dry_run=True)
        _show_plan(session, plan, closure.labels, as_json)
        return
    log = None if events is None else EventLog(events, progress)
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
        again = "" if keep_failed else command_line(targets, arguments)
        report_failure(session, closure.store, progress, error, again)
        raise click.exceptions.Exit(1) from None
    finally:
        if log is not None:
            log.close()
    results = {dref: _list(found) for dref, found in selected.items()}
    rrefs = list(dict.fromkeys(rref for found in results.values() for rref in found))
    link_results(closure.store, out_link, rrefs)
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


def _list(found: RRef | list[RRef]) -> list[RRef]:
    return found if isinstance(found, list) else [found]


def _summary(progress: Progress) -> str:
    ran, cached = len(progress.realized), len(progress.satisfied)
    took = duration_text(progress.seconds)
    if not ran:
        what = "the stage is" if cached == 1 else f"all {cached} stages are"
        return f"nothing to do: {what} realized ({took})"
    return f"realized {counted(ran, 'stage')}, {cached} cached, in {took}"


def _show_plan(session: Session, plan: Plan, labels: Labels, as_json: bool) -> None:
    if as_json:
        session.console.json([{**stage._asdict(), "would_run": stage.would_run} for stage in plan])
        return
    session.console.table(
        ["STAGE", "HASH", "", "REASON"],
        [
            (
                Cell(labels[stage.dref], stage.dref.name),
                Cell(stage.dref.short, stage.dref),
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
