"""Times as Pylightnix writes them: local time with microseconds and the zone."""

from __future__ import annotations

from datetime import datetime

PYLIGHTNIX_TIME = "%y%m%d-%H:%M:%S:%f%z"


def timestring(sec: float | None = None) -> str:
    """Return a time (seconds since the epoch; default: now) as text."""
    when = datetime.now() if sec is None else datetime.fromtimestamp(sec)
    return when.astimezone().strftime(PYLIGHTNIX_TIME)


def parsetime(time: str) -> float | None:
    """Return the seconds since the epoch, or None if the text is not a time."""
    try:
        return datetime.strptime(time, PYLIGHTNIX_TIME).timestamp()
    except (ValueError, OverflowError):
        return None


__all__ = ["PYLIGHTNIX_TIME", "parsetime", "timestring"]
