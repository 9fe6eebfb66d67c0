"""The options that say what an environment of Python packages is made from."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from plxnix.cli.session import Session
from plxnix.errors import InvalidValue
from plxnix.pyenv.inputs import Inputs, is_local, is_lock, is_url
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.target import Target

collisions_option = click.option(
    "--collisions",
    metavar="PATTERN",
    multiple=True,
    help="Paths that several packages may own, such as 'lib/*/site-packages/tests/*'.",
)

_OPTIONS = (
    click.option(
        "-r",
        "--requirements",
        "files",
        metavar="FILE",
        multiple=True,
        help="requirements.txt, pyproject.toml, pylock.toml or uv.lock.",
    ),
    click.option(
        "-p",
        "--package",
        "requirements",
        metavar="NAME...",
        multiple=True,
        help="A requirement: a name, 'NAME>=2', 'NAME[EXTRA]', 'NAME @ URL', a folder.",
    ),
    click.option(
        "-c", "--constraints", metavar="FILE", multiple=True, help="Versions that are allowed."
    ),
    click.option("--extra", "extras", metavar="NAME", multiple=True, help="An extra of FILE."),
    click.option("--group", "groups", metavar="NAME", multiple=True, help="A group of FILE."),
    click.option("--python", metavar="VERSION", help="Such as 3.12; default: this one."),
    click.option(
        "--platform",
        "platforms",
        metavar="SYSTEM",
        multiple=True,
        help="Such as aarch64-linux; default: this one.",
    ),
    click.option("--universal", is_flag=True, help="Lock for all platforms."),
    click.option(
        "--exclude-newer", metavar="DATE", default="", help="As it would have been on that day."
    ),
    click.option(
        "--provider",
        "providers",
        metavar="NAME=KIND",
        multiple=True,
        help="What to take a package from, in order: wheel, sdist, nixpkgs; _default for all.",
    ),
    collisions_option,
)


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `inputs_of` takes; what follows -p NAME are names, too."""

    @functools.wraps(function)
    def merged(*arguments: Any, more: tuple[str, ...], **given: Any) -> Any:
        if more and not given["requirements"]:
            raise click.UsageError(f"what is {more[0]!r}? -p NAME is for packages, -r for files")
        given["requirements"] += more
        return function(*arguments, **given)

    for option in reversed(_OPTIONS):
        merged = option(merged)
    return click.argument("more", metavar="[NAME]...", nargs=-1)(merged)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--python` and `--platform`, which `target_of` takes."""
    for option in (
        click.option("--platform", metavar="SYSTEM", help="Default: what it was locked for."),
        click.option("--python", metavar="VERSION", help="Default: what it was locked for."),
    ):
        function = option(function)
    return function


def asked(given: Mapping[str, Any]) -> bool:
    """Tell whether options name requirements; raise `UsageError` if there are but others."""
    if any(given[name] for name in ("files", "requirements", "groups")):
        return True
    if any(given.values()):
        raise click.UsageError("there are options, but no requirements: give -r FILE, or -p NAME")
    return False


def inputs_of(
    folder: Path,
    *,
    files: Sequence[str] = (),
    requirements: Sequence[str] = (),
    constraints: Sequence[str] = (),
    extras: Sequence[str] = (),
    groups: Sequence[str] = (),
    python: str | None = None,
    platforms: Sequence[str] = (),
    universal: bool = False,
    exclude_newer: str = "",
    providers: Sequence[str] = (),
    collisions: Sequence[str] = (),
) -> Inputs:
    """Return the inputs of a lock that will be in `folder`, from paths as they were typed here.

    Raises `InvalidValue` for what cannot be.
    """
    here = Target.here()
    if groups and not files and os.path.isfile("pyproject.toml"):
        files = ["pyproject.toml"]
    for one in files:
        if not is_url(one) and not os.path.isfile(one):
            raise InvalidValue(f"there is no file {one!r}", "-p NAME is for names of packages")
    return Inputs(
        requirements=tuple(_requirement(one, folder) for one in requirements),
        files=tuple(_seen_from(folder, one) for one in files),
        constraints=tuple(_seen_from(folder, one) for one in constraints),
        extras=tuple(extras),
        groups=tuple(groups),
        python=python or here.python,
        platforms=tuple(platforms) or (here.platform,),
        universal=universal,
        exclude_newer=exclude_newer,
        providers=_providers(providers),
        collisions=tuple(collisions),
    )


def target_of(
    python: str | None, platform: str | None, table: Mapping[str, Any], default: Target
) -> Target:
    """Return the target that options name; what they leave out is as the lock's table has it."""
    platforms = table.get("platforms")
    known = platforms[0] if isinstance(platforms, list) and platforms else default.platform
    return Target(python or str(table.get("python", default.python)), platform or str(known))


def say_sources(session: Session, made: EnvironmentLock) -> None:
    """Say which packages of a lock have to be built, if there are any."""
    chosen = {one.name: one for target in made.inputs.targets for one in made.choose(target)}
    built = [
        f"{one.name} (as it is now, in spite of -e)" if one.editable else one.name
        for one in chosen.values()
        if one.kind != "wheel"
    ]
    if built:
        session.console.say(f"built from sources: {', '.join(built)}")


def lock_path(path: str) -> Path:
    """Return the place of a lock; raise `InvalidValue` for a name that PEP 751 does not allow."""
    name = os.path.basename(path)
    if name == "uv.lock" or not is_lock(name):
        raise InvalidValue(
            f"a lock cannot be called {name!r}", "it is pylock.toml or pylock.NAME.toml"
        )
    return Path(path)


def _requirement(one: str, folder: Path) -> str:
    if not is_local(one):
        return one
    place, bracket, extras = one, "", ""
    if one.endswith("]") and not os.path.exists(one):
        place, bracket, extras = one.rpartition("[")
    return f"{_seen_from(folder, place)}{bracket}{extras}"


def _seen_from(folder: Path, path: str) -> str:
    if is_url(path):
        return path
    # Both as they really are: what is relative must hold wherever the lock's folder is a link to.
    found = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    return found if found.startswith(".") else f"./{found}"


def _providers(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in given:
        name, sign, order = one.partition("=")
        if not sign or not name or not order:
            raise InvalidValue(f"not a provider: {one!r}", "--provider NAME=wheel,sdist")
        found[name] = order
    return found
