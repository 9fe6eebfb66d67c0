"""Progress: what is shown while stages are being realized.

On a terminal, from the second second on: how many stages are done, the one that runs, or a line for
each of several that run or wait, and a bar for a download. Elsewhere: a line for each stage that
takes longer than a second. What realizers print goes to standard error, above the progress where
there is one.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from plxnix.cli.console import Console, visible
from plxnix.cli.drawing import Display
from plxnix.cli.units import counted, duration_text
from plxnix.model import DRef, RRef
from plxnix.realize.descriptors import Descriptors
from plxnix.realize.labels import Labels
from plxnix.realize.registry import Closure
from plxnix.realize.run import Observer

#: How long something takes before it is worth a line or a drawing, in seconds.
PATIENCE = 1.0

#: How many stages that run or wait get a line of their own.
SHOWN = 12


class Progress(Observer):
    """An observer of a realization that counts, and prints as the console wishes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._display: Display | None = None
        self._total = 0
        self._labels = Labels(())
        #: The stages that run, and those that wait for other processes, with when that began.
        self._running: dict[DRef, float] = {}
        self._waiting: dict[DRef, float] = {}
        #: Those that an executor has not begun with, as far as is known.
        self._queued: set[DRef] = set()
        self._announced: set[DRef] = set()
        #: How stages are built that are built on trial.
        self._manners: dict[DRef, str] = {}
        self._timers: dict[DRef, threading.Timer] = {}
        self._began = time.monotonic()
        self.realized: list[DRef] = []
        self.satisfied: list[DRef] = []
        #: How many runs gave what is not in the store: `plxnix check`.
        self.trials = 0
        #: The derivation whose realizer has failed last, and those that failed the last time.
        self.broken: DRef | None = None
        self._failed: set[DRef] = set()

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._began

    def label(self, dref: DRef) -> str:
        """Return what a stage is called among those that are realized."""
        return self._labels[dref]

    def begun(self, closure: Closure) -> None:
        """Note how its stages are to be called."""
        self._labels = closure.labels

    def planned(self, total: int) -> None:
        """Note how many stages there are."""
        self._total = total
        if self._console.watched:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = _after(PATIENCE, self._draw)

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        """Count a stage that is done already."""
        self.satisfied.append(dref)
        with self._lock:
            self._waiting.pop(dref, None)
        if self._console.verbose:
            found = counted(len(rrefs), "realization")
            self._console.detail(f"cached {self._named(dref)}, {found}")
        self._show()

    def queued(self, dref: DRef) -> None:
        """Count a stage that waits for an executor."""
        with self._lock:
            self._waiting.pop(dref, None)
            self._queued.add(dref)
        self._show()

    def started(self, dref: DRef) -> None:
        """Show which stage runs."""
        with self._lock:
            self._waiting.pop(dref, None)
            self._queued.discard(dref)
            self._failed.discard(dref)
            self._running[dref] = time.monotonic()
            if not self._console.watched and not self._console.quiet:
                self._timers[dref] = _after(PATIENCE, self._announce, dref)
        self._show()

    def trying(self, dref: DRef, manner: str) -> None:
        """Remember how a stage is built, to say it with its name."""
        with self._lock:
            self._manners[dref] = f" {manner}"
            self._announced.discard(dref)

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """Count a stage that was realized, or built on trial if there are no realizations."""
        if rrefs:
            self.realized.append(dref)
        else:
            self.trials += 1
        line = f"{'realized' if rrefs else 'built'} {self._named(dref)} in {duration_text(seconds)}"
        if len(rrefs) > 1:
            line += f" ({counted(len(rrefs), 'realization')})"
        with self._lock:
            self._over(dref)
            if self._console.verbose or dref in self._announced or self._display is not None:
                self.say(line)
        self._show()

    def failed(self, dref: DRef, error: BaseException) -> None:
        """Note which stage has failed."""
        del error
        self.broken = dref
        self._over(dref)
        self._failed.add(dref)
        self._show()

    def stopped(self, dref: DRef) -> None:
        """Take a stage off that was stopped."""
        self._over(dref)
        self._console.detail(f"stopped {self._named(dref)}")
        self._show()

    def skipped(self, dref: DRef, because: DRef) -> None:
        """Say that a stage is left out, if that is asked for."""
        self._console.detail(f"left out {self._labels[dref]}, as {self._labels[because]} failed")

    def waiting(self, dref: DRef, message: str) -> None:
        """Show that a stage waits."""
        with self._lock:
            self._waiting.setdefault(dref, time.monotonic())
        self.said(dref, message)
        self._show()

    def said(self, dref: DRef, message: str) -> None:
        """Print a line about a stage."""
        self.say(f"{self._labels[dref]}: {message}")

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        """Show how far a download is."""
        with self._lock:
            if self._display is not None:
                name = self._labels[dref]
                self._display.download(f"{name}: {label}" if label else name, done, total)

    def say(self, text: str) -> None:
        """Print talk, above the progress if there is one."""
        with self._lock:
            if self._display is None:
                self._console.say(visible(text))
            else:
                self._display.above(text)

    def write(self, text: str, stream: TextIO) -> None:
        """Pass on what a realizer prints."""
        with self._lock:
            if self._display is None:
                stream.write(text)
                stream.flush()
            else:
                self._display.above(text, end="")

    def close(self) -> None:
        """Take the progress off the screen."""
        with self._lock:
            for timer in (self._timer, *self._timers.values()):
                if timer is not None:
                    timer.cancel()
            self._timers.clear()
            if self._display is not None:
                self._display.close()
                self._display = None

    def _over(self, dref: DRef) -> None:
        with self._lock:
            self._running.pop(dref, None)
            self._queued.discard(dref)
            timer = self._timers.pop(dref, None)
            if timer is not None:
                timer.cancel()

    def _announce(self, dref: DRef) -> None:
        with self._lock:
            if dref in self._running:
                self._announced.add(dref)
                verb = "building" if dref in self._manners else "realizing"
                self.say(f"{verb} {self._named(dref)} ...")

    def _named(self, dref: DRef) -> str:
        return self._labels[dref] + self._manners.get(dref, "")

    def _draw(self) -> None:
        display = Display(self._console)
        with self._lock:
            # It may have been closed while rich was being imported.
            if self._timer is not None and not self._timer.finished.is_set():
                self._display = display
                display.open()
        self._show()

    def _show(self) -> None:
        with self._lock:
            if self._display is None:
                return
            done = len(self.realized) + len(self.satisfied) + self.trials
            count = f"{done} of {counted(self._total, 'stage')}"
            running, waiting, queued = self._running, self._waiting, len(self._queued)
            alone = len(running) == 1 and not waiting and not queued
            for number, what in (
                (len(self.satisfied), "cached"),
                (len(self._failed), "failed"),
                (len(running) if queued else 0, "running"),
                (queued, "handed over"),
            ):
                count += f", {number} {what}" if number else ""
            name, since = "stages", self._began
            if alone:
                ((dref, since),) = running.items()
                name = self._named(dref)
            self._display.update(done, self._total, name, since, count)
            lines = {f"  {self._named(dref)}": since for dref, since in running.items()}
            lines |= {
                f"  waiting for {self._named(dref)}": since for dref, since in waiting.items()
            }
            shown = dict(list(lines.items())[:SHOWN])
            if len(lines) > SHOWN:
                shown[f"  and {len(lines) - SHOWN} more"] = self._began
            self._display.show({} if alone else shown)


