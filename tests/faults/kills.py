"""kill -9: before every system call of the workflows that changes the disk, and at any time."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.faults.children import Child, attempt, injected
from tests.faults.counting import Row, Scale
from tests.faults.trials import Stage, stages, wedged
from tests.faults.workflows import harm


def kills(scale: Scale) -> Iterator[Row]:
    """Kill each workflow before each of its changing calls."""
    for stage in stages(scale.folder):
        row = Row("kills", f"{stage.workflow.name}: before each changing call")
        chosen = [call for call in stage.calls if call.changes]
        for call in scale.sample(stage.workflow.name, chosen, 25):
            with stage.place() as place:
                outcome = injected(stage.run(place), f"{stage.folder}/log", call, "signal=SIGKILL")
                killed = "" if outcome.status == -9 else f"it was not killed: {outcome}"
                row.check(f"at {call}", killed, wedged(outcome), *_after(stage, place))
        yield row


def random_kills(scale: Scale) -> Iterator[Row]:
    """Kill the workflows at random times."""
    ready = list(stages(scale.folder))
    row = Row("random-kills", "at random times")
    killed = 0
    seconds = {stage.workflow.name: _seconds(stage) for stage in ready}
    for number in range(scale.number(500, 60)):
        stage = ready[number % len(ready)]
        pause = scale.random(str(number)).uniform(0, 1.1 * seconds[stage.workflow.name])
        with stage.place() as place:
            child = Child(stage.run(place))
            time.sleep(pause)
            child.kill()
            outcome = child.wait()
            killed += outcome.status == -9
            label = f"{stage.workflow.name} after {pause:.4f} s (number {number})"
            row.check(label, wedged(outcome), *_after(stage, place))
    row.note = f"{killed} died"
    yield row


def _after(stage: Stage, place: str) -> list[str]:
    """Return what is wrong after a kill: half of something that can be seen, or the next run."""
    half = [f"half visible: {problem}" for problem in harm(place)]
    return half + stage.again(place)


def _seconds(stage: Stage) -> float:
    with stage.place() as place:
        begun = time.monotonic()
        outcome = attempt(stage.run(place))
        assert outcome.status == 0, outcome
        return time.monotonic() - begun


__all__ = ["kills", "random_kills"]
