"""Recipes: realizers that are data.

A recipe's config alone says what is done, so the stage can be realized here and handed to Nix. A
new kind of stage is a new subclass in a module of its own: `lower` says what it is in Nix, `make`
makes it natively.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from plxnix.config import Config
from plxnix.model import Context, DRef
from plxnix.realize.registry import RealizeArguments
from plxnix.realize.run import Artifact
from plxnix.recipes.building import SHOWN
from plxnix.recipes.job import Job
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.store import Store

__all__ = ["FIELD", "SHOWN", "Job", "Recipe"]

#: The field of a config that names the recipe: its kind and version, such as `fetch-1`.
FIELD = "__recipe__"


class Recipe(ABC):
    """A kind of stage whose config is its whole definition."""

    #: Kind and version, written into configs: a recipe that does something else gets a new one.
    kind: ClassVar[str]

    def deterministic(self, config: Config) -> bool:
        """Tell whether the stage gives the same bytes each time, as recipes do by default."""
        return config.get("deterministic") is not False

    @abstractmethod
    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation that the config stands for; nothing else may be read."""

    def form(self, job: Job) -> Lowered:
        """Return the derivation of the stage that is being made.

        It is not asked of the lowering: a stage that leaves as a pin has no form before it is made.
        """
        return self.lower(job.config, job.lowering)

    @abstractmethod
    def make(self, job: Job) -> Artifact:
        """Make one realization natively and return its folder."""

    def runs(self, config: Config) -> int:
        """Return how many realizations one run makes."""
        del config
        return 1

    def __call__(
        self, store: Store, dref: DRef, context: Context, arguments: RealizeArguments
    ) -> list[Artifact]:
        """Realize the stage; this is what makes a recipe a realizer."""
        job = Job(store, dref, context, arguments)
        return [self.make(job) for _ in range(self.runs(job.config))]

    def __repr__(self) -> str:
        return f"<recipe {self.kind}>"
