"""Forked children that meet a fault: killed at a time, or at a system call by strace.

A child inherits what its parent has imported, so that a trial takes milliseconds, and the counts of
system calls begin where its work begins.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plxnix.errors import PlxnixError

STRACE = shutil.which("strace")

#: Seconds after which a child is wedged.
PATIENCE = 300.0

#: System calls that change a file system, as Python makes them.
CHANGING = [
    *("openat", "write", "pwrite64", "writev", "ftruncate", "sendfile", "copy_file_range"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fsync", "fdatasync", "syncfs"),
    *("chmod", "fchmod", "fchmodat", "utimensat"),
]

_PR_SET_PTRACER = 0x59616D61
_OPENED_TO_WRITE = re.compile(r"\bO_(WRONLY|RDWR|CREAT|TRUNC)\b")
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its status (negative: a signal), what it returned or raised.

    `wedged` says that it had to be killed for taking too long; `typed` that it raised an error of
    plxnix, `error` how that reads.
    """

    status: int
    result: object = None
    error: str = ""
    typed: bool = False
    wedged: bool = False
    log: str = ""


@dataclass(frozen=True)
class Call:
    """The `number`-th call of a system call in a workflow, as strace printed it."""

    name: str
    number: int
    text: str

    @property
    def changes(self) -> bool:
        """Whether it can change the disk."""
        return self.name != "openat" or _OPENED_TO_WRITE.search(self.text) is not None

    def __str__(self) -> str:
        return f"{self.name} #{self.number} {self.text[:120]}"


class Child:
    """A forked process that waits until it is let go, runs a function, and tells what came of it.

    It gets files for its own output, so that what realizers print does not mix with the table.
    """

    def __init__(self, function: Callable[[], object], held: bool = False) -> None:
        self._gate, go = os.pipe()
        self._answer, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _live(function, self._gate, answer, {self._answer, go})
        os.close(answer)
        os.close(self._gate)
        os.read(self._answer, 1)  # What it does to get ready is not to be traced.
        self._go = go
        self._strace: subprocess.Popen[bytes] | None = None
        if not held:
            self.let_go()

    def let_go(self) -> None:
        """Let the child begin."""
        os.write(self._go, b"!")  # Later children have copies of it, so closing is not enough.
        os.close(self._go)

    def trace(self, log: str, *options: str) -> None:
        """Attach strace to the child, which is still held."""
        assert STRACE is not None
        command = [STRACE, "-f", "-qq", "-y", "-o", log, *options, "-p", str(self.pid)]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE
        while _tracer(self.pid) == 0:
            if self._strace.poll() is not None or time.monotonic() > deadline:
                said = self._strace.stderr.read() if self._strace.stderr else b""
                raise RuntimeError(f"strace cannot attach: {said.decode()}")
            time.sleep(0.001)

    def wait(self, patience: float = PATIENCE) -> Outcome:
        """Wait for the end; a child that takes longer than `patience` seconds is killed."""
        deadline, wedged = time.monotonic() + patience, False
        os.set_blocking(self._answer, False)
        said = b""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            said += _available(self._answer)
            if pid:
                break
            if time.monotonic() > deadline and not wedged:
                wedged = True
                self.kill()
            time.sleep(0.001)
        os.close(self._answer)
        if self._strace is not None:
            if self._strace.stderr is not None:
                self._strace.stderr.close()
            self._strace.wait()
        fields = json.loads(said) if said.endswith(b"\n") else {}
        if wedged:
            fields = {"error": "it is wedged"}
        return Outcome(os.waitstatus_to_exitcode(status), wedged=wedged, **fields)

    def kill(self) -> None:
        """Kill the child at once."""
        os.kill(self.pid, signal.SIGKILL)


def attempt(function: Callable[[], object], patience: float = PATIENCE) -> Outcome:
    """Run a function in a child and return what came of it."""
    return Child(function).wait(patience)


def traced(function: Callable[[], object], log: str, *options: str) -> Outcome:
    """Run a function in a child below strace."""
    child = Child(function, held=True)
    child.trace(log, *options)
    child.let_go()
    return child.wait()


def calls(
    function: Callable[[], object], place: str, log: str, everywhere: bool = False
) -> tuple[list[Call], Outcome]:
    """Return the changing calls of a function on files below `place`, in their order.

    Those of other threads and processes are left out, as their numbers are counted by themselves;
    with `everywhere` they are there, and of those with the same name and number the first.
    """
    outcome = traced(function, log, "-e", f"trace={','.join(CHANGING)}", "-s", "300")
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], Call] = {}
    first = ""
    with open(log, errors="replace") as lines:
        for line in lines:
            match = _CALL.match(line)
            if match is None:
                continue
            thread, name, text = match.groups()
            first = first or thread
            counts[thread, name] += 1
            number = counts[thread, name]
            if place in line and name in CHANGING and (everywhere or thread == first):
                found.setdefault((name, number), Call(name, number, text.strip()))
    return list(found.values()), outcome


def injected(function: Callable[[], object], log: str, call: Call, fault: str) -> Outcome:
    """Run a function in a child in which one call meets a fault, in strace's words."""
    inject = f"inject={call.name}:{fault}:when={call.number}"
    return traced(function, log, "-e", f"trace={call.name}", "-e", inject)


def _live(
    function: Callable[[], object], gate: int, answer: int, foreign: Sequence[int] | set[int]
) -> None:
    """Be the child: never returns."""
    status = 1
    try:
        for descriptor in foreign:
            os.close(descriptor)
        # Some kernels let only a process that was named so attach to what is not its child.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.write(answer, b"!")
        os.read(gate, 1)
        fields: dict[str, object]
        try:
            fields = {"result": function()}
            status = 0
        except PlxnixError as error:
            fields = {"error": f"{type(error).__name__}: {error}", "typed": True}
        except BaseException:  # noqa: BLE001  # told to the parent
            fields = {"error": traceback.format_exc()}
        said = (json.dumps(fields) + "\n").encode()
        try:
            os.write(answer, said)
        except OSError:  # The fault was to be for a thread, and has met this call.
            os.write(answer, said)
    finally:
        os._exit(status)


def _tracer(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("TracerPid:"))


def _available(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


__all__ = ["STRACE", "Call", "Child", "Outcome", "attempt", "calls", "injected", "traced"]
