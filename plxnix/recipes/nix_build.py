"""`nix_build`: a stage that is a build of Nix, so that stages can depend on anything in Nix.

Its identity is the derivation that the expression evaluates to: config and reference change with
the `.drv` alone. What the user wrote is not in the config, but in the record, as `written`.

Natively Nix builds it, and a realization is a folder of links: one for each entry at the top of the
output (`bin -> /nix/store/...-hello/bin`), or one with the stage's name if the output is a file.
Refpaths then lead where they lead in Nix; the folder is small, and has a hash of its own, that of
the paths. One link in the folder's place could not be a realization, and a copy would hold
paths into the Nix store that nothing keeps there. What is linked has a root in Nix for as long as
the realization is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plxnix.config import Config
from plxnix.errors import BuildFailed, InvalidValue, ToolFailed
from plxnix.model import DRef, path_text
from plxnix.nix import tools
from plxnix.nix.evaluation import (
    Answer,
    Question,
    absolute,
    evaluate,
    of_file,
    of_flake,
    of_text,
)
from plxnix.nix.graph import Existing, Node, Package
from plxnix.nix.paths import sanitise_name
from plxnix.nix.text import attribute
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.toolchain import this_system


class NixBuild(Recipe):
    """The recipe behind `nix_build`; it knows what was asked, for exports and for display."""

    kind = "nix-1"

    def __init__(self, question: Question, answer: Answer, output: str | None) -> None:
        self._question = question
        self._answer = answer
        chosen = "" if output is None else f".{attribute(output)}"
        self._expression = (*answer.expression, chosen)

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation that Nix has made."""
        del lowering
        outputs = tuple(sorted(config["outputs"].items()))
        package = Package(config.name, config["drv"], outputs, config["modulo"])
        existing = Existing(package, config["output"], self._expression)
        system = self._answer.system or this_system()
        node = Node(config.name, system, (), comment=str(config.dref), existing=existing)
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Let Nix build it, or fetch it from its caches, and link to what comes out."""
        config = job.config
        path = self._build(job, config["drv"], config["output"])
        output = job.folder() / "out"
        output.mkdir()
        flat = not os.path.isdir(path)
        for name, target in _links(config.name, path, flat):
            (output / name).symlink_to(target)
        nix = {
            "derivation": config["drv"],
            "path": path,
            "identical": True,
            "references": {},
            "root": path,
            "linked": True,
            "written": absolute(self._expression),
        }
        return Artifact(output, flat, nix)

    def _build(self, job: Job, drv: str, output: str) -> str:
        if not os.path.exists(drv):
            evaluate(self._question)  # It was garbage collected since.
        # Holds the result until it is published, with a root of its own.
        root = Path(job.folder()) / "result"
        try:
            (path,) = tools.build(f"{drv}!{output}", out_link=root)
        except ToolFailed as error:
            job.log.write(error.stderr.encode(errors="replace"))
            # Without the command, whose folder is gone when somebody reads this.
            said = tools.last_lines(error.stderr or error.message)
            raise BuildFailed(
                f"Nix could not make {job.dref}:{said}",
                "its output says why: `plxnix log`",
                job.dref,
            ) from error
        if path != job.config["outputs"][output]:
            raise BuildFailed(
                f"Nix made {path} of {drv}, not {job.config['outputs'][output]}",
                "please report this as a defect",
                job.dref,
            )
        return path


def _links(name: str, path: str, flat: bool) -> list[tuple[str, str]]:
    if flat:
        return [(name, path)]
    return [(entry, f"{path}/{entry}") for entry in sorted(os.listdir(path))]


@takes_registry
def nix_build(
    expression: str | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    attribute: str | None = None,
    flake: str | None = None,
    args: Mapping[str, Any] | None = None,
    output: str | None = None,
    name: str | None = None,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is a build of Nix, and return its reference.

    It is the value of `expression` (Nix text) or of `file` (a Nix file, or a folder with a
    `default.nix`), of which `attribute` is a path such as `python3.pkgs.numpy`; or an output of a
    `flake`, `REF#ATTRIBUTE` as `nix build` takes it. A function is called with `args` (null,
    booleans, whole numbers, strings, lists, dicts). `output` chooses one such as `dev`, by default
    that which Nix takes. `name` is the stage's (default: the derivation's); `fields` go into the
    config, such as promises: `hello=[selfref, "bin", "hello"]`.

    Nix evaluates it now, and once a process (see `plxnix.nix.evaluation`); it is another stage if
    the `.drv` is another. Relative paths are those of the process's folder, also in `expression`,
    which is exported as it is: there, name files by absolute paths, or use `file`.

    Raises `InvalidValue` if that is no derivation or has no such output, `ToolMissing` without Nix,
    `ToolFailed` with Nix's words if it cannot be evaluated; while realizing `BuildFailed`.
    """
    del registry
    question = _question(expression, file, attribute, flake, args)
    answer = evaluate(question)
    package, chosen = answer.package, output or answer.output
    if chosen not in dict(package.outputs):
        raise InvalidValue(
            f"{package.name} has no output {chosen!r}",
            f"it has {', '.join(one for one, _ in package.outputs)}",
        )
    config = {
        **fields,
        FIELD: NixBuild.kind,
        "name": sanitise_name(name or package.name),
        "drv": package.drv_path,
        "modulo": package.modulo,
        "output": chosen,
        "outputs": dict(package.outputs),
    }
    return mkdrv(Config(config), match_only(), NixBuild(question, answer, output))


def _question(
    expression: str | None,
    file: str | os.PathLike[str] | None,
    attribute: str | None,
    flake: str | None,
    args: Mapping[str, Any] | None,
) -> Question:
    given = {"expression": expression, "file": file, "flake": flake}
    named = [key for key, value in given.items() if value is not None]
    if len(named) != 1:
        raise InvalidValue(
            f"nix_build got {' and '.join(named) or 'nothing to build'}",
            "give one of expression=, file= and flake=",
        )
    if not isinstance(expression, str | None):
        raise InvalidValue(f"the expression is {expression!r:.80}", "give it as text")
    if flake is not None:
        if attribute is not None or args:
            raise InvalidValue(
                f"the flake {flake!r} got an attribute or arguments",
                "write flake='REF#ATTRIBUTE'; flakes take no arguments",
            )
        return of_flake(flake, this_system())
    if file is not None:
        return of_file(path_text(file, "the file"), attribute, args)
    return of_text(expression or "", attribute, args)
