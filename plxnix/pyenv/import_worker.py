"""Import modules, a forked process for each distribution; run by an environment's interpreter.

A task comes as JSON on standard input: `modules` by distribution, how many `jobs` at a time, and
the `timeout` in seconds. The answers leave as JSON, the last line on standard output. Python 3.8
is enough; what the modules print, and how they end, does no harm to the answers.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from typing import Any, BinaryIO


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


def start(names: list[str], timeout: float, answers: BinaryIO) -> int:
    """Fork a process that imports modules and writes a line for each; return its number."""
    child = os.fork()
    if child:
        return child
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        signal.alarm(max(1, int(timeout)))
        for name in names:
            os.write(answers.fileno(), json.dumps(try_import(name)).encode() + b"\n")
    finally:
        os._exit(0)


def read(
    names: list[str],
    stream: BinaryIO,
    status: int,
    timeout: float,
) -> list[dict[str, Any]]:
    """Return an answer for each module: what came, and how the process ended for the rest."""
    stream.seek(0)
    got = [json.loads(line) for line in stream if line.endswith(b"\n")]
    number = status & 0x7F
    for name in names[len(got) :]:
        error = "the interpreter ended while it was imported"
        if number == signal.SIGALRM:
            error = f"it took longer than {timeout:g} s"
        elif number:
            error = f"the interpreter was killed by signal {number}"
        got.append({"module": name, "error": error, "lacking": "", "seconds": 0.0})
    return got


def main() -> None:
    """Do the task."""
    task = json.load(sys.stdin)
    left = sorted(task["modules"].items(), reverse=True)
    running: dict[int, tuple[str, list[str], Any]] = {}
    done = {}
    while left or running:
        while left and len(running) < task["jobs"]:
            distribution, names = left.pop()
            # A file, as what a module leaves running would hold a pipe open.
            stream = tempfile.TemporaryFile()  # noqa: SIM115
            running[start(names, task["timeout"], stream)] = (distribution, names, stream)
        child, status = os.wait()
        if child in running:
            distribution, names, stream = running.pop(child)
            with stream:
                done[distribution] = read(names, stream, status, task["timeout"])
    sys.stdout.write("\n" + json.dumps(done))


if __name__ == "__main__":
    main()
