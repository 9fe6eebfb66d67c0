"""Resources: what stages need while they run, and how much of it there is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from glob import glob
from typing import TypeAlias

from plxnix.errors import InvalidSetting, InvalidValue

#: How much of each resource: `cpus`, `gpus` and names of the user's own.
Resources: TypeAlias = Mapping[str, float]

#: Whole kinds of demand: stages with the same one wait in the same queue.
Demand: TypeAlias = tuple[tuple[str, float], ...]

#: What amounts may lose when they are taken and given back: 0.1 + 0.7 is not 0.8.
_ROUNDING = 1e-9


def checked(resources: object, what: str) -> dict[str, float]:
    """Return amounts of resources by name; raise `InvalidValue` for what is none."""
    if not isinstance(resources, Mapping):
        raise InvalidValue(f"{what} is {resources!r:.80}", "it is a dict, such as {'gpus': 1}")
    for name, amount in resources.items():
        if not isinstance(name, str) or not name:
            raise InvalidValue(f"{what} names {name!r}", "a resource has a name, such as gpus")
        number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not number or not 0 <= amount < float("inf"):
            raise InvalidValue(f"{what} has {name}={amount!r}", "an amount is a number, at least 0")
    return dict(resources)


def count_jobs(jobs: int | None) -> int:
    """Return how many stages may run at once: `jobs`, else `$PLXNIX_JOBS`, else 1; 0 is "all CPUs".

    Raises `InvalidValue`, `InvalidSetting`.
    """
    if jobs is None:
        text = os.environ.get("PLXNIX_JOBS") or "1"
        if not text.isascii() or not text.isdigit():
            raise InvalidSetting(
                f"PLXNIX_JOBS is {text!r}", "set it to a whole number; 0 is one for each CPU"
            )
        jobs = int(text)
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 0:
        raise InvalidValue(f"jobs is {jobs!r}", "it is a whole number; 0 is one for each CPU")
    return jobs or cpus()


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def gpus() -> int:
    """Return how many GPUs of NVIDIA this process may use, as far as can be seen."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    return len(glob("/dev/nvidia[0-9]*"))


class Supply:
    """What is there, and what is left of it while stages run.

    `totals` are what the user has said. Of what nobody has said there is enough for the stage that
    needs most of it, and of `cpus` as much as `jobs`, of `gpus` as many as are seen.
    """

    def __init__(self, totals: Resources, needs: Iterable[tuple[str, Resources]], jobs: int):
        self._left: dict[str, float] = checked(totals, "resources")
        found: dict[str, float] = {"cpus": jobs, "gpus": gpus()}
        for label, need in needs:
            for name, amount in need.items():
                if name in self._left and amount > self._left[name]:
                    raise InvalidValue(
                        f"{label} needs {amount:g} {name}, of which there are {self._left[name]:g}",
                        f"say resources={{{name!r}: {amount:g}}} (--resource {name}={amount:g}) "
                        "where there are as many",
                    )
                found[name] = max(found.get(name, 0), amount)
        self._left = {**found, **self._left}

    def add(self, name: str, amount: float) -> None:
        """Add a resource."""
        self._left[name] = amount

    def has(self, name: str, amount: float) -> bool:
        """Tell whether there is so much of a resource."""
        return amount <= self._left[name] + _ROUNDING

    def lack(self, demand: Demand) -> tuple[str, float] | None:
        """Return one resource of which a stage needs more than is left, and how much; else None."""
        return next((one for one in demand if not self.has(*one)), None)

    def take(self, demand: Demand) -> None:
        """Take what a stage needs; nothing of it is lacking."""
        for name, amount in demand:
            self._left[name] -= amount

    def give(self, demand: Demand) -> None:
        """Give back what a stage had."""
        for name, amount in demand:
            self._left[name] += amount


def demand(need: Resources) -> Demand:
    """Return the demand of a stage; one CPU unless it says otherwise."""
    return tuple(sorted({"cpus": 1, **need}.items()))
