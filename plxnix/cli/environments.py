"""Environments that commands use: which is meant, and that it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from plxnix.cli.failures import report_failure
from plxnix.cli.places import find_place
from plxnix.cli.progress import Progress, talking
from plxnix.cli.session import Session
from plxnix.cli.targets import joined, load_closure
from plxnix.cli.units import counted, duration_text
from plxnix.errors import InvalidValue, PlxnixError, UnknownStage
from plxnix.model import RRef, isdref, isrref
from plxnix.pyenv import running
from plxnix.pyenv.inputs import is_lock
from plxnix.pyenv.installed import site_packages
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.realize.realizing import realize
from plxnix.realize.registry import Closure
from plxnix.store import Store

python_option = click.option(
    "--python", metavar="PYTHON", help="A version, or an interpreter's path; else the lock's."
)


@contextmanager
def of_packages(
    session: Session,
    packages: Sequence[str],
    python: str | None,
    refresh: bool,
    collisions: Sequence[str] = (),
) -> Iterator[str]:
    """Make an environment of packages and keep it from garbage collection in the block."""
    from plxnix.cli.env_inputs import inputs_of
    from plxnix.pyenv.stage import Interpreter

    version = Interpreter.of(python).version if python is not None else None
    folder = running.cache_folder() / "requests" / "new"
    inputs = inputs_of(folder, requirements=packages, python=version, collisions=collisions)
    lock = running.lock_request(inputs, refresh)
    store = session.store(create=True)
    closure = running.environment_closure(lock, store, python)
    with store.keeping(closure.derivations, session.console.say):
        yield store.path(_realized(session, closure, packages))


@contextmanager
def of_place(session: Session, where: str, python: str | None, keep: bool = False) -> Iterator[str]:
    """Make the environment that `where` names and keep it from garbage collection in the block.

    With `keep` also afterwards, if it is that of a lock.
    """
    path = Path(where)
    if path.is_dir() and not (path / "pylock.toml").exists():
        site_packages(os.path.abspath(where))
        yield os.path.abspath(where)
        return
    lock = path / "pylock.toml" if path.is_dir() else path
    if isrref(where) or isdref(where):
        store = session.store()
        rref, _ = find_place(store, where, False)
        with store.keeping([rref.dref], session.console.say):
            yield _checked(store, rref)
        return
    if is_lock(lock.name):
        store = session.store(create=True)
        closure = running.environment_closure(EnvironmentLock.read(lock), store, python)
    else:
        try:
            closure = load_closure(session, [where], {})
        except UnknownStage as error:
            if ":" in where or where.endswith(".py") or path.exists():
                raise
            raise InvalidValue(
                f"there is no environment {where!r}: {error.message}",
                "make it: plxnix env FOLDER -r requirements.txt",
            ) from None
    with closure.store.keeping(closure.derivations, session.console.say):
        rref = _realized(session, closure, [where])
        if keep and is_lock(lock.name):
            running.keep_latest(closure.store, rref, os.path.abspath(lock))
        yield _checked(closure.store, rref)


def _checked(store: Store, rref: RRef) -> str:
    """Return the path of an environment; raise `InvalidValue` if it is something else."""
    tree = store.path(rref)
    site_packages(tree)
    return tree


def _realized(session: Session, closure: Closure, words: Sequence[str]) -> RRef:
    """Realize a closure that has one result; report what fails, as `plxnix realize` does."""
    progress = Progress(session.console)
    try:
        with talking(session.console, progress):
            selected = realize(joined([closure]), observer=progress)
    except (PlxnixError, OSError) as error:
        report_failure(session, closure.store, progress, error, "")
        raise click.exceptions.Exit(1) from None
    found = list(selected.values())
    if len(found) != 1 or not isinstance(found[0], RRef):
        raise InvalidValue(
            f"{words[0]!r} has {len(found)} results, and an environment is one",
            "name the stage of the environment",
        )
    if progress.realized:
        took = duration_text(progress.seconds)
        session.console.say(f"realized {counted(len(progress.realized), 'stage')} in {took}")
    return found[0]
