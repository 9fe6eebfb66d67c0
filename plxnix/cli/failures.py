"""What is printed of stages that failed."""

from __future__ import annotations

from contextlib import suppress

from plxnix.cli.progress import Progress
from plxnix.cli.session import Session
from plxnix.cli.units import counted
from plxnix.errors import (
    ArchiveError,
    BuildFailed,
    CorruptEntry,
    HashMismatch,
    PlxnixError,
    PromiseMissing,
    StagesFailed,
)
from plxnix.model import DRef
from plxnix.store import Store
from plxnix.user_errors import user_frames

#: How many lines of a failed realizer's output are shown.
LAST_LINES = 20

#: Errors of stages whose folder is worth a look.
WITH_FOLDER = (ArchiveError, BuildFailed, HashMismatch, PromiseMissing)


def report_failure(
    session: Session, store: Store, progress: Progress, error: Exception, again: str
) -> None:
    """Print what failed: where in the user's code, the last of what it printed, what to do."""
    if isinstance(error, StagesFailed):
        for one, failure in error.failures.items():
            _report_one(session, store, DRef(one), progress, failure, again)
        count = len(error.failures)
        left = f", {len(error.skipped)} left out" if error.skipped else ""
        session.console.error(f"{counted(count, 'stage')} failed{left}", "the others are realized")
        return
    dref = getattr(error, "dref", "")
    _report_one(session, store, DRef(dref) if dref else progress.broken, progress, error, again)


def _report_one(
    session: Session,
    store: Store,
    dref: DRef | None,
    progress: Progress,
    error: Exception,
    again: str,
) -> None:
    details = user_frames(error.__cause__) if error.__cause__ is not None else []
    hint = error.hint if isinstance(error, PlxnixError) else ""
    if dref is not None:
        label = progress.label(dref)
        if label != dref.name:
            details.insert(0, f"this is {label}")
        log = f"`plxnix log {dref.short}`"
        lines: list[str] = []
        with suppress(CorruptEntry):
            lines = store.log(dref).splitlines()[-LAST_LINES:]
        told = {line.strip() for line in str(error).splitlines()}
        if lines and lines[-1].strip() not in told:
            details += [f"the last lines that {label} printed; {log} shows them all:"]
            details += [f"| {line}" for line in lines]
            details += [f"in {store.layout.failed_log(dref)}"]
        hint = hint.replace("`plxnix log`", log)
        if again and isinstance(error, WITH_FOLDER):
            hint = f"{hint}; `{again} --keep-failed` keeps its folder"
    session.report(error, hint.removeprefix("; "), details)
