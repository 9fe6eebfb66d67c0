"""Recipes: realizers that are data.

A recipe's config alone says what is done, so the stage can be realized here and handed to Nix. A
new kind of stage is a new subclass in a module of its own: `lower` says what it is in Nix, `make`
makes it natively.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

from plxnix.builders.namespaces import shown_paths
from plxnix.builders.outputs import (
    check_fixed,
    check_free,
    check_order,
    check_output,
    copied,
    find_references,
)
from plxnix.builders.process import builder_environment, run_process
from plxnix.builders.sandbox import Sandboxing, available, is_exact, run_sandboxed, why_not
from plxnix.config import Config
from plxnix.errors import BuildFailed, ToolMissing, Unexportable
from plxnix.model import Context, DRef, RRef
from plxnix.nix.derivation import Derivation, placeholder
from plxnix.nix.graph import FixedOutput, Node, Package, Reference, Source, Text, references
from plxnix.realize.registry import RealizeArguments
from plxnix.realize.run import Artifact, Log, Observer, current_run
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.shared import take_file, take_tree
from plxnix.store import Store

#: The field of a config that names the recipe: its kind and version, such as `fetch-1`.
FIELD = "__recipe__"

#: The field of a config that lists what a stage and those above it need of this machine beside what
#: the sandbox shows: folders of interpreters.
SHOWN = "__shown__"


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
        #: Dependencies of dependencies that the stage reads, too.
        self.further: Sequence[DRef] = ()
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
        return self._realized(*self._dependency(reference.node), reference.output)

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
            f"{self.dref} refers to {node.name}, which it does not depend on",
            "this is a defect of its recipe",
            self.dref,
        )

    def _dependencies(self) -> Iterator[tuple[Lowered, RRef]]:
        """Yield the dependencies as Nix sees them, with what was selected for each."""
        further = {dref: self.run.work.selected[dref] for dref in self.further}
        for dref, rrefs in (*self.context.items(), *further.items()):
            for number, lowered in enumerate(self.lowering.of(dref)):
                yield lowered, lowered.rref or rrefs[number]

    def _realized(self, lowered: Lowered, rref: RRef, output: str) -> str:
        path = self.store.path(rref)
        if lowered.node.existing is not None:
            return self.lowering.instantiation.path(lowered.node)
        if lowered.rref is not None:
            # The text goes on to the file where there is only one.
            return path
        if lowered.outputs:
            return f"{path}/{output}"
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
        node, place = lowered.node, self.nix(lowered)
        if node.fixed is not None and (taken := self._taken(node, node.fixed)) is not None:
            return self._adopt({"out": taken}, lowered, place)
        free = self.config.get("deterministic") is False
        wanted = self.run.work.sandboxing is Sandboxing.ON or not free
        bubblewrap = self._bubblewrap() if wanted else None
        if bubblewrap is None:
            return self._adopt(self._plain(node), lowered, {**place, "identical": bool(node.fixed)})
        shown = self._shown()
        work, sources = self.folder(), self.folder()
        inputs, origins = self._inputs(node, sources)
        derivation = self.lowering.instantiation.derivation(node)
        outputs, strays = run_sandboxed(
            self.dref, bubblewrap, derivation, inputs, work, self.log.write, shown
        )
        if strays:
            self.observer.said(
                self.dref, f"{', '.join(strays)!r:.200} in the store folder is left out: not $out"
            )
        if node.fixed is not None:
            # It had the network, by which others may have got hold of its files (CVE-2024-27297).
            outputs["out"] = copied(outputs["out"], work / "copy")
        identical = place["identical"] and is_exact(bubblewrap, derivation)
        said: dict[str, Any] = {"sandboxed": True, "identical": identical}
        if shown:
            said["sandbox_paths"] = [f"{inside}={outside}" for inside, outside in shown.items()]
        said.update(self._references(derivation, outputs, origins))
        return self._adopt(outputs, lowered, {**place, **said})

    def _shown(self) -> dict[str, str]:
        """Return what else of this machine the sandbox shows, by the user's setting and `SHOWN`.

        The setting is read once in a realization.
        """
        memo = self.run.work.memo
        if "shown" not in memo:
            memo["shown"] = shown_paths()
        found: dict[str, str] = dict(memo["shown"])
        configs = [self.config, *map(self.store.config, (*self.context, *self.further))]
        needed = {path for config in configs for path in config.get(SHOWN, ())}
        return {**shown_paths({"PLXNIX_SANDBOX_PATHS": ":".join(sorted(needed))}), **found}

    def _taken(self, node: Node, fixed: FixedOutput) -> Path | None:
        """Take a fixed output out of the Nix store, if that has it."""
        if fixed.recursive and fixed.hash.algorithm != "sha256":
            return None  # Only such trees are looked for.
        place = self.folder() / "taken"
        take = take_tree if fixed.recursive else take_file
        told = partial(self.observer.said, self.dref)
        return place if take(node.name, fixed.hash, place, told) else None

    def _references(
        self, derivation: Derivation, outputs: Mapping[str, Path], origins: Mapping[str, RRef]
    ) -> dict[str, Any]:
        """Return what the outputs refer to, for the record; raise `BuildFailed` as Nix does.

        `references` are the realizations by store path; if there are several outputs,
        `output_references` are the store paths for each, its fellows among them.
        """
        own = {one.path: name for name, one in derivation.outputs.items()}
        fixed = derivation.fixed is not None
        beside = own if fixed or len(own) > 1 else {}
        found = {
            name: sorted(find_references(output, [*origins, *beside]))
            for name, output in outputs.items()
        }
        if fixed:
            check_free(self.dref, found["out"])
        check_order(
            self.dref,
            {name: [own[one] for one in paths if one in own] for name, paths in found.items()},
        )
        union = {path for paths in found.values() for path in paths if path in origins}
        said: dict[str, Any] = {"references": {path: str(origins[path]) for path in sorted(union)}}
        return {**said, "output_references": found} if len(own) > 1 else said

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
        waiting: list[tuple[str, Lowered, RRef, str]] = []
        path_of = self.lowering.instantiation.path
        for reference in references(node):
            path = path_of(reference.node, reference.output)
            if isinstance(reference.node, Source):
                inputs[path] = self._source(reference.node, sources)
            else:
                waiting.append((path, *self._dependency(reference.node), reference.output))
        while waiting:
            path, lowered, rref, output = waiting.pop()
            if path in origins:
                continue
            if lowered.node.existing is not None:
                for one in self._closure(path):
                    inputs[one] = one
                    origins.setdefault(one, rref)
                continue
            inputs[path], origins[path] = self._realized(lowered, rref, output), rref
            # A pin refers to nothing: Nix does not let it.
            said = {} if lowered.rref else self.store.record(rref).nix
            below = said.get("references", {})
            for other in said.get("output_references", {}).get(output, below):
                origin = RRef.parse(below.get(other, rref))
                for form in self.lowering.of(origin.dref):
                    for name in form.node.outputs if form.rref in (None, origin) else ():
                        if form.node.existing or path_of(form.node, name) == other:
                            waiting.append((other, form, origin, name))
        return inputs, origins

    def _closure(self, path: str) -> list[str]:
        """Return what a path of the Nix store refers to, itself too; Nix is asked once for each."""
        from plxnix.nix import tools

        memo, key = self.run.work.memo, f"closure of {path}"
        if key not in memo:
            memo[key] = tools.closure([path])
        found: list[str] = memo[key]
        return found

    def _plain(self, node: Node) -> dict[str, Path]:
        """Run a builder as a plain process, with native paths, and return where its outputs are."""
        work = self.folder()
        top, sources, store = work / "build", work / "sources", work / "store"
        for folder in (top, sources, store):
            folder.mkdir()
        outputs = {name: store / name for name in node.outputs}

        def fill(value: Text) -> str:
            filled = self.native(value, sources)
            for name, output in outputs.items():
                filled = filled.replace(placeholder(name), str(output))
            return filled

        environment = {key: fill(value) for key, value in node.env.items()}
        environment.update(name=node.name, system=node.system)
        environment.update({name: str(output) for name, output in outputs.items()})
        if node.outputs != ("out",):
            environment["outputs"] = " ".join(node.outputs)
        environment["builder"] = fill(node.builder)
        fixed = node.fixed is not None
        environment = builder_environment(environment, str(top), fixed)
        arguments = [fill(value) for value in node.args]
        run_process(
            self.dref, environment["builder"], arguments, environment, str(top), self.log.write
        )
        for name, output in outputs.items():
            check_output(self.dref, output, name)
        return outputs

    def _adopt(
        self, outputs: Mapping[str, Path], lowered: Lowered, place: Mapping[str, Any]
    ) -> Artifact:
        """Make a realization of outputs: a folder of them if there are several."""
        if lowered.node.fixed is not None:
            check_fixed(self.dref, outputs["out"], lowered.node.fixed)
        if lowered.outputs:
            folder = self.folder()
            for name, output in outputs.items():
                output.rename(folder / name)
            return Artifact(folder, nix=place)
        (output,) = outputs.values()
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
        paths = {name: instantiation.path(lowered.node, name) for name in lowered.node.outputs}
        return {
            "derivation": instantiation.drv_path(lowered.node),
            "path": next(iter(paths.values())),
            **({"outputs": paths} if lowered.outputs else {}),
            "sandboxed": False,
            "identical": identical,
        }


def _lowering(work: Any) -> Lowering:
    """Return the lowering that all recipes of one realization share."""
    found = work.memo.get("lowering")
    if not isinstance(found, Lowering):
        made = Lowering(work.closure, work.selected.__getitem__)
        found = work.memo.setdefault("lowering", made)  # Another thread may have been quicker.
    return cast(Lowering, found)
