"""The reading commands of the command line, run on a store in this process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plxnix.cli import main


def commands(rref: str, dref: str) -> list[list[str]]:
    """Return the commands that read a store; the references are of what is in it."""
    return [
        *(["ls"], ["ls", "--json"], ["du"], ["info"], ["roots"], ["find"]),
        *(["verify"], ["gc", "--dry-run", "--all"]),
        *(["ls", rref], ["info", rref], ["log", rref], ["tree", rref], ["path", rref]),
        *(["info", dref], ["tree", dref], ["cat", f"{rref}/out"], ["du", rref], ["why", rref]),
    ]


def defects(root: str, chosen: Sequence[Sequence[str]]) -> list[str]:
    """Run commands on a store; return what they say that no command may say.

    That is a traceback, something that was not expected, and an exit status that is not theirs.
    """
    found = []
    for command in chosen:
        with _output() as (out, err):
            status = main(["--store", root, *command])
        said = err.getvalue().decode(errors="replace") + out.getvalue().decode(errors="replace")
        if status not in (0, 1) or "this is a defect" in said or "Traceback" in said:
            found.append(f"plxnix {' '.join(command)}: {status} {said[-1500:]}")
        elif status == 1 and not said.strip():
            found.append(f"plxnix {' '.join(command)} fails without a word: {said[-500:]}")
    return found


@contextmanager
def _output() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.stdout, sys.stderr
    sys.stdout = io.TextIOWrapper(out, errors="backslashreplace", write_through=True)
    sys.stderr = io.TextIOWrapper(err, errors="backslashreplace", write_through=True)
    try:
        yield out, err
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            stream.detach()
        sys.stdout, sys.stderr = before


def paths_below(top: str) -> list[str]:
    """Return everything below a folder, sorted, folders and links included."""
    found = []
    for folder, folders, files in os.walk(top):
        found += [f"{folder}/{name}" for name in (*folders, *files)]
    return sorted(found)


__all__ = ["commands", "defects", "paths_below"]
