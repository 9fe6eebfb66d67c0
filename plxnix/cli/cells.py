"""Cells of tables: names, sizes, durations, times; for people on a terminal, data in a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from plxnix.cli.console import Cell
from plxnix.cli.units import age_text, duration_text, size_text, time_text
from plxnix.model import DRef
from plxnix.references import labels_of
from plxnix.store import Store


def name_cells(store: Store, drefs: Iterable[DRef], drawing: bool) -> dict[DRef, Cell]:
    """Return cells for the names of derivations, once each.

    On a terminal namesakes are told apart by what they differ in: `train (rate=0.1)`. That reads
    their configs.
    """
    names = {dref: str(dref.name) for dref in drefs}
    shown = labels_of(store, names) if drawing else names
    return {dref: Cell(shown[dref], name) for dref, name in names.items()}


def size_cell(size: int) -> Cell:
    """Return a cell for a number of bytes, which it is in a pipe."""
    return Cell(size_text(size), str(size))


def duration_cell(seconds: float) -> Cell:
    """Return a cell for a duration: in a pipe, its seconds."""
    return Cell(duration_text(seconds), f"{seconds:.3f}")


def age_cell(when: float) -> Cell:
    """Return a cell for a point in time: how long ago it was, or in a pipe, ISO 8601 in UTC."""
    return Cell(age_text(when), time_text(when))
