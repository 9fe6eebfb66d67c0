"""Import modules in forked processes; run by an environment's interpreter.

A task comes as JSON on standard input: `modules` by distribution, `bases`: for a distribution the
one whose process its own is forked from, after that one has imported its modules; how many `jobs`
at a time, and the `timeout` in seconds. What fails so is tried again in a process that has imported
nothing yet. The answers leave as JSON, the last line on standard output; files stay in TMPDIR.
Python 3.8 is enough; what the modules print, and how they end, does no harm to the answers.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import tempfile
import time
from typing import Any


def try_import(name: str) -> dict[str, Any]:
    """Import a module and return the answer for it."""
    begun = time.monotonic()
    error = lacking = ""
    try:
        __import__(name)
    except BaseException as failure:  # noqa: BLE001  # a module may also exit
        error, lacking = _text(failure), _lacking(failure)
    seconds = time.monotonic() - begun
    return {"module": name, "error": error, "lacking": lacking, "seconds": seconds}


def _lacking(failure: BaseException) -> str:
    """Return the module that was not found, also if the error tells in words of its own."""
    first: BaseException | None = failure
    while isinstance(first, ImportError):
        if isinstance(first, ModuleNotFoundError) and first.name:
            return first.name
        first = first.__cause__ or first.__context__
    return ""


def _text(failure: BaseException) -> str:
    lines = str(failure).strip().splitlines()
    return type(failure).__name__ + (": " + lines[0][:500] if lines else "")


class Forest:
    """Processes for distributions, each forked from that of its base, or from this one."""

    def __init__(self, task: dict[str, Any], bases: dict[str, str]) -> None:
        self.modules, self.jobs, self.timeout = task["modules"], task["jobs"], task["timeout"]
        # One of its own: where a base was killed, those forked from it may be writing still.
        self.folder = tempfile.mkdtemp()
        self.numbers = {name: number for number, name in enumerate(sorted(self.modules))}
        self.above: dict[str, list[str]] = {}
        for name, base in sorted(bases.items()):
            self.above.setdefault(base, []).append(name)

    def grow(self, base: str = "") -> dict[str, int]:
        """Fork a process for each distribution on `base`; return how each ended, after all have."""
        begun = {}
        for name in self.above.get(base, ()):
            child = os.fork()
            if not child:
                try:
                    self._be(name)
                finally:
                    os._exit(0)
            begun[name] = child
        signal.alarm(0)
        return {name: os.waitpid(child, 0)[1] for name, child in begun.items()}

    def _be(self, name: str) -> None:
        # A base may have changed them; and of Ctrl-C a module would take the exception for itself.
        for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        turn = self._turn(self.numbers[name])
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        # A file, as what a module leaves running would hold a pipe open.
        answers = os.open(self._file(name), os.O_WRONLY | os.O_CREAT)
        signal.alarm(max(1, int(self.timeout)))
        for module in self.modules[name]:
            os.write(answers, json.dumps(try_import(module)).encode() + b"\n")
        os.close(answers)
        os.close(turn)
        # A fork has none of the threads that a module has started, but what they have locked.
        if len(os.listdir("/proc/self/task")) == 1:
            self.grow(name)

    def _turn(self, number: int) -> int:
        """Wait until fewer than `jobs` processes import; the turn ends with the process, too."""
        turns = os.open(f"{self.folder}/turns", os.O_RDWR | os.O_CREAT)
        for place in range(self.jobs):
            try:
                fcntl.lockf(turns, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                return turns
            except OSError:
                continue
        fcntl.lockf(turns, fcntl.LOCK_EX, 1, number % self.jobs)
        return turns

    def _file(self, name: str) -> str:
        return f"{self.folder}/{self.numbers[name]}"

    def read(self, name: str, status: int) -> list[dict[str, Any]]:
        """Return an answer for each module: what came, and how the process ended for the rest."""
        got = []
        if os.path.exists(self._file(name)):
            with open(self._file(name), "rb") as stream:
                got = [json.loads(line) for line in stream if line.endswith(b"\n")]
        number = status & 0x7F
        for module in self.modules[name][len(got) :]:
            error = "the interpreter ended while it was imported"
            if number == signal.SIGALRM:
                error = f"it took longer than {self.timeout:g} s"
            elif number:
                error = f"the interpreter was killed by signal {number}"
            got.append({"module": module, "error": error, "lacking": "", "seconds": 0.0})
        return got


def main() -> None:
    """Do the task."""
    task = json.load(sys.stdin)
    bases = {name: task["bases"].get(name, "") for name in task["modules"]}
    done: dict[str, list[dict[str, Any]]] = {}
    while bases:
        forest = Forest(task, bases)
        ended = forest.grow()
        done.update((name, forest.read(name, ended.get(name, 0))) for name in bases)
        again = [name for name, base in bases.items() if base]
        bases = {name: "" for name in again if any(one["error"] for one in done[name])}
    sys.stdout.write("\n" + json.dumps(done))


if __name__ == "__main__":
    main()
