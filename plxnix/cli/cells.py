"""Cells of tables: sizes, durations and times, in units on a terminal and as numbers in a pipe."""

from __future__ import annotations

from plxnix.cli.console import Cell
from plxnix.cli.units import age_text, duration_text, size_text, time_text


def size_cell(size: int) -> Cell:
    """Return a cell for a number of bytes, which it is in a pipe."""
    return Cell(size_text(size), str(size))


def duration_cell(seconds: float) -> Cell:
    """Return a cell for a duration: in a pipe, its seconds."""
    return Cell(duration_text(seconds), f"{seconds:.3f}")


def age_cell(when: float) -> Cell:
    """Return a cell for a point in time: how long ago it was, or in a pipe, ISO 8601 in UTC."""
    return Cell(age_text(when), time_text(when))
