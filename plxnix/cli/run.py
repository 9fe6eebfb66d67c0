"""`run`, `shell` and `env activate|check|docker`: environments of Python packages in use."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from plxnix.cli.failures import report_failure
from plxnix.cli.places import find_place
from plxnix.cli.progress import Progress, talking
from plxnix.cli.session import Command, Session, command, json_option, pass_session
from plxnix.cli.targets import joined, load_targets
from plxnix.cli.units import counted, duration_text, size_text
from plxnix.errors import InvalidValue, PlxnixError, UnknownStage
from plxnix.model import RRef, isdref, isrref
from plxnix.pyenv import running
from plxnix.pyenv.inputs import is_lock
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.realize.realizing import realize
from plxnix.realize.registry import Closure
from plxnix.shell_functions import shell as run_shell

_python_option = click.option(
    "--python", metavar="PYTHON", help="A version, or an interpreter's path; else the lock's."
)
_refresh_option = click.option(
    "--refresh", is_flag=True, help="Resolve packages again, and do not take what was found before."
)
_where_argument = click.argument("where", metavar="[FOLDER|LOCK|TARGET]", default=".")


class _Before(Command):
    """A command whose arguments after `--` are kept apart, as `ctx.meta["after"]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments at the first `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["after"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line shows."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


# -- run and shell ---------------------------------------------------------------------------------


@command(
    "run",
    "Run a command in a Python environment.",
    examples=(
        "plxnix run --env ./env -- python -c 'import numpy'",
        "plxnix run --env stages.py:environment python",
        "plxnix run -p ruff -- ruff check .",
    ),
)
@click.option("--env", "where", metavar="ENV", help="A folder with a lock, a lock, or a TARGET.")
@click.option(
    "-p", "--package", "packages", metavar="NAME", multiple=True, help="A package; no ENV is used."
)
@_python_option
@_refresh_option
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_session
def run(
    session: Session,
    where: str | None,
    packages: tuple[str, ...],
    python: str | None,
    refresh: bool,
    words: tuple[str, ...],
) -> int:
    """Run a command in a Python environment; the exit status is that of the command.

    What is not there yet is fetched and made; it stays in the store while the command runs. The
    environment is that of the folder here if none is named.
    """
    if packages and where is not None:
        raise click.UsageError("--env and -p exclude each other")
    if packages:
        found = _of_packages(session, packages, python, refresh)
    else:
        found = _of_place(session, where or ".", python)
    with found as tree:
        return running.run(words, running.variables(tree, os.environ))


run.context_settings["allow_interspersed_args"] = False


@click.command(
    "shell",
    cls=_Before,
    short_help="Run a shell in a realization, or with Python packages.",
    examples=(
        "plxnix shell report",
        "plxnix shell -p numpy pandas",
        "plxnix shell -p 'numpy>=2' -- python -c 'import numpy; print(numpy.__version__)'",
    ),
)
@click.argument("words", metavar="[REF[/PATH]]", nargs=-1)
@click.option("-p", "--package", "packages", metavar="NAME...", multiple=True, help="Packages.")
@click.option("--latest", is_flag=True, help="Of several realizations take the latest.")
@_python_option
@_refresh_option
@pass_session
def shell(
    session: Session,
    words: tuple[str, ...],
    packages: tuple[str, ...],
    latest: bool,
    python: str | None,
    refresh: bool,
) -> int:
    """Run $SHELL, or COMMAND: in the folder of a realization, or where Python packages are there.

    The exit status is that of the shell. What is in the store is read-only. Which versions a
    request for packages gave is kept, so that the next time gives the same: see --refresh.
    """
    after: list[str] = click.get_current_context().meta["after"]
    program = after or [os.environ.get("SHELL") or "/bin/sh"]
    if packages:
        with _of_packages(session, (*packages, *words), python, refresh) as tree:
            return running.run(program, running.variables(tree, os.environ))
    if len(words) != 1:
        raise click.UsageError("name one realization, or packages with -p")
    store = session.store()
    _, place = find_place(store, words[0], latest)
    if after:
        folder = place if os.path.isdir(place) else os.path.dirname(place)
        return running.run(after, os.environ, folder)
    status = run_shell(place, store)
    return status if status >= 0 else 128 - status


# -- env -------------------------------------------------------------------------------------------


@command(
    "activate",
    "Print code for a shell to be in an environment.",
    examples=(
        'eval "$(plxnix env activate ./env)"      # bash, zsh; `deactivate` ends it',
        "plxnix env activate ./env | source       # fish",
        "plxnix env activate ./env                # a new shell, on a terminal",
    ),
)
@_where_argument
@click.option("--shell", "kind", type=click.Choice(running.SHELLS), help="Else that of $SHELL.")
@_python_option
@pass_session
def activate(session: Session, where: str, kind: str | None, python: str | None) -> int:
    """Make an environment and print code that a shell evaluates; on a terminal, start a shell.

    The environment of a folder or a lock stays in the store until another is activated there.
    """
    name = os.path.basename(os.path.realpath(where)) or "env"
    with _of_place(session, where, python, keep=True) as tree:
        if kind is None and session.console.drawing:
            program = os.environ.get("SHELL") or "/bin/sh"
            return running.run([program], running.variables(tree, os.environ))
        session.console.data(running.activation(tree, kind or running.user_shell(), name).encode())
    return 0


@command(
    "check",
    "Check that an environment imports and is whole.",
    examples=("plxnix env check ./env", "plxnix env check --json stages.py:environment"),
)
@_where_argument
@click.option("--no-import", is_flag=True, help="Run nothing of the environment.")
@click.option("--strict", is_flag=True, help="Fail for what may not matter, too.")
@_python_option
@json_option
@pass_session
def check(
    session: Session,
    where: str,
    no_import: bool,
    strict: bool,
    python: str | None,
    as_json: bool,
) -> int:
    """Import each module of an environment, and compare its files with what its wheels say.

    Also checked: that each package has what it requires, and that the shared libraries that wheels
    need are there. Fails if anything is wrong; warnings are for what may not matter.
    """
    from plxnix.pyenv.checking import check_environment

    with _of_place(session, where, python) as tree:
        found = check_environment(tree, not no_import)
    wrong = [one for one in found.problems if one.fatal or strict]
    if as_json:
        session.console.json(
            {
                "sound": not wrong,
                "distributions": {one.name: one.version for one in found.distributions},
                "modules": [vars(one) for one in found.modules],
                "problems": [vars(one) for one in found.problems],
            }
        )
        return 1 if wrong else 0
    for module in found.modules:
        if module.status == "skipped":
            session.console.detail(f"{module.name} was skipped: {module.reason}")
    session.console.table(
        ["", "PACKAGE", "PROBLEM"],
        [
            ("error" if one in wrong else "warning", one.distribution or "-", one.text)
            for one in found.problems
        ],
    )
    count = sum(module.status == "imported" for module in found.modules)
    skipped = sum(module.status == "skipped" for module in found.modules)
    said = f"{counted(len(found.distributions), 'package')}, {counted(count, 'module')} imported"
    said += f", {skipped} skipped" if skipped else ""
    session.console.say(f"{said}; " + (counted(len(wrong), "problem") if wrong else "sound"))
    return 1 if wrong else 0


def _labels(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, parameter)
        found[name] = value
    return found


@command(
    "docker",
    "Write an image of an environment.",
    examples=(
        "plxnix env docker ./env -o image.tar && docker load -i image.tar",
        "plxnix env docker ./env -o image.tar --name lab:1 --entrypoint 'jupyter lab'",
    ),
)
@_where_argument
@click.option("-o", "--output", metavar="FILE", required=True, help="The image, a tar archive.")
@click.option("--name", metavar="NAME[:TAG]", help="The image's name; else the folder's.")
@click.option(
    "--base",
    metavar="ROOT",
    type=click.Path(exists=True),
    help="A root file system: folder or tar.",
)
@click.option("--entrypoint", metavar="COMMAND", default="python", help="What the image runs.")
@click.option(
    "--label", "labels", metavar="NAME=VALUE", multiple=True, callback=_labels, help="A label."
)
@_python_option
@json_option
@pass_session
def docker(
    session: Session,
    where: str,
    output: str,
    name: str | None,
    base: str | None,
    entrypoint: str,
    labels: dict[str, str],
    python: str | None,
    as_json: bool,
) -> None:
    """Write an OCI image of an environment, without a daemon, for docker, podman and skopeo.

    It holds the environment at /env, its interpreter, and the libraries and programs of this
    machine that they need, so it runs by itself. With --base what is there lies below, and an
    interpreter that is there is used. The same environment gives the same bytes.
    """
    from plxnix.pyenv.image import write_image

    try:
        words = shlex.split(entrypoint)
    except ValueError as error:
        raise click.UsageError(f"--entrypoint {entrypoint!r}: {error}") from None
    if name is None:
        name = "".join(letter for letter in _title(where).lower() if letter.isalnum()) or "env"
    with _of_place(session, where, python) as tree:
        image = write_image(tree, output, name, base, words, labels)
    for missing in image.missing:
        session.console.warn(f"{missing.needed_by} needs {missing.library}, which is nowhere")
    if as_json:
        session.console.json(
            {"name": image.name, "digest": image.digest, "size": image.size, "path": output}
        )
    else:
        session.console.line(image.digest)
    session.console.say(f"{output}: the image {image.name}, {size_text(image.size)}")


def _title(where: str) -> str:
    place = os.path.realpath(where)
    return os.path.basename(os.path.dirname(place) if is_lock(os.path.basename(place)) else place)


# -- environments ----------------------------------------------------------------------------------


@contextmanager
def _of_packages(
    session: Session, packages: Sequence[str], python: str | None, refresh: bool
) -> Iterator[str]:
    from plxnix.cli.env_inputs import inputs_of
    from plxnix.pyenv.stage import Interpreter

    version = Interpreter.of(python).version if python is not None else None
    folder = running.cache_folder() / "requests" / "new"
    inputs = inputs_of(folder, requirements=packages, python=version)
    lock = running.lock_request(inputs, refresh)
    store = session.store(create=True)
    closure = running.environment_closure(lock, store, python)
    with running.kept(store, _realized(session, closure, packages)) as tree:
        yield tree


@contextmanager
def _of_place(
    session: Session, where: str, python: str | None, keep: bool = False
) -> Iterator[str]:
    """Make the environment that `where` names and keep it from garbage collection in the block.

    With `keep` also afterwards, if it is that of a lock.
    """
    from plxnix.pyenv.installed import site_packages

    path = Path(where)
    if path.is_dir() and not (path / "pylock.toml").exists():
        site_packages(os.path.abspath(where))
        yield os.path.abspath(where)
        return
    lock = path / "pylock.toml" if path.is_dir() else path
    if path.is_dir() or is_lock(path.name):
        read = EnvironmentLock.read(lock)
        store = session.store(create=True)
        closure = running.environment_closure(read, store, python)
        rref = _realized(session, closure, [where])
        if keep:
            running.keep_latest(store, rref, os.path.abspath(lock))
    elif isrref(where) or isdref(where):
        store = session.store()
        rref, _ = find_place(store, where, False)
    else:
        store = session.store(create=True)
        try:
            with talking(session.console, Progress(session.console)):
                (closure,) = load_targets(session, store, [where], {})
        except UnknownStage as error:
            if ":" in where or where.endswith(".py") or path.exists():
                raise
            raise InvalidValue(
                f"there is no environment {where!r}: {error.message}",
                "make it: plxnix env FOLDER -r requirements.txt",
            ) from None
        rref = _realized(session, closure, [where])
        store = closure.store
    with running.kept(store, rref) as tree:
        site_packages(tree)
        yield tree


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


__all__ = ["activate", "check", "docker", "run", "shell"]
