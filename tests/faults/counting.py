"""What the parts of the fault tests give: rows of counts, each with what went wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Row:
    """One line of the table: how often something was tried, and how often it was not as it must be.

    `least` is how many trials there have to be, so that a part that tries nothing is no success.
    """

    part: str
    what: str
    least: int = 1
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        return self.tried >= self.least and not self.wrong

    def check(self, label: str, *problems: object) -> bool:
        """Count one trial; what is in `problems` and true is wrong with it."""
        self.tried += 1
        found = [problem for problem in problems if problem]
        self.wrong += [f"{label}: {problem}" for problem in found]
        return not found


@dataclass(frozen=True)
class Scale:
    """How much to do: in full, or the short part; `count`, if given, is how many trials to make.

    `folder` is where to work. The same `seed` gives the same trials.
    """

    folder: str
    seed: int = 0
    count: int | None = None
    short: bool = False

    def number(self, full: int, short: int) -> int:
        """Return how many trials to make."""
        if self.count is not None:
            return self.count
        return short if self.short else full

    def random(self, label: str) -> random.Random:
        """Return a source of random numbers for one trial, whatever the others draw."""
        return random.Random(f"{self.seed} {label}")  # noqa: S311

    def sample(self, label: str, items: Sequence[T], short: int) -> list[T]:
        """Return all items, or some of them, spread over the whole, in their order."""
        number = self.number(len(items), short)
        if number >= len(items):
            return list(items)
        chosen = sorted(self.random(label).sample(range(len(items)), number))
        return [items[index] for index in chosen]


__all__ = ["Row", "Scale"]
