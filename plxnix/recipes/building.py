"""Building: the builder of one derivation is run natively, and what it made is adopted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from plxnix.builders.sandbox import available, is_exact, run_sandboxed, why_not
from plxnix.builders.sandboxing import Sandboxing
from plxnix.config import Config
from plxnix.errors import BuildFailed, ToolMissing
from plxnix.model import RRef
from plxnix.nix.derivation import Derivation, placeholder
from plxnix.nix.graph import FixedOutput, Node, Text
from plxnix.realize.run import Artifact, Run
from plxnix.recipes.dependencies import Dependencies
from plxnix.recipes.lowering import Lowered
from plxnix.recipes.shared import take_file, take_tree

#: The field of a config that lists what a stage and those above it need of this machine beside what
#: the sandbox shows: folders of interpreters.
SHOWN = "__shown__"

#: What programs say that write to their home: in the sandbox nobody has one.
_HOMELESS = re.compile(rb"^(?=.*/homeless-shelter).*[Rr]ead-only file system", re.MULTILINE)


class Building:
    """One run of a derivation's own builder, for a stage that is being realized."""

    def __init__(self, run: Run, config: Config, dependencies: Dependencies) -> None:
        self.run = run
        self.dref = dependencies.dref
        self.config = config
        self.dependencies = dependencies

    def folder(self) -> Path:
        """Make a new folder that is removed if the run fails."""
        path = Path(self.dependencies.store.session().folder(self.dref.name))
        self.run.folders.append(path)
        return path

    def build(self, lowered: Lowered, place: Mapping[str, Any]) -> Artifact:
        """Run the builder; see `Job.build`. `place` is what the record says of the Nix store."""
        node = lowered.node
        if node.fixed is not None and (taken := self._taken(node, node.fixed)) is not None:
            return self._adopt({"out": taken}, lowered, place)
        free = self.config.get("deterministic") is False
        wanted = self.run.work.sandboxing is Sandboxing.ON or not free
        bubblewrap = self._bubblewrap() if wanted else None
        if bubblewrap is None:
            return self._adopt(self._plain(node), lowered, {**place, "identical": bool(node.fixed)})
        shown = self._shown()
        work, sources = self.folder(), self.folder()
        inputs, origins = self.dependencies.inputs(node, sources)
        derivation = self.dependencies.lowering.instantiation.derivation(node)
        log = self.run.log
        try:
            outputs, strays = run_sandboxed(
                self.dref, bubblewrap, derivation, inputs, work, log.write, shown
            )
        except BuildFailed as error:
            if _HOMELESS.search(log.value()):
                error.hint += '; it has no home, as in Nix: export HOME="$TMPDIR" makes it one'
            raise
        if strays:
            self.run.observer.said(
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
        configs = [self.config, *map(self.dependencies.store.config, self.dependencies.drefs)]
        needed = {path for config in configs for path in config.get(SHOWN, ())}
        return {**shown_paths({"PLXNIX_SANDBOX_PATHS": ":".join(sorted(needed))}), **found}

    def _taken(self, node: Node, fixed: FixedOutput) -> Path | None:
        """Take a fixed output out of the Nix store, if that has it."""
        if fixed.recursive and fixed.hash.algorithm != "sha256":
            return None  # Only such trees are looked for.
        place = self.folder() / "taken"
        take = take_tree if fixed.recursive else take_file
        return place if take(node.name, fixed.hash, place, self.run.said) else None

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
                self.run.observer.said(
                    self.dref,
                    f"builders run without a sandbox, as {why_not()}: "
                    "their results are not claimed to be those of Nix",
                )
            work.memo["bubblewrap"] = found
        path: str | None = work.memo["bubblewrap"]
        return path

    def _plain(self, node: Node) -> dict[str, Path]:
        """Run a builder as a plain process, with native paths, and return where its outputs are."""
        work = self.folder()
        top, sources, store = work / "build", work / "sources", work / "store"
        for folder in (top, sources, store):
            folder.mkdir()
        outputs = {name: store / name for name in node.outputs}

        def fill(value: Text) -> str:
            filled = self.dependencies.native(value, sources)
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
            self.dref, environment["builder"], arguments, environment, str(top), self.run.log.write
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
