"""Recipes: realizers that are data.

A recipe's config alone says what is done, so the stage can be realized here and handed to Nix. A
new kind of stage is a new subclass in a module of its own: `lower` says what it is in Nix, `make`
makes it natively.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from plxnix.builders.process import run_process
from plxnix.builders.sandbox import (
    Sandboxing,
    available,
    find_references,
    is_exact,
    run_sandboxed,
    why_not,
)
from plxnix.config import Config
from plxnix.errors import BuildFailed, ToolMissing, Unexportable
from plxnix.model import Context, DRef, RRef
from plxnix.nix.derivation import placeholder
from plxnix.nix.graph import Node, Package, Reference, Source, Text, references
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
            return self._source(reference.node, sources)
        return self._realized(*self._dependency(reference.node))

    def _source(self, source: Source, sources: Path) -> str:
        path = sources / source.name
        if not path.exists():
            path.write_text(source.contents, newline="")
        return os.fspath(path)

    def _dependency(self, node: Node | Package) -> tuple[Lowered, RRef]:
        if isinstance(node, Package):
            raise Unexportable(f"{node.name} is a package of Nix", dref=self.dref)
        for lowered, rref in self._dependencies():
            if lowered.node is node:
                return lowered, rref
        raise Unexportable(
            f"{self.dref} refers to {node.name}, which it does not depend on directly",
            "this is a defect of its recipe",
            self.dref,
        )

    def _dependencies(self) -> Iterator[tuple[Lowered, RRef]]:
        """Yield the direct dependencies as Nix sees them, with what was selected for each."""
        for dref, rrefs in self.context.items():
            for number, lowered in enumerate(self.lowering.of(dref)):
                yield lowered, lowered.rref or rrefs[number]

    def _realized(self, lowered: Lowered, rref: RRef) -> str:
        path = self.store.path(rref)
        if lowered.node.existing is not None:
            return self.lowering.instantiation.path(lowered.node)
        if lowered.rref is not None:
            # The text goes on to the file where there is only one.
            return path
        if lowered.flat:
            return f"{path}/{lowered.flat}"
        return f"{path}/{rref.name}" if self.store.record(rref).flat else path

    def build(self, lowered: Lowered) -> Artifact:
        """Run the derivation's own builder and adopt what it made.

        It runs in the sandbox where that works and is wanted (`realize(sandbox=...)`), else as a
        plain process: so does what was declared not deterministic, which may need the network and
        which Nix does not build, unless the sandbox was asked for. What Nix would refuse is refused
        before anything runs.
        """
        place = self.nix(lowered)
        free = self.config.get("deterministic") is False
        wanted = self.run.work.sandboxing is Sandboxing.ON or not free
        bubblewrap = self._bubblewrap() if wanted else None
        if bubblewrap is None:
            return self._adopt(self._plain(lowered.node), {**place, "identical": False})
        work, sources = self.folder(), self.folder()
        inputs, origins = self._inputs(lowered.node, sources)
        derivation = self.lowering.instantiation.derivation(lowered.node)
        output, strays = run_sandboxed(
            self.dref, bubblewrap, derivation, inputs, work, self.log.write
        )
        if strays:
            self.observer.said(
                self.dref, f"{', '.join(strays)!r:.200} in the store folder is left out: not $out"
            )
        found = sorted(find_references(output, origins))
        refers = {path: str(origins[path]) for path in found}
        identical = place["identical"] and is_exact(bubblewrap, derivation)
        said = {"sandboxed": True, "identical": identical, "references": refers}
        return self._adopt(output, {**place, **said})

    def _bubblewrap(self) -> str | None:
        """Return the bubblewrap to use, if any; it is decided, and said, once in a realization.

        Raises `ToolMissing` if the sandbox was asked for and does not work here.
        """
        work = self.run.work
        if "bubblewrap" not in work.memo:
            found = None if work.sandboxing is Sandboxing.OFF else available()
            if found is None and work.sandboxing is Sandboxing.ON:
                raise ToolMissing(
                    f"there is no sandbox here: {why_not()}",
                    "install bubblewrap and allow user namespaces, or use --sandbox auto",
                )
            if found is None and work.sandboxing is Sandboxing.AUTO:
                self.observer.said(
                    self.dref,
                    f"builders run without a sandbox, as {why_not()}: "
                    "their results are not claimed to be those of Nix",
                )
            work.memo["bubblewrap"] = found
        path: str | None = work.memo["bubblewrap"]
        return path

    def _inputs(self, node: Node, sources: Path) -> tuple[dict[str, str], dict[str, RRef]]:
        """Return what a builder may see: native paths, and realizations, by store paths.

        That is what the node refers to, and what is referred to in that, as for Nix.
        """
        inputs: dict[str, str] = {}
        origins: dict[str, RRef] = {}
        for reference in references(node):
            path = self.lowering.instantiation.path(reference.node, reference.output)
            if isinstance(reference.node, Source):
                inputs[path] = self._source(reference.node, sources)
                continue
            lowered, rref = self._dependency(reference.node)
            self._show(path, lowered, rref, inputs, origins)
            # A pin refers to nothing: Nix does not let it.
            below = {} if lowered.rref else self.store.record(rref).nix.get("references", {})
            for other, text_of_rref in below.items():
                origin = RRef.parse(text_of_rref)
                for form in self.lowering.of(origin.dref):
                    if other not in inputs and form.rref in (None, origin):
                        self._show(other, form, origin, inputs, origins)
        return inputs, origins

    def _show(
        self,
        path: str,
        lowered: Lowered,
        rref: RRef,
        inputs: dict[str, str],
        origins: dict[str, RRef],
    ) -> None:
        """Let a builder see a realization at its store path; of Nix's own, the closure."""
        if lowered.node.existing is None:
            inputs[path], origins[path] = self._realized(lowered, rref), rref
            return
        for one in self._closure(path):
            inputs[one] = one
            origins.setdefault(one, rref)

    def _closure(self, path: str) -> list[str]:
        """Return what a path of the Nix store refers to, itself too; Nix is asked once for each."""
        from plxnix.nix import tools

        memo, key = self.run.work.memo, f"closure of {path}"
        if key not in memo:
            memo[key] = tools.closure([path])
        found: list[str] = memo[key]
        return found

    def _plain(self, node: Node) -> Path:
        """Run a builder as a plain process, with native paths, and return where its output is."""
        work = self.folder()
        top, sources = work / "build", work / "sources"
        top.mkdir()
        sources.mkdir()
        output = work / "out"

        def fill(value: Text) -> str:
            return self.native(value, sources).replace(placeholder("out"), str(output))

        environment = {key: fill(value) for key, value in node.env.items()}
        environment.update(name=node.name, system=node.system, out=str(output))
        environment["builder"] = fill(node.builder)
        arguments = [fill(value) for value in node.args]
        run_process(
            self.dref, environment["builder"], arguments, environment, str(top), self.log.write
        )
        return output

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
        """Return what the record says of the stage's place in a Nix store.

        `identical`: the bytes are claimed to be those that Nix gives, as no result of a plain
        process is among what it was made from.
        """
        instantiation = self.lowering.instantiation
        identical = lowered.node.fixed is not None or all(
            below.node.fixed is not None or self.store.record(rref).nix.get("identical") is True
            for below, rref in self._dependencies()
        )
        return {
            "derivation": instantiation.drv_path(lowered.node),
            "path": instantiation.path(lowered.node),
            "sandboxed": False,
            "identical": identical,
        }


def _lowering(work: Any) -> Lowering:
    """Return the lowering that all recipes of one realization share."""
    found = work.memo.get("lowering")
    if not isinstance(found, Lowering):
        found = work.memo["lowering"] = Lowering(work.closure, work.selected.__getitem__)
    return found
