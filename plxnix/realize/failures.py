"""Failures: what came of the stages that failed, and of those above them."""

from __future__ import annotations

from collections.abc import Sequence

from plxnix.errors import BuildFailed, FetchError, HashMismatch, PlxnixError, StagesFailed
from plxnix.realize.labels import Labels
from plxnix.realize.observer import Observer
from plxnix.realize.registry import Derivation


class Failures:
    """The failures of a realization of `stages`, which other stages wait for, by place: `above`."""

    def __init__(
        self, stages: Sequence[Derivation], above: Sequence[Sequence[int]], labels: Labels
    ) -> None:
        self._stages = stages
        self._labels = labels
        self._above = above
        self._failures: dict[int, PlxnixError] = {}
        self._skipped: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._failures)

    def add(self, place: int, error: PlxnixError, observer: Observer) -> None:
        """Take note of a failure, and tell which stages are left out for it."""
        self._failures[place] = error
        failed = self._stages[place].dref
        waiting = list(self._above[place])
        while waiting:
            above = waiting.pop()
            if above not in self._skipped:
                self._skipped.add(above)
                observer.skipped(self._stages[above].dref, failed)
                waiting.extend(self._above[above])

    def report(self) -> StagesFailed:
        """Return the error that lists them, in the order of the closure."""
        failures = {self._stages[place].dref: self._failures[place] for place in self._failures}
        ordered = {one.dref: failures[one.dref] for one in self._stages if one.dref in failures}
        skipped = [self._stages[place].dref for place in sorted(self._skipped)]
        count = f"{len(ordered)} stage{'s' if len(ordered) > 1 else ''}"
        rest = f", {len(skipped)} that depend on them were not tried" if skipped else ""
        lines = "".join(f"\n  {self._labels[dref]}: {one.message}" for dref, one in ordered.items())
        return StagesFailed(
            f"{count} of {len(self._stages)} failed{rest}:{lines}",
            "the others are realized; `plxnix log` shows what each printed",
            next(iter(ordered)),
            {str(dref): one for dref, one in ordered.items()},
            skipped,
        )


def worth_another(error: BaseException) -> bool:
    """Tell whether a failure may be gone the next time."""
    return isinstance(error, (BuildFailed, FetchError)) and not isinstance(error, HashMismatch)
