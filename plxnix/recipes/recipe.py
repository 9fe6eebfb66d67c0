"""Recipes: realizers that are data.

A recipe's config alone says what is done, so the stage can be realized here and handed to Nix. A
new kind of stage is a new subclass in a module of its own: `lower` says what it is in Nix, `make`
makes it natively.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from plxnix.builders.process import run_process
from plxnix.config import Config
from plxnix.errors import BuildFailed, Unexportable
from plxnix.model import Context, DRef, RRef
from plxnix.nix.derivation import placeholder
from plxnix.nix.graph import Node, Package, Reference, Source, Text
from plxnix.realize.registry import RealizeArguments
from plxnix.realize.run import Artifact, Log, Observer, current_run
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.store import Store

#: The field of a config that names the recipe: its kind and version, such as `fetch-1`.
FIELD = "__recipe__"


class Recipe(ABC):
    """A kind of stage whose config is its whole definition."""

    #: Kind and version, written into configs: a recipe that does something else gets a new one.
    kind: ClassVar[str]

    def deterministic(self, config: Config) -> bool:
        """Tell whether the stage gives the same bytes each time, as recipes do by default."""
        return config.get("deterministic") is not False

    @abstractmethod
    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation that the config stands for; nothing else may be read."""

    @abstractmethod
    def make(self, job: Job) -> Artifact:
        """Make one realization natively and return its folder."""

    def runs(self, config: Config) -> int:
        """Return how many realizations one run makes."""
        del config
        return 1

    def __call__(
        self, store: Store, dref: DRef, context: Context, arguments: RealizeArguments
    ) -> list[Artifact]:
        """Realize the stage; this is what makes a recipe a realizer."""
        job = Job(store, dref, context, arguments)
        return [self.make(job) for _ in range(self.runs(job.config))]

    def __repr__(self) -> str:
        return f"<recipe {self.kind}>"


class Job:
    """One stage being made natively by its recipe."""

    def __init__(
        self, store: Store, dref: DRef, context: Context, arguments: RealizeArguments
    ) -> None:
        run = current_run()
        if run is None or run.work is None:
            raise BuildFailed(
                f"the recipe of {dref} was called by hand", "recipes run inside realize()", dref
            )
        self.run = run
        self.store = store
        self.dref = dref
        self.context = context
        self.arguments = arguments
        self.config = store.config(dref)
        self.lowering = _lowering(run.work)

    @property
    def log(self) -> Log:
        """Where the output of programs goes."""
        return self.run.log

    @property
    def observer(self) -> Observer:
        """Who is told of progress."""
        return self.run.observer

    def folder(self) -> Path:
        """Make a new folder that is removed if the recipe fails."""
        path = Path(self.store.session().folder(self.dref.name))
        self.run.folders.append(path)
        return path

    def native(self, value: Text, sources: Path) -> str:
        """Fill the holes of a text with native paths; text files are written below `sources`."""
        return "".join(
            part if isinstance(part, str) else self._native_path(part, sources) for part in value
        )

    def _native_path(self, reference: Reference, sources: Path) -> str:
        if isinstance(reference.node, Source):
            path = sources / reference.node.name
            if not path.exists():
                path.write_text(reference.node.contents, newline="")
            return os.fspath(path)
        if isinstance(reference.node, Package):
            raise Unexportable(f"{reference.node.name} is a package of Nix", dref=self.dref)
        for dref, rrefs in self.context.items():
            for number, lowered in enumerate(self.lowering.of(dref)):
                if lowered.node is reference.node:
                    return self._realized(lowered, lowered.rref or rrefs[number])
        raise Unexportable(
            f"{self.dref} refers to {reference.node.name}, which it does not depend on directly",
            "this is a defect of its recipe",
            self.dref,
        )

    def _realized(self, lowered: Lowered, rref: RRef) -> str:
        path = self.store.path(rref)
        if lowered.rref is not None:
            # The text goes on to the file where there is only one.
            return path
        if lowered.flat:
            return f"{path}/{lowered.flat}"
        return f"{path}/{rref.name}" if self.store.record(rref).flat else path

    def build(self, lowered: Lowered) -> Artifact:
        """Run the derivation's own builder as a plain process and adopt what it made.

        What Nix would refuse is refused before anything runs.
        """
        place = self.nix(lowered)
        work = self.folder()
        top, sources = work / "build", work / "sources"
        top.mkdir()
        sources.mkdir()
        output = work / "out"
        node: Node = lowered.node

        def fill(value: Text) -> str:
            return self.native(value, sources).replace(placeholder("out"), str(output))

        environment = {key: fill(value) for key, value in node.env.items()}
        environment.update(name=node.name, system=node.system, out=str(output))
        environment["builder"] = fill(node.builder)
        arguments = [fill(value) for value in node.args]
        run_process(
            self.dref, environment["builder"], arguments, environment, str(top), self.log.write
        )
        return self._adopt(output, place)

    def _adopt(self, output: Path, place: Mapping[str, Any]) -> Artifact:
        if output.is_symlink() or not output.exists():
            raise BuildFailed(
                f"the builder of {self.dref} exited with 0 but made "
                f"{'a link' if output.is_symlink() else 'nothing'} at $out",
                'a builder makes a file or a folder at "$out"',
                self.dref,
            )
        if output.is_dir():
            return Artifact(output, nix=place)
        folder = self.folder()
        output.rename(folder / self.dref.name)
        return Artifact(folder, flat=True, nix=place)

    def nix(self, lowered: Lowered) -> Mapping[str, Any]:
        """Return what the record says of the stage's place in a Nix store."""
        instantiation = self.lowering.instantiation
        return {
            "derivation": instantiation.drv_path(lowered.node),
            "path": instantiation.path(lowered.node),
            "sandboxed": False,
        }


def _lowering(work: Any) -> Lowering:
    """Return the lowering that all recipes of one realization share."""
    found = work.memo.get("lowering")
    if not isinstance(found, Lowering):
        found = work.memo["lowering"] = Lowering(work.closure, work.selected.__getitem__)
    return found
