"""Units for people: sizes, durations and ages, written and read."""

from __future__ import annotations

import re
import time

from plxnix.errors import InvalidValue

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)?")
_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def size_text(size: float) -> str:
    """Write a number of bytes with three digits at most: `1.2 MiB`."""
    unit = 0
    while size >= 1000 and unit < len(_SIZES) - 1:
        size /= 1024
        unit += 1
    digits = 0 if unit == 0 or size >= 99.95 else 1
    return f"{size:.{digits}f} {_SIZES[unit]}"


def duration_text(seconds: float) -> str:
    """Write a duration: `0.08 s`, `12.3 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 0.995:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def age_text(when: float, now: float | None = None) -> str:
    """Write how long ago `when` (seconds since the epoch) was: `3 h ago`; the future is now."""
    seconds = (time.time() if now is None else now) - when
    if seconds < 1:
        return "just now"
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        count = int(seconds // length)
        if count:
            plural = "s" if unit == "day" and count > 1 else ""
            return f"{count} {unit}{plural} ago"
    return f"{int(seconds)} s ago"


def time_text(when: float) -> str:
    """Write a point in time as ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def parse_size(text: str) -> int:
    """Read a size in bytes: `500`, `10K`, `1.5 GiB`; multiples are of 1024.

    Raises `InvalidValue`.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidValue(f"not a size: {text!r}", "write it like 500M, 10G or 1.5TiB")
    power = " KMGTP".index(found[2].upper() or " ")
    return int(float(found[1]) * 1024**power)


def parse_duration(text: str) -> float:
    """Read a duration in seconds: `90`, `90s`, `15min`, `12h`, `30d`, `2w`.

    Raises `InvalidValue`.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise InvalidValue(f"not a duration: {text!r}", "write it like 90s, 15min, 12h, 30d or 2w")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: `1 stage`, `3 stages`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
