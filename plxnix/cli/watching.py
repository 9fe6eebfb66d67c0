"""Progress of what goes through many realizations: verifying, copying, packing."""

from __future__ import annotations

import time
from typing import Any

from plxnix.cli.session import Session
from plxnix.model import RRef


class Watch:
    """Shows how far something is, on a terminal and if it takes more than a second.

    It is called with how many realizations are done, how many there are, and the next one's
    reference, empty at the end.
    """

    def __init__(self, session: Session, what: str) -> None:
        self._console = session.console
        self._what = what
        self._began = time.monotonic()
        self._display: Any = None
        self.total = 0

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        if self._display is not None:
            self._display.stop()

    def __call__(self, done: int, total: int, rref: str) -> None:
        """Take note of the next realization."""
        self.total = total
        if self._display is None:
            if not self._console.watched or time.monotonic() - self._began < 1:
                return
            from rich.progress import Progress

            self._display = Progress(console=self._console.rich_talk(), transient=True)
            self._task = self._display.add_task(self._what, total=total)
            self._display.start()
        name = RRef(rref).name if rref else "done"
        self._display.update(self._task, completed=done, description=name)
