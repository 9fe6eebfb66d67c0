"""Strings of derivations: how text stands for bytes, and how it is quoted in a `.drv` file.

Text in Python stands for bytes as UTF-8 with `surrogateescape`, so that any byte survives.
"""

from __future__ import annotations


def quote(text: str) -> str:
    """Return `text` as a string of an ATerm, in quotes."""
    if text.isalnum():
        return f'"{text}"'
    # Five searches that find nothing are faster than one translation.
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def encode(text: str) -> bytes:
    """Return the bytes that `text` stands for: UTF-8, with the bytes that are not, as they were."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return bytes as text; the inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")
