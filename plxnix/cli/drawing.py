"""The drawing of a progress, on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from plxnix.cli.console import Console, visible
from plxnix.cli.units import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Display:
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
            console=console.rich(console.stream or sys.__stderr__ or sys.stderr),
            transient=True,
            # What is printed comes through `above`, since plxnix records it on its way.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._stages: TaskID = self._rich.add_task("", count="", total=None)
        self._download: TaskID | None = None
        self._lines: dict[str, TaskID] = {}
        self._partial = ""

    def open(self) -> None:
        """Put it on the screen."""
        self._rich.start()

    def close(self) -> None:
        """Take it off the screen."""
        if self._partial:
            self.above("")
        self._rich.stop()

    def update(self, done: int, total: int, name: str, since: float, count: str) -> None:
        """Show how many stages are done, and the one that runs, or what is said of several."""
        # What is shown is how long the stage has been running, not the drawing.
        self._rich.tasks[0].start_time = since
        name = visible(name)
        self._rich.update(self._stages, description=name, completed=done, total=total, count=count)
        if self._download is not None:
            self._rich.remove_task(self._download)
            self._download = None

    def show(self, lines: dict[str, float]) -> None:
        """Show lines below it, each with the time since its own."""
        for line in [line for line in self._lines if line not in lines]:
            self._rich.remove_task(self._lines.pop(line))
        for line, since in lines.items():
            if line not in self._lines:
                self._lines[line] = self._rich.add_task(visible(line), count="", total=None)
                self._rich.tasks[-1].start_time = since

    def download(self, label: str, done: int, total: int | None) -> None:
        """Show how far a download is."""
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
        """Print text above the drawing, as soon as its line is whole."""
        from rich.text import Text

        *whole, self._partial = (self._partial + text + end).split("\n")
        for line in whole:
            self._rich.console.print(Text(visible(line)), soft_wrap=True)
