"""`env lock|update|show|diff|tree`: the locks of environments of Python packages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from plxnix.builders.package_index import normalized
from plxnix.cli.branches import branches
from plxnix.cli.env_inputs import (
    asked,
    input_options,
    inputs_of,
    lock_path,
    say_sources,
    target_of,
    target_options,
)
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted
from plxnix.errors import InvalidLock, InvalidValue
from plxnix.export.output import write_files
from plxnix.pyenv.differences import Change, differences
from plxnix.pyenv.inputs import is_lock
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.target import Target

LOCK: Final = "pylock.toml"


@command(
    "lock",
    "plxnix env lock -r requirements.txt",
    "plxnix env lock -p numpy -p 'pandas>=2' --python 3.12 --universal",
    "plxnix env lock -r pyproject.toml --extra plot --group test",
    "plxnix env lock --check          is pylock.toml what its inputs give?",
)
@input_options
@click.option("-o", "--output", metavar="FILE", default=LOCK, help=f"The lock; default: {LOCK}.")
@click.option("--check", is_flag=True, help="Write nothing; fail if the lock would change.")
@pass_session
def lock(session: Session, /, output: str, check: bool, **given: Any) -> None:
    """Resolve requirements by uv, and write a lock with all that the environment is made from.

    Versions that the lock has already stay, as far as they fit: `env update` is for newer ones.
    Without requirements, those that the lock was made from are taken.
    """
    from plxnix.pyenv.resolving import resolve

    path = lock_path(output)
    old = _ours(path)
    if asked(given):
        inputs = inputs_of(path.parent, **given)
    elif path.exists():
        inputs = EnvironmentLock.read(path).inputs
    else:
        raise InvalidValue(f"there is no {output!r} yet", "give -r FILE, or -p NAME")
    path.parent.mkdir(parents=True, exist_ok=True)
    made = resolve(inputs, path.parent, old, warn=session.console.warn)
    if check:
        _check(session, path, old, made)
        return
    write_files({path: made.text})
    _say(session, path, made)


@command(
    "update",
    "plxnix env update                all packages of pylock.toml",
    "plxnix env update numpy ./env",
)
@click.argument("names", metavar="[NAME]... [PYLOCK]", nargs=-1)
@json_option
@pass_session
def update(session: Session, names: Sequence[str], as_json: bool) -> None:
    """Resolve the inputs of a lock again, with newer versions of the packages named, or of all."""
    from plxnix.pyenv.resolving import resolve

    *before, last = names or (LOCK,)
    chosen, path = (before, Path(last)) if _is_file(last) else (list(names), Path(LOCK))
    path = _file(path)
    lock_path(os.fspath(path))
    old = EnvironmentLock.read(path)
    known = {str(one.name) for one in old.pylock.packages} | {"installer"}
    wanted = [normalized(name) for name in chosen]
    for name in wanted:
        if name not in known:
            raise InvalidValue(f"{path} has no package {name!r}", "plxnix env show tells which")
    made = resolve(old.inputs, path.parent, old, wanted or None, session.console.warn)
    write_files({path: made.text})
    _print(session, differences(old, made), as_json)
    _say(session, path, made)


@command("show", "plxnix env show", "plxnix env show env/pylock.toml --platform aarch64-linux")
@click.argument("path", metavar="[PYLOCK]", default=LOCK)
@target_options
@json_option
@pass_session
def show(
    session: Session, path: str, python: str | None, platform: str | None, as_json: bool
) -> None:
    """List what a lock installs on one platform: what it was locked for, if nothing is said."""
    read = EnvironmentLock.read(_file(Path(path)))
    target = target_of(python, platform, read.plxnix, Target.here())
    chosen = read.choose(target)
    if as_json:
        session.console.json(
            {
                "python": target.python,
                "platform": target.platform,
                "packages": [
                    {
                        "name": one.name,
                        "version": one.version,
                        "kind": one.kind,
                        "filename": one.filename,
                        "url": one.url or None,
                        "path": one.path or None,
                        "hash": one.sha256.sri,
                        "requested": one.requested,
                    }
                    for one in chosen
                ],
            }
        )
        return
    session.console.table(
        ["PACKAGE", "VERSION", "FROM", "FILE", "REQUESTED"],
        [
            (one.name, one.version, one.kind, one.filename, "yes" if one.requested else "")
            for one in chosen
        ],
    )
    session.console.say(f"{counted(len(chosen), 'package')} for {target}")


@command("diff", "plxnix env diff pylock.toml new/pylock.toml", "plxnix env diff a b --json")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@json_option
@pass_session
def diff(session: Session, before: str, after: str, as_json: bool) -> None:
    """Show which packages lock B has, and A has not, or in another version.

    A and B are locks, or folders of environments. `files` stands for a package that is fetched from
    other files, of the same version.
    """
    one, two = (EnvironmentLock.read(_file(Path(path))) for path in (before, after))
    _print(session, differences(one, two), as_json)


@command("tree", "plxnix env tree", "plxnix env tree env/pylock.toml")
@click.argument("path", metavar="[PYLOCK]", default=LOCK)
@json_option
@pass_session
def tree(session: Session, path: str, as_json: bool) -> None:
    """Draw the packages of a lock below those that need them.

    A lock does not say this: uv resolves its inputs once more, bound to the versions of the lock.
    What was drawn before is marked (*).
    """
    from plxnix.pyenv.needs import needs

    read = EnvironmentLock.read(_file(Path(path)))
    found = needs(read)
    if as_json:
        session.console.json({name: list(below) for name, below in found.items() if name})
        return
    versions = {str(one.name): str(one.version or "") for one in read.pylock.packages}

    def label(name: str) -> str:
        return f"{name} {versions.get(name, '')}".rstrip()

    session.console.lines(branches(found.get("", ()), found, label))


def _ours(path: Path) -> EnvironmentLock | None:
    """Return the lock that is there, None if there is none that can be read."""
    if not path.exists():
        return None
    try:
        return EnvironmentLock.read(path)
    except InvalidLock:
        return None


def _file(path: Path) -> Path:
    """Return the lock that a path names: itself, or that of its folder."""
    found = path / LOCK if path.is_dir() else path
    if not found.exists():
        raise InvalidValue(f"there is no lock {os.fspath(found)!r}", "plxnix env lock makes one")
    return found


def _is_file(name: str) -> bool:
    if is_lock(name) or os.sep in name or name in (os.curdir, os.pardir):
        return True
    return (Path(name) / LOCK).exists()


def _check(
    session: Session, path: Path, old: EnvironmentLock | None, made: EnvironmentLock
) -> None:
    if path.exists() and path.read_bytes() == made.text.encode():
        session.console.say(f"{path} is as its inputs give it")
        return
    if old is not None:
        _print(session, differences(old, made), False)
    raise InvalidLock(f"{path} is not what its inputs give", "write it: plxnix env lock")


def _print(session: Session, changes: Sequence[Change], as_json: bool) -> None:
    if as_json:
        session.console.json([vars(one) for one in changes])
        return
    session.console.table(
        ["PACKAGE", "CHANGE", "BEFORE", "AFTER"],
        [(one.name, one.kind, one.before, one.after) for one in changes],
    )
    if not changes:
        session.console.say("the packages are the same")


def _say(session: Session, path: Path, made: EnvironmentLock) -> None:
    session.console.say(f"{path}: {counted(len(made.pylock.packages), 'package')}")
    say_sources(session, made)
