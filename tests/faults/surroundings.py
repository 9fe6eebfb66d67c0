"""Odd surroundings: stores that cannot be written, other users, clocks, locales and umasks."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from plxnix.store import Fsync, Store
from tests.archive_trees import snapshot
from tests.faults.children import Outcome, attempt
from tests.faults.counting import Row, Scale
from tests.faults.reading import commands, defects
from tests.faults.trials import Stage, stages, wedged
from tests.faults.workflows import harm, store_of

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_NOBODY = 65534
_YEARS = 10 * 365 * 86400

#: Moves the clock of a process, below whatever reads it.
_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *s = getenv("SHIFT"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += shift();
    return result;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
"""

_PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import time
from plxnix.store import Fsync
from tests.faults.workflows import WORKFLOWS, complete
workflow = next(one for one in WORKFLOWS if one.name == sys.argv[2])
result = complete(workflow, sys.argv[3], Fsync.NONE)
sys.stdout.flush()
print("\\n" + json.dumps([result, time.time()]))
"""


def surroundings(scale: Scale) -> Iterator[Row]:
    """Work where things are not as usual."""
    ready = {stage.workflow.name: stage for stage in stages(scale.folder)}
    yield from _unwritable(ready)
    yield _environments(ready)
    yield _clocks(scale, ready)


def _unwritable(ready: dict[str, Stage]) -> Iterator[Row]:
    """Read, and try to write, a store on a read-only mount, and as another user."""
    if os.geteuid() != 0:
        row = Row("surroundings", "read-only store, foreign user: only root can try", 0)
        row.note = "not tried"
        yield row
        return
    stage = ready["realize"]
    for what, enter in (("read-only mount", _read_only), ("foreign user", _foreign)):
        row = Row("surroundings", f"{what}: reads work, writes say why not, nothing changes")
        with stage.place() as place:
            expected = attempt(stage.run(place, Fsync.NONE)).result
            assert isinstance(expected, list), expected
            before = snapshot(Path(store_of(place)))
            rref = expected[0]
            chosen = commands(rref, "dref:" + rref[38:])
            defects(store_of(place), chosen)
            for function, label in (
                (lambda: defects(store_of(place), chosen), "reading commands"),  # noqa: B023
                (stage.run(place, Fsync.NONE), "realize what is there"),
                (ready["fetch"].run(place, Fsync.NONE), "realize what is not there"),
                (ready["gc"].run(place, Fsync.NONE), "gc"),
            ):
                outcome = attempt(_entered(enter, place, function))
                wrong = ""
                if label == "reading commands":
                    wrong = str(outcome.result or outcome.error or "")
                    wrong = "" if outcome.result == [] else wrong
                elif label == "realize what is there":
                    wrong = "" if outcome.result == expected else f"{outcome}"
                elif not outcome.typed:
                    wrong = f"no typed error: {outcome}"
                row.check(label, wedged(outcome), wrong)
            same = snapshot(Path(store_of(place))) == before
            row.check("afterwards", "" if same else "something has changed", *harm(place))
        yield row


def _entered(
    enter: Callable[[str], None], place: str, function: Callable[[], object]
) -> Callable[[], object]:
    def run() -> object:
        enter(place)
        return function()

    return run


def _read_only(place: str) -> None:
    """Mount a place read-only over itself, for this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(place)
    done = libc.unshare(_CLONE_NEWNS) or libc.mount(
        b"none", b"/", None, _MS_REC | _MS_PRIVATE, None
    )
    done = done or libc.mount(path, path, None, _MS_BIND, None)
    done = done or libc.mount(None, path, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None)
    if done:
        raise OSError(ctypes.get_errno(), "cannot mount")


def _foreign(place: str) -> None:
    """Become a user to whom nothing belongs."""
    del place
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)


def _environments(ready: dict[str, Stage]) -> Row:
    """Run the workflows in plain locales and with narrow umasks."""
    row = Row("surroundings", "LANG=C, umask 077, optimized: same results, verify clean")
    for variables, umask in (
        ({"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, 0o022),
        ({"LANG": "C", "LC_ALL": "C"}, 0o077),
        ({}, 0o077),
        ({"TZ": "Pacific/Kiritimati", "PYTHONOPTIMIZE": "1"}, 0o000),
    ):
        for stage in ready.values():
            with stage.place() as place:
                outcome, _ = _elsewhere(stage, place, variables, umask)
                same = outcome.status == 0 and outcome.result == stage.expected
                # With umask 0 others may write into the store, and verify says so.
                found = [one for one in harm(place) if umask or not one.startswith("access")]
                row.check(
                    f"{stage.workflow.name} {variables} {umask:03o}",
                    "" if same else f"it gave {outcome}",
                    *found,
                )
    return row


def _elsewhere(
    stage: Stage, place: str, variables: dict[str, str], umask: int = 0o022
) -> tuple[Outcome, float]:
    """Run a workflow in a new Python; return also what its clock said."""
    top = os.fspath(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, top, stage.workflow.name, place],
        env={"PATH": os.environ["PATH"], "HOME": stage.folder, **variables},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        umask=umask,
        timeout=300,
    )
    if done.returncode != 0:
        return Outcome(done.returncode, error=done.stderr), 0.0
    result, clock = json.loads(done.stdout.splitlines()[-1])
    return Outcome(0, result), clock


def _clocks(scale: Scale, ready: dict[str, Stage]) -> Row:
    """Work on one store by clocks that are ten years apart, in each order."""
    row = Row("surroundings", "clock 10 years off: the same results, nothing lost", 0)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        row.note = "not tried: there is no C compiler"
        return row
    source, library = Path(scale.folder, "clock.c"), Path(scale.folder, "clock.so")
    source.write_text(_CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    for shifts in ((-_YEARS, 0, _YEARS), (_YEARS, 0, -_YEARS), (0, _YEARS, 0), (0, -_YEARS, 0)):
        for name in ("realize", "fetch", "gc"):
            stage = ready[name]
            with stage.place() as place:
                for shift in shifts:
                    variables = {"LD_PRELOAD": os.fspath(library), "SHIFT": str(shift)}
                    outcome, clock = _elsewhere(stage, place, variables)
                    moved = abs(clock - os.stat(place).st_ctime - shift) < 86400
                    same = outcome.status == 0 and outcome.result == stage.expected
                    row.check(
                        f"{name} by {shift // 86400} days of {shifts}",
                        "" if same else f"it gave {outcome}",
                        "" if moved or not same else "the clock did not move",
                        *harm(place),
                    )
                    if not os.path.isdir(f"{store_of(place)}/tmp"):
                        continue
                    # A session of a dead process, by that clock: it is swept by its lock.
                    dead = f"{store_of(place)}/tmp/1-dead"
                    os.mkdir(dead)
                    os.utime(dead, (1, 1 + max(0, shift)))
                    Store(store_of(place)).session().close()
                    row.check("sweep", os.path.lexists(dead) and "a dead session stays")
        if scale.short:
            break
    return row


__all__ = ["surroundings"]
