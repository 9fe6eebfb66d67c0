"""What a lock says, as values."""

from __future__ import annotations

from dataclasses import dataclass

from plxnix.locking.source import LockedSource
from plxnix.model import DRef, RRef
from plxnix.nix.graph import Node


@dataclass(frozen=True)
class Locked:
    """One derivation of a lock.

    `dref` is None for a derivation that is only a part of a stage. `drv_path` is empty, and `paths`
    lacks outputs, where a package set has a say in them.
    """

    variable: str
    node: Node
    kind: str
    dref: DRef | None
    rref: RRef | None
    drv_path: str
    paths: dict[str, str]
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """What a lock says: derivations by variable, dependencies first, and the targets' variables.

    `command` is what made it, and `toolchain` and `system` are what for. `sources` are the named
    fetches, which people maintain by `plxnix lock`.
    """

    command: str
    toolchain: str
    system: str
    derivations: dict[str, Locked]
    targets: dict[DRef, tuple[str, ...]]
    sources: dict[str, LockedSource]
