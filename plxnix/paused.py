"""Realizations that can stand still, and be gone on with or given up."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from plxnix.errors import PlxnixError, RealizeError
from plxnix.model import DRef, RRef
from plxnix.realize.build import Build
from plxnix.realize.work import Pause, Work
from plxnix.store import Store, tree


class ReplHelper:
    """A realization that can stand still; `repl_realize` makes it.

    `pause` is where it stands, or None once it is done or cancelled; `error` is why, if it stands
    at a failed stage; `selected` is what was selected for each derivation so far.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.store: Store = work.store
        self.pause: Pause | None = None
        self.done = False
        self.started = time.time()
        self.builds: list[Build] = []
        self.previous: weakref.ref[ReplHelper] | None = None
        self._steps = work.steps()
        self._guard = threading.Lock()
        self._process = os.getpid()
        self._session = self.store.session().path

    @property
    def error(self) -> PlxnixError | None:
        """The failure at which the realization stands still."""
        return self.pause.error if self.pause else None

    @property
    def dref(self) -> DRef | None:
        """The derivation at which the realization stands still."""
        return self.pause.derivation.dref if self.pause else None

    @property
    def selected(self) -> dict[DRef, list[RRef]]:
        """What has been selected for each derivation so far."""
        return self.work.selected

    def advance(self, chosen: list[RRef] | None = None) -> None:
        """Go on to the next pause or to the end, with `chosen` for the stage at this one.

        An error that a stage raises ends the realization, unless it stands still at failures.
        """
        with self._alone():
            try:
                pause = self._steps.send(chosen)
            except StopIteration:
                self._end(done=True)
            except BaseException:
                self._end()
                raise
            else:
                self._sweep()
                self.pause, self.started = pause, time.time()

    def cancel(self) -> None:
        """Give up: release the store and remove the folders; doing it twice does nothing more."""
        with self._alone():
            self._steps.close()
            if not self.done:
                self._end()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._guard.acquire(blocking=False):
            raise RealizeError("this realization is going on in another thread", "wait for it")
        try:
            yield
        finally:
            self._guard.release()

    def _end(self, done: bool = False) -> None:
        self._sweep()
        self.pause, self.done = None, done

    def _sweep(self) -> None:
        """Remove the folders of this pause; those that became realizations are gone from there."""
        if os.getpid() != self._process:
            return  # A forked child has a copy of the helper, but the folders are its parent's.
        folders = [path for build in self.builds for path in build.outpaths]
        folders += self.pause.folders if self.pause else ()
        self.builds.clear()
        for folder in folders:
            if os.path.dirname(folder) == self._session:
                tree.remove(os.fspath(folder))

    def __repr__(self) -> str:
        if self.done:
            return f"<realization of {', '.join(self.work.closure.targets)}: done>"
        if self.pause is None:
            return f"<realization of {', '.join(self.work.closure.targets)}: ended>"
        if self.pause.error is not None:
            return f"<realization paused at {self.dref}, which failed: {self.pause.error.message}>"
        return f"<realization paused before {self.dref}>"

    def __del__(self) -> None:
        # The store may be gone already when the interpreter exits.
        with suppress(Exception):
            self.cancel()
