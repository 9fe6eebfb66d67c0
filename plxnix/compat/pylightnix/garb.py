"""Garbage collection from folders of links, with the signatures of Pylightnix.

Roots of plxnix itself, as `plxnix realize --out-link` makes them, are kept as well.
"""

from __future__ import annotations

import os
import sys

from plxnix.compat.pylightnix.errors import check, door
from plxnix.compat.pylightnix.storage import store_of
from plxnix.compat.pylightnix.types import DRef, Path, RRef, StorageSettings
from plxnix.store.gc import GcPlan, collect, plan_gc
from plxnix.store.roots import linked

Settings = StorageSettings | None


def diskspace_h(sz: int) -> str:
    """Write a number of bytes in K, M or G."""
    for power, unit in ((30, "G"), (20, "M"), (10, "K")):
        if sz >= 1 << power or unit == "K":
            return f"{sz >> power:4} {unit}"
    return ""


@door()
def gc_exceptions(keep_paths: list[Path], S: Settings = None) -> tuple[list[DRef], list[RRef]]:
    """Return what links at or below paths lead to; what is not there is passed over."""
    there = [path for path in keep_paths if os.path.islink(path) or os.path.isdir(path)]
    drefs, rrefs = linked(store_of(S), there)
    return [DRef(dref) for dref in drefs], [RRef(rref) for rref in rrefs]


@door()
def gc_candidates(
    keep: tuple[list[DRef], list[RRef]], S: Settings = None
) -> tuple[set[DRef], set[RRef]]:
    """Return what can be removed if the given references are kept."""
    plan = _plan(keep, S)
    return {DRef(dref) for dref in plan.drefs}, {RRef(one.rref) for one in plan.deleted}


@door()
def gc(
    keep_dirs: list[Path], interactive: bool = True, verbose: bool = True, S: Settings = None
) -> None:
    """Remove what no link at or below some paths leads to, and print it; ask first."""
    terminal = sys.__stdin__ is not None and sys.__stdin__.isatty()
    check(terminal or not interactive, "`gc` asks, which needs a terminal", "interactive=False")
    check(verbose or not interactive, "`gc` asks, so it has to be verbose", "interactive=False")
    plan = _plan(gc_exceptions(keep_dirs, S), S)
    if verbose:
        _show(plan)
    if interactive:
        print("Remove these? [yN]")
        if input().lower() != "y":
            print("Nothing was removed")
            return
    collect(store_of(S), plan)


def _plan(keep: tuple[list[DRef], list[RRef]], S: Settings) -> GcPlan:
    drefs, rrefs = keep
    return plan_gc(store_of(S), rrefs, everything=True, drefs=drefs)


def _show(plan: GcPlan) -> None:
    if plan.drefs or plan.deleted:
        print("To be removed:")
    for dref in plan.drefs:
        print(f"\t{dref}")
    for one in sorted(plan.deleted, key=lambda one: one.size):
        print(f"{diskspace_h(one.size)}\t{one.rref}")
    print(f"{diskspace_h(plan.freed)}\ttotal")


__all__ = ["diskspace_h", "gc", "gc_candidates", "gc_exceptions"]
