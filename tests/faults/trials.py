"""One trial: a workflow in a fresh place meets a fault, and then has to be right once more."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass

from plxnix.store import Fsync
from tests.faults.children import Call, Outcome, attempt, calls
from tests.faults.workflows import (
    WORKFLOWS,
    Workflow,
    complete,
    copy,
    damages,
    harm,
    leftovers,
    remove,
    write_archive,
)


@dataclass(frozen=True)
class Stage:
    """A workflow made ready: its template place, what it gives, and the calls that it makes."""

    workflow: Workflow
    folder: str
    expected: object
    calls: list[Call]

    def run(self, place: str, fsync: Fsync = Fsync.FULL) -> Callable[[], object]:
        """Return the function that runs the workflow at a place."""
        return lambda: complete(self.workflow, place, fsync)

    @contextmanager
    def place(self) -> Iterator[str]:
        """Give a fresh place, as it is before the workflow, and remove it afterwards.

        Its name has the length of all others, so that paths and buffers are of the same length.
        """
        place = f"{self.folder}/{os.urandom(4).hex()}"
        copy(f"{self.folder}/template", place)
        try:
            yield place
        finally:
            remove(place)

    def again(self, place: str) -> list[str]:
        """Run the workflow once more; return what is wrong with that and with the store then."""
        outcome = attempt(self.run(place, Fsync.NONE))
        if outcome.wedged:
            return ["the next run is wedged"]
        if outcome.status != 0:
            return [f"the next run fails: {outcome.error[-2000:]}"]
        wrong = [] if outcome.result == self.expected else [f"the next gives {outcome.result}"]
        wrong += [f"after the next: {damage.message}" for damage in damages(place)]
        return wrong + [f"after the next there is {name}" for name in leftovers(place)]


def stages(
    folder: str, workflows: Sequence[Workflow] = WORKFLOWS, everywhere: bool = False
) -> Iterator[Stage]:
    """Make each workflow ready below `folder`; the first run of each also warms the imports.

    With `everywhere` they have the calls of all their threads and processes (see `calls`).
    """
    for workflow in workflows:
        home = f"{folder}/{workflow.name}"
        template = f"{home}/template"
        os.makedirs(template)
        write_archive(template)
        # In this process, so that the children have imported all that they need.
        with redirect_stdout(io.StringIO()):
            workflow.prepare(template)
        first = f"{home}/imported"
        copy(template, first)
        with redirect_stdout(io.StringIO()):
            complete(workflow, first)
        remove(first)
        shutil.rmtree(f"{template}/store/tmp", ignore_errors=True)
        if os.path.isdir(f"{template}/store"):
            os.mkdir(f"{template}/store/tmp")
        stage = Stage(workflow, home, None, [])
        with stage.place() as place:
            found, outcome = calls(stage.run(place), place, f"{home}/log", everywhere)
            if outcome.status != 0 or harm(place):
                raise RuntimeError(f"{workflow.name} fails without a fault: {outcome}")
        yield Stage(workflow, home, outcome.result, found)


def wedged(outcome: Outcome) -> str:
    """Say so if a child had to be killed for taking too long."""
    return "it is wedged" if outcome.wedged else ""


__all__ = ["Stage", "stages", "wedged"]
