"""Checking: build a stage twice, and with Nix, and compare the bytes.

What it depends on is realized as usual. The stage itself is built in new temporary folders and not
published; the second time it begins in a later second than the first ended, so that a time shows.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from plxnix.checked import AGAIN, FIRST, NIX, STORE, Built, Checked, HashedTree, compared
from plxnix.errors import BuildFailed, InvalidValue, PlxnixError, StoreError
from plxnix.export.graph import ExportGraph, why_known
from plxnix.export.rebuilding import Rebuilder
from plxnix.model import DRef
from plxnix.nix import tools
from plxnix.realize.registry import Closure, Derivation
from plxnix.realize.run import Artifact, Observer
from plxnix.realize.work import Work, prepare
from plxnix.recipes.lowering import why_pinned
from plxnix.store import tree

__all__ = ["AGAIN", "FIRST", "NIX", "NIX_CHOICES", "STORE", "Built", "Check", "Checked", "check"]

#: The forms that `--nix` may have.
NIX_CHOICES = ("auto", "on", "off")


class Check:
    """One run of the check: what is compared, and by whom."""

    def __init__(
        self,
        closure: Closure,
        everything: bool = False,
        observer: Observer | None = None,
        sandbox: str | None = None,
        nix: str = "auto",
        keep: str | os.PathLike[str] | None = None,
        pause: bool = True,
    ) -> None:
        """Check the targets of a closure, or with `everything` all of its stages.

        `sandbox` is as for `realize`. `nix` is `auto` (build with Nix where it is present), `on`
        (fail if it cannot be used) or `off`. Below the folder `keep` the trees are kept. Without
        `pause` the second build begins at once, so that a time of day in a result may not show.

        Raises `InvalidValue`, and `StoreError` if there is something at a place to keep a tree.
        """
        if nix not in NIX_CHOICES:
            raise InvalidValue(f"nix is {nix!r}", f"it is one of {', '.join(NIX_CHOICES)}")
        self._closure = closure
        self._observer = observer or Observer()
        self._nix = nix
        self._pause = pause
        self._keep = None if keep is None else Path(keep)
        self._rebuilder = Rebuilder()
        self._sandbox = sandbox
        wanted = closure.derivations if everything else closure.targets
        self.stages = [one for dref, one in closure.derivations.items() if dref in wanted]
        for one in self.stages:
            place = self._place(one.dref)
            if place is not None and os.path.lexists(place):
                raise StoreError(f"{place} is there already", "choose another folder to keep trees")

    def run(self) -> Iterator[Checked]:
        """Realize what the stages depend on, and yield what comes of each, dependencies first.

        Raises what `realize` raises, also for a stage that fails on trial.
        """
        with self._closure.store.keeping(self._closure.derivations):
            yield from self._run()

    def _run(self) -> Iterator[Checked]:
        work = self._prepare(self._closure)
        below = dict.fromkeys(dep for one in self.stages for dep in one.config.dependencies)
        if below:
            parts = {dref for dep in below for dref in self._closure.part(dep).derivations}
            kept = {k: one for k, one in self._closure.derivations.items() if k in parts}
            closure = Closure(tuple(below), tuple(below), kept, self._closure.store)
            work.selected.update(self._prepare(closure).select())
        self._observer.planned(len(work.selected) + 2 * len(self.stages))
        for derivation in self.stages:
            yield self._one(work, derivation)

    def _prepare(self, closure: Closure) -> Work:
        return prepare(closure, observer=self._observer, sandbox=self._sandbox)

    def _one(self, work: Work, derivation: Derivation) -> Checked:
        dref = derivation.dref
        free = why_pinned(derivation)
        # Not what the matchers say: that of the stage itself may see two results, and refuse.
        graph = None if free else ExportGraph(self._closure.part(dref), selected=work.selected)
        lowered = None if graph is None else graph.targets[dref][0].lowered
        flat = "" if lowered is None else lowered.flat
        known = "" if lowered is None else why_known(lowered)
        asked = dref in self._closure.targets
        if known and not asked:
            return Checked(dref, (), asked, without_nix=known, known=True)
        with ExitStack() as stack:
            first, took = self._trial(stack, work, derivation, "natively (1 of 2)")
            if self._pause and (asked or not free):
                time.sleep(1.001 - time.time() % 1)  # Until the next second: times differ.
            again, took_again = self._trial(stack, work, derivation, "again (2 of 2)")
            if len(first) != len(again):
                raise BuildFailed(
                    f"{dref} gave {len(first)} results, and then {len(again)}",
                    "a realizer gives as many folders each time",
                    dref,
                )
            self._keep_trees(dref, {FIRST: first, AGAIN: again})
            builds: list[Built] = []
            trees: list[HashedTree] = []
            for index, pair in enumerate(zip(first, again, strict=True)):
                one, two = (HashedTree.of(_inner(artifact, dref, flat)) for artifact in pair)
                boxed = [artifact.nix.get("sandboxed") is True for artifact in pair]
                builds.append(compared(FIRST, one, None, index, took, boxed[0]))
                builds.append(compared(AGAIN, two, one, index, took_again, boxed[1]))
                trees.append(one)
            without, failed = free or known, ""
            if graph is not None and not known:
                without = self._without_nix(graph)
                failed = "" if without else self._with_nix(graph, trees[0], builds)
            builds += self._stored(work, derivation, trees, flat)
        return Checked(dref, tuple(builds), asked, free, without, failed)

    def _trial(
        self, stack: ExitStack, work: Work, derivation: Derivation, manner: str
    ) -> tuple[list[Artifact], float]:
        self._observer.trying(derivation.dref, manner)
        started = time.monotonic()
        artifacts = stack.enter_context(work.trial(derivation))
        took = time.monotonic() - started
        own = self._closure.store.session().path
        for artifact in artifacts:
            # As it would be published; what a realizer gave of somebody else's is left as it is.
            if os.fspath(artifact.path).startswith(f"{own}/"):
                tree.freeze(os.fspath(artifact.path))
        return artifacts, took

    def _without_nix(self, graph: ExportGraph) -> str:
        """Prepare a build with Nix; return why there is none, if there is none."""
        if self._nix == "off":
            return "that was not asked for"
        if self._nix == "auto" and not tools.available():
            return "Nix is not installed"
        try:
            self._rebuilder.prepare(graph)
        except PlxnixError as error:
            if self._nix == "on":
                raise
            return f"{error.message}{': ' if error.hint else ''}{error.hint}"
        return ""

    def _with_nix(self, graph: ExportGraph, first: HashedTree, builds: list[Built]) -> str:
        """Build with Nix, and add what came of it; return how that failed, if it did."""
        (dref,) = graph.targets
        self._observer.trying(dref, "by Nix")
        self._observer.started(dref)
        try:
            found = self._rebuilder.build(graph)
        except BuildFailed as error:
            return error.message
        self._observer.finished(dref, [], found.seconds)
        for name, paths in found.paths.items():
            mine = HashedTree.of(first.place / name) if len(found.paths) > 1 else first
            for path in paths:
                builds.append(
                    compared(
                        NIX, HashedTree.of(path), mine, 0, found.seconds, found.sandboxed, path
                    )
                )
        return ""

    def _stored(
        self, work: Work, derivation: Derivation, trees: list[HashedTree], flat: str
    ) -> Iterator[Built]:
        """Yield what the store has of the stage, made from the same; each beside its own output."""
        store, dref = self._closure.store, derivation.dref
        context = {dep: work.selected[dep] for dep in derivation.config.dependencies}
        for rref in store.realizations(dref, context):
            record = store.record(rref)
            place = _inner(Artifact(Path(store.path(rref)), record.flat), dref, flat)
            index = record.index if record.index < len(trees) else 0
            boxed = record.nix.get("sandboxed") is True
            found = HashedTree.of(place)
            yield compared(STORE, found, trees[index], index, None, boxed, store.path(rref), rref)

    def _place(self, dref: DRef) -> Path | None:
        return None if self._keep is None else self._keep / f"{dref.name}-{dref.short}"

    def _keep_trees(self, dref: DRef, trees: dict[str, list[Artifact]]) -> None:
        place = self._place(dref)
        if place is None:
            return
        try:
            for name, artifacts in trees.items():
                for index, artifact in enumerate(artifacts):
                    end = f"-{index + 1}" if len(artifacts) > 1 else ""
                    target = place / f"{name.replace(' ', '-')}{end}"
                    shutil.copytree(artifact.path, target, symlinks=True)
                    tree.thaw(os.fspath(target))
        except (OSError, shutil.Error) as error:
            raise StoreError(
                f"cannot keep what was built in {place}: {error}", "is there room?"
            ) from error


def check(
    closure: Closure,
    everything: bool = False,
    observer: Observer | None = None,
    sandbox: str | None = None,
    nix: str = "auto",
    keep: str | os.PathLike[str] | None = None,
    pause: bool = True,
) -> list[Checked]:
    """Build the targets of a closure twice, and with Nix, and return what came of each.

    Arguments and errors are those of `Check`.
    """
    return list(Check(closure, everything, observer, sandbox, nix, keep, pause).run())


def _inner(artifact: Artifact, dref: DRef, flat: str) -> Path:
    """Return what Nix has of an artifact: the file, where it is one."""
    name = dref.name if artifact.flat else flat
    return artifact.path / name if name else artifact.path
