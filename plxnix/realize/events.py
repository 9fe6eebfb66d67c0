"""The event log: what happens in a realization, as a JSON object a line.

Each has `event`, `time` (seconds since the epoch) and, but for `planned`, `dref` and `name`:

- `planned`: `total` stages;
- `cached`: `rrefs`;
- `queued`: handed over to an executor;
- `started`;
- `finished`: `rrefs`, `seconds`;
- `failed`: `error`, the name of its class, and `message`;
- `stopped`: another stage has failed, or the user wants no more;
- `skipped`: `because`, the derivation that failed;
- `waiting` (for another process) and `said`: `message`.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from plxnix.errors import StoreError
from plxnix.model import DRef, RRef
from plxnix.realize.registry import Closure
from plxnix.realize.run import Observer


class EventLog(Observer):
    """Writes events into a file, and passes them on to another observer.

    Each line is flushed as it is written. Raises `StoreError` if the file cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], observer: Observer | None = None) -> None:
        self._next = observer or Observer()
        try:
            self._file = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        except OSError as error:
            raise StoreError(
                f"cannot write the event log {os.fspath(path)!r}: {error.strerror}",
                "choose another place for it",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: str, dref: DRef | None = None, **fields: Any) -> None:
        whose = {} if dref is None else {"dref": dref, "name": dref.name}
        self._file.write(json.dumps({"event": event, "time": time.time(), **whose, **fields}))
        self._file.write("\n")

    def begun(self, closure: Closure) -> None:
        """Pass it on."""
        self._next.begun(closure)

    def planned(self, total: int) -> None:
        """Write it down."""
        self._write("planned", total=total)
        self._next.planned(total)

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        """Write it down."""
        self._write("cached", dref, rrefs=rrefs)
        self._next.cached(dref, rrefs)

    def queued(self, dref: DRef) -> None:
        """Write it down."""
        self._write("queued", dref)
        self._next.queued(dref)

    def started(self, dref: DRef) -> None:
        """Write it down."""
        self._write("started", dref)
        self._next.started(dref)

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """Write it down."""
        self._write("finished", dref, rrefs=rrefs, seconds=round(seconds, 6))
        self._next.finished(dref, rrefs, seconds)

    def failed(self, dref: DRef, error: BaseException) -> None:
        """Write it down."""
        message = getattr(error, "message", None) or str(error)
        self._write("failed", dref, error=type(error).__name__, message=message)
        self._next.failed(dref, error)

    def stopped(self, dref: DRef) -> None:
        """Write it down."""
        self._write("stopped", dref)
        self._next.stopped(dref)

    def skipped(self, dref: DRef, because: DRef) -> None:
        """Write it down."""
        self._write("skipped", dref, because=because)
        self._next.skipped(dref, because)

    def waiting(self, dref: DRef, message: str) -> None:
        """Write it down."""
        self._write("waiting", dref, message=message)
        self._next.waiting(dref, message)

    def said(self, dref: DRef, message: str) -> None:
        """Write it down."""
        self._write("said", dref, message=message)
        self._next.said(dref, message)

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        """Pass it on; there are too many of these."""
        self._next.downloading(dref, label, done, total)
