"""What came of a check: the results of each stage, by hash, and how they differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plxnix.builders.difference import Difference, compare
from plxnix.model import DRef, RRef
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash

FIRST, AGAIN, NIX, STORE = "native", "native again", "nix", "store"


@dataclass(frozen=True)
class Built:
    """One result of a stage, by NAR hash (SRI) and size in bytes.

    `builder` is `native`, `native again`, `nix` or `store` (what was realized before, `rref`);
    `output` tells the results of one run apart. `seconds` is None for what was not built now.
    `difference` is how it differs from the first native result, None if it has the same bytes.
    """

    builder: str
    hash: str
    size: int
    output: int = 0
    seconds: float | None = None
    sandboxed: bool = False
    path: str = ""
    rref: RRef | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class Checked:
    """What came of one stage.

    `asked`: it is a target. `free` says why nobody promises that it gives the same bytes, empty if
    it has to. `without_nix` says why Nix did not build it, empty if it did. `failed` says how Nix
    failed to. `known`: it was not built, as it cannot have other bytes.
    """

    dref: DRef
    builds: tuple[Built, ...]
    asked: bool = True
    free: str = ""
    without_nix: str = ""
    failed: str = ""
    known: bool = False

    @property
    def same(self) -> bool:
        """Whether nothing failed or differs that should not.

        What is free may differ from what is stored, and each time if it is not asked for itself.
        """
        return not self.failed and not any(self.matters(one) for one in self.builds)

    def matters(self, one: Built) -> bool:
        """Tell whether a result differs that should not."""
        may = self.free and (one.builder == STORE or not self.asked)
        return one.difference is not None and not may


@dataclass(frozen=True)
class HashedTree:
    """A file or tree, hashed once."""

    place: Path
    hash: Hash
    size: int

    @classmethod
    def of(cls, place: str | Path) -> HashedTree:
        """Hash what is at a place."""
        return cls(Path(place), *nar_hash(place))


def compared(
    builder: str,
    tree: HashedTree,
    first: HashedTree | None,
    output: int = 0,
    seconds: float | None = None,
    sandboxed: bool = False,
    path: str = "",
    rref: RRef | None = None,
) -> Built:
    """Return a result, with how it differs from the first one, if there is one."""
    difference = None
    if first is not None and first.hash != tree.hash:
        difference = compare(first.place, tree.place)
    return Built(
        builder, tree.hash.sri, tree.size, output, seconds, sandboxed, path, rref, difference
    )
