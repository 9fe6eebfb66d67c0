"""One attempt at a stage: call its realizer, check what it gives, and publish that.

It needs no more than the store, the derivation and what was selected for its dependencies, so it
can be made in another process as well as here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from plxnix.config import Config
from plxnix.errors import BuildFailed, PlxnixError, PromiseMissing
from plxnix.model import DRef, RRef
from plxnix.realize.registry import RealizeArguments, Realizer
from plxnix.realize.run import Artifact, Run
from plxnix.store import Record, Store, tree


class Attempt(NamedTuple):
    """What one call of a realizer is made of."""

    store: Store
    config: Config
    realizer: Realizer
    context: Mapping[DRef, list[RRef]]
    arguments: RealizeArguments

    @property
    def dref(self) -> DRef:
        """The derivation that is realized."""
        return self.config.dref

    def make(self, run: Run) -> tuple[list[RRef], float]:
        """Realize and publish; return the realizations, and how many seconds that took.

        The caller holds the derivation's lock, and cleans up after an error (`clean`).
        """
        self.store.restore(self.config)
        started = time.time()
        with run.current(), run.recording():
            artifacts = self.artifacts()
        stopped = time.time()
        rrefs = self.publish(artifacts, started, stopped, run.log.value())
        for folder in run.folders:
            # What the realizer worked in; what it gave has been moved out of it.
            tree.discard(os.fspath(folder))
        return rrefs, stopped - started

    def artifacts(self) -> list[Artifact]:
        """Call the realizer, and return what it gives if that is as promised."""
        dref = self.dref
        try:
            given = self.realizer(self.store, dref, self.context, self.arguments)
            # A string is a sequence of letters, and one of its letters may be "/".
            made = [given] if isinstance(given, (str, os.PathLike)) else list(given or ())
        except PlxnixError:
            raise
        except (Exception, SystemExit) as error:  # of the user's code; it stays as the cause
            raise BuildFailed(
                f"the realizer of {dref} raised {type(error).__name__}: {error}",
                "its output is shown by `plxnix log`, the traceback with --debug",
                dref,
            ) from error
        if not made:
            raise BuildFailed(
                f"the realizer of {dref} gave nothing",
                "a realizer returns the folders with its artifacts; build_wrapper does it for you",
                dref,
            )
        for one in made:
            if not isinstance(one, (Artifact, str, os.PathLike)):
                raise BuildFailed(
                    f"the realizer of {dref} gave {one!r:.80}, which is no folder",
                    "a realizer returns the folders with its artifacts; build_wrapper does it",
                    dref,
                )
        artifacts = [one if isinstance(one, Artifact) else Artifact(Path(one)) for one in made]
        self.check_promises(artifacts)
        return artifacts

    def check_promises(self, artifacts: list[Artifact]) -> None:
        """Raise `PromiseMissing` if artifacts lack what the config promises."""
        missing = sorted(
            {
                "/".join(parts)
                for artifact in artifacts
                if not artifact.failed
                for parts in self.config.promises
                if not os.path.lexists(artifact.path.joinpath(*parts))
            }
        )
        if missing:
            raise PromiseMissing(
                f"{self.dref} promised {', '.join(missing)} but its realizer did not make it",
                "each [selfref, ...] of the config has to exist in each output folder in the end",
                self.dref,
                missing,
            )

    def publish(
        self, artifacts: list[Artifact], started: float, stopped: float, log: bytes = b""
    ) -> list[RRef]:
        """Publish artifacts; the times are in seconds since the epoch."""
        from plxnix.store.publication import publish  # with NARs, which cached stages do not need

        return [
            publish(
                self.store,
                self.dref,
                os.fspath(artifact.path),
                Record(
                    context={dep: tuple(rrefs) for dep, rrefs in self.context.items()},
                    nar_hash="",
                    nar_size=0,
                    started=(artifact.times or (started, stopped))[0],
                    stopped=(artifact.times or (started, stopped))[1],
                    index=index,
                    flat=artifact.flat,
                    nix=artifact.nix,
                ),
                log,
                artifact.linked,
            )
            for index, artifact in enumerate(artifacts)
        ]


def clean(
    store: Store,
    run: Run,
    error: BaseException,
    keep_failed: bool,
    said: Callable[[str], object],
) -> None:
    """Keep the log of a failed run, and its folders below `failed/` if asked; else remove them."""
    keep_output(store, run.dref, run.log.value(), error)
    for number, folder in enumerate(run.folders):
        if keep_failed and folder.is_dir():
            place = f"{store.layout.failed}/{run.dref[5:]}-{number}"
            try:
                tree.remove(place)
                os.rename(folder, place)
            except OSError as problem:  # The failure itself is what the user has to see.
                said(f"cannot keep the failed folder: {problem}")
            else:
                said(f"kept the failed folder: {place}")
        tree.discard(os.fspath(folder))


def keep_output(store: Store, dref: DRef, output: bytes, error: BaseException) -> None:
    """Keep what a failed realizer printed, and tell its error where that is."""
    from plxnix.store.publication import keep_log

    kept = keep_log(store, dref, output)
    if isinstance(error, BuildFailed) and not error.log:
        error.log = kept
