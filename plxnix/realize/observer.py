"""Observers: who is told how a realization goes on."""

from __future__ import annotations

from threading import RLock

from plxnix.errors import RealizeError
from plxnix.model import DRef, RRef
from plxnix.realize.registry import Closure
from plxnix.stopping import check_stop


class Observer:
    """Somebody who is told how a realization goes on; the command line draws progress with it.

    This one does nothing of it: a subclass overrides what it wants to know. Calls may come from
    several threads, one at a time.
    """

    def begun(self, closure: Closure) -> None:
        """A realization of a closure begins; `closure.labels` tell its stages apart."""

    def planned(self, total: int) -> None:
        """There are `total` stages to decide on."""

    def queued(self, dref: DRef) -> None:
        """A realizer was handed over to an executor, which has not begun with it yet.

        It is `started` when that is known, at the latest when it has ended.
        """

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        """A stage is done already."""

    def started(self, dref: DRef) -> None:
        """A realizer begins."""

    def trying(self, dref: DRef, manner: str) -> None:
        """A stage is to be built on trial, such as `natively (1 of 2)`; then it is `started`."""

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """A realizer has given these realizations; none on trial."""

    def failed(self, dref: DRef, error: BaseException) -> None:
        """A realizer has failed."""

    def stopped(self, dref: DRef) -> None:
        """A realizer was stopped, since another one has failed or the user wants so."""

    def skipped(self, dref: DRef, because: DRef) -> None:
        """A stage is left out, as it depends on one that has failed."""

    def waiting(self, dref: DRef, message: str) -> None:
        """A stage waits for another process; this one says so."""
        self.said(dref, message)

    def said(self, dref: DRef, message: str) -> None:
        """Something worth a line has happened, such as waiting for another process."""

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        """A fetch has `done` of `total` bytes; `total` is None if the server does not say."""


class Stopped(RealizeError):
    """A stage was stopped because of another one, or of the user."""


class Relay(Observer):
    """Passes on what is told from several threads, one call at a time."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._guard = RLock()

    def begun(self, closure: Closure) -> None:
        with self._guard:
            self._observer.begun(closure)

    def planned(self, total: int) -> None:
        with self._guard:
            self._observer.planned(total)

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        with self._guard:
            self._observer.cached(dref, rrefs)

    def queued(self, dref: DRef) -> None:
        with self._guard:
            self._observer.queued(dref)

    def started(self, dref: DRef) -> None:
        with self._guard:
            self._observer.started(dref)

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        with self._guard:
            self._observer.finished(dref, rrefs, seconds)

    def failed(self, dref: DRef, error: BaseException) -> None:
        with self._guard:
            if isinstance(error, (Stopped, KeyboardInterrupt)):
                self._observer.stopped(dref)
            else:
                self._observer.failed(dref, error)

    def stopped(self, dref: DRef) -> None:
        with self._guard:
            self._observer.stopped(dref)

    def skipped(self, dref: DRef, because: DRef) -> None:
        with self._guard:
            self._observer.skipped(dref, because)

    def waiting(self, dref: DRef, message: str) -> None:
        with self._guard:
            self._observer.waiting(dref, message)

    def said(self, dref: DRef, message: str) -> None:
        with self._guard:
            self._observer.said(dref, message)

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        check_stop()
        with self._guard:
            self._observer.downloading(dref, label, done, total)
