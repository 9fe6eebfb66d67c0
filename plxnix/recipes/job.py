"""Jobs: stages being made natively by their recipes, with what the recipes ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plxnix.errors import BuildFailed
from plxnix.model import Context, DRef
from plxnix.realize.registry import RealizeArguments
from plxnix.realize.run import Artifact, Log, Observer, current_run
from plxnix.recipes.building import Building
from plxnix.recipes.dependencies import Dependencies
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.store import Store


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
        self.dependencies = Dependencies(store, dref, context, run.work)
        self._building = Building(run, self.config, self.dependencies)

    @property
    def log(self) -> Log:
        """Where the output of programs goes."""
        return self.run.log

    @property
    def observer(self) -> Observer:
        """Who is told of progress."""
        return self.run.observer

    def said(self, message: str) -> None:
        """Tell the observer something worth a line, in the same words once in a realization."""
        self.run.said(message)

    @property
    def lowering(self) -> Lowering:
        """The lowering that all recipes of one realization share."""
        return self.dependencies.lowering

    def folder(self) -> Path:
        """Make a new folder that is removed if the recipe fails."""
        return self._building.folder()

    def build(self, lowered: Lowered) -> Artifact:
        """Run the derivation's own builder and adopt what it made.

        It runs in the sandbox where that works and is wanted (`realize(sandbox=...)`), else as a
        plain process: so does what was declared not deterministic, which may need the network and
        which Nix does not build, unless the sandbox was asked for. What Nix would refuse is refused
        before anything runs.
        """
        return self._building.build(lowered, self.nix(lowered))

    def nix(self, lowered: Lowered) -> Mapping[str, Any]:
        """Return what the record says of the stage's place in a Nix store.

        `identical`: the bytes are claimed to be those that Nix gives, as no result of a plain
        process is among what it was made from.
        """
        instantiation = self.lowering.instantiation
        identical = lowered.node.fixed is not None or all(
            below.node.fixed is not None or self.store.record(rref).nix.get("identical") is True
            for below, rref in self.dependencies
        )
        paths = {name: instantiation.path(lowered.node, name) for name in lowered.node.outputs}
        return {
            "derivation": instantiation.drv_path(lowered.node),
            "path": next(iter(paths.values())),
            **({"outputs": paths} if lowered.outputs else {}),
            "sandboxed": False,
            "identical": identical,
        }
