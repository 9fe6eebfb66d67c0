"""The schedule: how the stages of a realization are to be run, as the user has said."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from plxnix.errors import InvalidValue
from plxnix.realize import resources as needs
from plxnix.realize.resources import Resources


@dataclass(frozen=True)
class Schedule:
    """How the stages of a realization are run; see `realize`."""

    jobs: int = 1
    executor: Any = None
    keep_going: bool = False
    timeout: float | None = None
    retries: int = 0
    resources: Resources = field(default_factory=dict)

    @staticmethod
    def make(
        jobs: int | None = None,
        executor: Any = None,
        keep_going: bool = False,
        timeout: float | None = None,
        retries: int = 0,
        resources: Resources | None = None,
    ) -> Schedule:
        """Check the arguments of `realize`; raise `InvalidValue`, `InvalidSetting`."""
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise InvalidValue(f"timeout is {timeout!r}", "it is a number of seconds, or None")
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            raise InvalidValue(f"retries is {retries!r}", "it is a whole number, at least 0")
        count = needs.count_jobs(jobs)
        if jobs is None and executor is not None and not os.environ.get("PLXNIX_JOBS"):
            count = 0  # as many as the executor gets by default
        totals = needs.checked(resources or {}, "resources")
        return Schedule(count, executor, bool(keep_going), timeout, retries, totals)

    @property
    def plain(self) -> bool:
        """Whether one stage after the other runs in this thread, and the first failure is all."""
        return self == Schedule(jobs=1)
