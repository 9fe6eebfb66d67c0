"""Downloads outside of a realization: on a terminal a bar, elsewhere a line for what takes long."""

from __future__ import annotations

import threading
from typing import Any

from plxnix.cli import progress
from plxnix.cli.console import Console, visible, visible_name


class Download:
    """The progress of one download, shown in a block if it takes more than a second."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = visible_name(name)
        self._lock = threading.Lock()
        self._done = 0
        self._total: int | None = None
        self._display: Any = None
        self._closed = False
        self._timer = threading.Timer(progress.PATIENCE, self._open)
        self._timer.daemon = True
        if not console.quiet:
            self._timer.start()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._display is not None:
                self._display.stop()
                self._display = None

    def start(self, label: str, total: int | None) -> None:
        """Begin, or begin anew."""
        del label
        self._done, self._total = 0, total
        self.advance(0)

    def advance(self, bytes: int) -> None:  # noqa: A002  # as the protocol has it
        """Count what has come."""
        self._done += bytes
        with self._lock:
            if self._display is not None:
                self._display.update(self._task, completed=self._done, total=self._total)

    def finish(self) -> None:
        """Nothing more comes; what is unpacked then still takes its time."""

    def _open(self) -> None:
        if not self._console.watched:
            self._console.say(f"downloading {visible(self._name)} ...")
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import TransferSpeedColumn as Speed

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            Speed(),
            TimeRemainingColumn(),
        )
        with self._lock:
            if self._closed:
                return
            self._display = Progress(*columns, console=self._console.rich_talk(), transient=True)
            self._task = self._display.add_task(self._name, total=self._total)
            self._display.update(self._task, completed=self._done)
            self._display.start()
