"""Errors of the system: each call that works on the store fails once, in each way that it can."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.children import Outcome, injected
from tests.faults.counting import Row, Scale
from tests.faults.trials import Stage, stages, wedged
from tests.faults.workflows import harm

_FULL = ("ENOSPC", "EDQUOT")
_ENTRY = (*_FULL, "EROFS", "EIO")

#: How calls can fail that change something.
ERRORS = {
    "openat": (*_ENTRY, "EMFILE", "EINTR"),
    **dict.fromkeys(("write", "pwrite64", "writev", "sendfile"), (*_FULL, "EIO", "EINTR")),
    **dict.fromkeys(("ftruncate", "fsync", "fdatasync", "syncfs"), (*_FULL, "EIO", "EINTR")),
    "copy_file_range": (*_FULL, "EIO", "EINTR", "EXDEV"),
    **dict.fromkeys(("mkdir", "mkdirat", "symlink", "symlinkat"), _ENTRY),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), (*_ENTRY, "EXDEV")),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), ("EROFS", "EIO")),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "utimensat"), ("EROFS", "EIO")),
}

#: How opening a file to read it can fail.
READING = ("EIO", "EMFILE", "EINTR")


def errors(scale: Scale) -> Iterator[Row]:
    """Let each call of each workflow fail once with each error."""
    for stage in stages(scale.folder):
        row = Row("errors", f"{stage.workflow.name}: each error at each call")
        trials = [
            (call, error)
            for call in stage.calls
            for error in (ERRORS[call.name] if call.changes else READING)
        ]
        failed = 0
        for call, error in scale.sample(stage.workflow.name, trials, 50):
            with stage.place() as place:
                outcome = injected(stage.run(place), f"{stage.folder}/log", call, f"error={error}")
                failed += outcome.status != 0
                half = [f"half visible: {problem}" for problem in harm(place)]
                row.check(f"{error} at {call}", _told(outcome, stage), *half, *stage.again(place))
        row.note = f"{failed} said so, the others went on"
        yield row


def _told(outcome: Outcome, stage: Stage) -> str:
    """Return what is wrong with how a child ended: it is right, or a typed error says why not."""
    if outcome.status == 0:
        return "" if outcome.result == stage.expected else f"it gave {outcome.result}"
    if outcome.wedged:
        return wedged(outcome)
    return "" if outcome.typed else f"no typed error: {outcome.status} {outcome.error[-2500:]}"


__all__ = ["ERRORS", "READING", "errors"]