def _after(seconds: float, then: Any, *arguments: Any) -> threading.Timer:
    timer = threading.Timer(seconds, then, arguments)
    timer.daemon = True
    timer.start()
    return timer


class _Talk(io.TextIOBase):
    """What realizers get as standard output and error: it leads to the user's standard error."""

    def __init__(self, stream: TextIO | None, progress: Progress, silent: bool) -> None:
        self._stream = stream
        self._progress = progress
        self._silent = silent or stream is None

    def write(self, text: str) -> int:
        if not self._silent and self._stream is not None:
            self._progress.write(text, self._stream)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def close(self) -> None:
        """Do nothing: the stream behind is the process's own, and may be closed by now."""

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return 2

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return (self._stream and self._stream.encoding) or "utf-8"


@contextmanager
def talking(console: Console, progress: Progress) -> Iterator[None]:
    """Keep standard output for data: in the block, what is printed goes to standard error.

    That holds for `print` and for programs that the block starts, whose output goes into the logs,
    too. With a quiet console what is printed is only recorded in the logs.
    """
    out, err = sys.stdout, sys.stderr
    if out is not None:
        out.flush()
    with ExitStack() as stack:
        stream = _apart(err, stack)
        talk = _Talk(stream, progress, console.quiet)
        with suppress(OSError):  # One of them is closed.
            stack.enter_context(Descriptors(talk.write))
        sys.stdout = sys.stderr = talk
        # What is said of a stage is not what it prints: it stays out of its log.
        outer, console.stream = console.stream, stream
        try:
            yield
        finally:
            console.stream = outer
            sys.stdout, sys.stderr = out, err
            progress.close()


def _apart(err: TextIO | None, stack: ExitStack) -> TextIO | None:
    """Return a stream that leads to where standard error leads now, whatever descriptor 2 will."""
    with suppress(AttributeError, OSError, ValueError):  # There is none, or none with a number.
        if err is not None and err.fileno() == 2:
            err.flush()
            return stack.enter_context(
                open(os.dup(2), "w", buffering=1, encoding=err.encoding, errors=err.errors)
            )
    return err
