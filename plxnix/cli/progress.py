"""Progress: what is shown while stages are being realized.

On a terminal, from the second second on: how many stages are done, the one that runs, and a bar
for each download. Elsewhere: a line for each stage that takes longer than a second. What realizers
print goes to standard error, above the progress where there is one.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from plxnix.cli.console import Console, visible
from plxnix.cli.units import counted, duration_text, size_text
from plxnix.model import DRef, RRef
from plxnix.realize.run import Observer

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

#: How long something takes before it is worth a line or a drawing, in seconds.
PATIENCE = 1.0


class Progress(Observer):
    """An observer of a realization that counts, and prints as the console wishes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._display: _Display | None = None
        self._total = 0
        self._running: DRef | None = None
        self._announced: DRef | None = None
        self._began = self._started = time.monotonic()
        self.realized: list[DRef] = []
        self.satisfied: list[DRef] = []
        #: How many runs gave what is not in the store: `plxnix check`.
        self.trials = 0
        #: The derivation whose realizer has failed.
        self.broken: DRef | None = None

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._began

    def planned(self, total: int) -> None:
        """Note how many stages there are."""
        self._total = total
        if self._console.watched:
            self._wait(self._draw)

    def cached(self, dref: DRef, rrefs: list[RRef]) -> None:
        """Count a stage that is done already."""
        self.satisfied.append(dref)
        self._console.detail(f"cached {dref.name} ({counted(len(rrefs), 'realization')})")
        self._show()

    def started(self, dref: DRef) -> None:
        """Show which stage runs."""
        self._running = dref
        self._started = time.monotonic()
        if not self._console.watched and not self._console.quiet:
            self._wait(self._announce)
        self._show()

    def finished(self, dref: DRef, rrefs: list[RRef], seconds: float) -> None:
        """Count a stage that was realized, or built on trial if there are no realizations."""
        if rrefs:
            self.realized.append(dref)
        else:
            self.trials += 1
        line = f"{'realized' if rrefs else 'built'} {dref.name} in {duration_text(seconds)}"
        if len(rrefs) > 1:
            line += f" ({counted(len(rrefs), 'realization')})"
        with self._lock:
            self._running = None
            if self._console.verbose or self._announced == dref or self._display is not None:
                self.say(line)
        self._show()

    def failed(self, dref: DRef, error: BaseException) -> None:
        """Note which stage has failed."""
        del error
        self.broken = dref

    def said(self, dref: DRef, message: str) -> None:
        """Print a line about a stage."""
        self.say(f"{dref.name}: {message}")

    def downloading(self, dref: DRef, label: str, done: int, total: int | None) -> None:
        """Show how far a download is."""
        with self._lock:
            if self._display is not None:
                self._display.download(f"{dref.name}: {label}" if label else dref.name, done, total)

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
            if self._timer is not None:
                self._timer.cancel()
            if self._display is not None:
                self._display.close()
                self._display = None

    def _wait(self, then: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(PATIENCE, then)
        self._timer.daemon = True
        self._timer.start()

    def _announce(self) -> None:
        with self._lock:
            if self._running is not None:
                self._announced = self._running
                self.say(f"realizing {self._running.name} ...")

    def _draw(self) -> None:
        display = _Display(self._console)
        with self._lock:
            # It may have been closed while rich was being imported.
            if self._timer is not None and not self._timer.finished.is_set():
                self._display = display
                display.open()
        self._show()

    def _show(self) -> None:
        with self._lock:
            if self._display is not None:
                done = len(self.realized) + len(self.satisfied) + self.trials
                name, since = "stages", self._began
                if self._running is not None:
                    name, since = self._running.name, self._started
                self._display.update(done, self._total, name, since)


class _Display:
    """The drawing itself, by rich: a line for the stages and one for a download."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._rich: RichProgress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=console.rich(sys.__stderr__ or sys.stderr),
            transient=True,
            # What is printed comes through `above`, since plxnix records it on its way.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._stages: TaskID = self._rich.add_task("", count="", total=None)
        self._download: TaskID | None = None
        self._partial = ""

    def open(self) -> None:
        self._rich.start()

    def close(self) -> None:
        if self._partial:
            self.above("")
        self._rich.stop()

    def update(self, done: int, total: int, name: str, since: float) -> None:
        # What is shown is how long the stage has been running, not the drawing.
        self._rich.tasks[0].start_time = since
        self._rich.update(
            self._stages,
            description=name,
            completed=done,
            total=total,
            count=f"{done} of {counted(total, 'stage')}",
        )
        if self._download is not None:
            self._rich.remove_task(self._download)
            self._download = None

    def download(self, label: str, done: int, total: int | None) -> None:
        if self._download is None:
            self._download = self._rich.add_task(label, count="", total=total)
        of = f" of {size_text(total)}" if total is not None else ""
        self._rich.update(
            self._download,
            description=visible(label),
            completed=done,
            total=total,
            count=f"{size_text(done)}{of}",
        )

    def above(self, text: str, end: str = "\n") -> None:
        from rich.text import Text

        *whole, self._partial = (self._partial + text + end).split("\n")
        for line in whole:
            self._rich.console.print(Text(visible(line)), soft_wrap=True)


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
        return self._stream.fileno()

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

    That holds for `print` and for programs that the block starts. With a quiet console what is
    printed is only recorded in the logs.
    """
    out, err = sys.stdout, sys.stderr
    talk = _Talk(err, progress, console.quiet)
    if out is not None:
        out.flush()
    kept = None
    with suppress(OSError):
        kept = os.dup(1)
        os.dup2(2, 1)
    sys.stdout = sys.stderr = talk
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        progress.close()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
