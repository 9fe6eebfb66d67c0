"""`env activate|check|docker`: environments of Python packages in use."""

from __future__ import annotations

import os
import shlex

import click

from plxnix.cli.environments import of_place, python_option
from plxnix.cli.session import Session, command, json_option, pass_session
from plxnix.cli.units import counted, size_text
from plxnix.cli.values import pairs
from plxnix.pyenv import running
from plxnix.pyenv.inputs import is_lock

where_argument = click.argument("where", metavar="[FOLDER | LOCK | TARGET]", default=".")


@command(
    "activate",
    'eval "$(plxnix env activate ./env)"      # bash, zsh; `deactivate` ends it',
    "plxnix env activate ./env | source       # fish",
    "plxnix env activate ./env                # a new shell, on a terminal",
)
@where_argument
@click.option("--shell", "kind", type=click.Choice(running.SHELLS), help="Else that of $SHELL.")
@python_option
@pass_session
def activate(session: Session, where: str, kind: str | None, python: str | None) -> int:
    """Make an environment and print code that a shell evaluates; on a terminal, start a shell.

    The environment of a folder or a lock stays in the store until another is activated there.
    """
    name = os.path.basename(os.path.realpath(where)) or "env"
    with of_place(session, where, python, keep=True) as tree:
        if kind is None and session.console.drawing:
            program = os.environ.get("SHELL") or "/bin/sh"
            return running.run([program], running.variables(tree, os.environ))
        session.console.data(running.activation(tree, kind or running.user_shell(), name).encode())
    return 0


@command("check", "plxnix env check ./env", "plxnix env check --json stages.py:environment")
@where_argument
@click.option("--no-import", is_flag=True, help="Run nothing of the environment.")
@click.option("--strict", is_flag=True, help="Fail for what may not matter, too.")
@python_option
@json_option
@pass_session
def check(
    session: Session, where: str, no_import: bool, strict: bool, python: str | None, as_json: bool
) -> int:
    """Import each module of an environment, and compare its files with what its wheels say.

    Also checked: that each package has what it requires, and that the shared libraries that wheels
    need are there. Fails if anything is wrong; warnings are for what may not matter.
    """
    from plxnix.pyenv.checking import check_environment

    with of_place(session, where, python) as tree:
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


@command(
    "docker",
    "plxnix env docker ./env -o image.tar && docker load -i image.tar",
    "plxnix env docker ./env -o image.tar --name lab:1 --entrypoint 'jupyter lab'",
)
@where_argument
@click.option("-o", "--output", metavar="FILE", required=True, help="The image, a tar archive.")
@click.option("--name", metavar="NAME[:TAG]", help="The image's name; else the folder's.")
@click.option(
    "--base",
    metavar="ROOT",
    type=click.Path(exists=True),
    help="A root file system: folder or tar.",
)
@click.option(
    "--with",
    "data",
    type=click.Choice(["certificates", "zones"]),
    multiple=True,
    help="Certificates, time zones of this machine.",
)
@click.option("--entrypoint", metavar="COMMAND", default="python", help="What the image runs.")
@click.option(
    "--label", "labels", metavar="LABEL=VALUE", multiple=True, callback=pairs, help="A label."
)
@python_option
@json_option
@pass_session
def docker(
    session: Session,
    where: str,
    output: str,
    name: str | None,
    base: str | None,
    data: tuple[str, ...],
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
    with of_place(session, where, python) as tree:
        image = write_image(tree, output, name, base, words, labels, data)
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
