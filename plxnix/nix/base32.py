"""Base 32 as Nix writes it.

The digits stand in the reverse of the usual order: the bytes are one little-endian number, and its
most significant group of five bits comes first (Nix manual, "Nix32"). The letters e, o, t and u are
not in the alphabet.
"""

from __future__ import annotations

import re
from typing import Final

from plxnix.errors import InvalidHash

ALPHABET: Final = "0123456789abcdfghijklmnpqrsvwxyz"

_VALUES: Final = {digit: value for value, digit in enumerate(ALPHABET)}
_PAIRS: Final = [first + second for first in ALPHABET for second in ALPHABET]
_TEXT: Final = re.compile(f"[{ALPHABET}]*")


def encode(data: bytes) -> str:
    """Return `data` in base 32: ceil(8 n / 5) digits for n bytes."""
    length = encoded_length(len(data))
    number = int.from_bytes(data, "little")
    even = length + (length & 1)
    pairs = _PAIRS
    text = "".join([pairs[number >> shift & 1023] for shift in range(5 * even - 10, -1, -10)])
    return text[even - length :]


def decode(text: str) -> bytes:
    """Return the bytes that `text` stands for; the inverse of `encode`.

    Raises `InvalidHash` for a character that is not in the alphabet, a length that no number of
    bytes has, and bits beyond the last byte that are not zero.
    """
    if not _TEXT.fullmatch(text):
        raise InvalidHash(
            f"not base 32 as Nix writes it: {text!r:.100}", f"its digits are {ALPHABET}"
        )
    size = len(text) * 5 // 8
    if encoded_length(size) != len(text):
        raise InvalidHash(
            f"base 32 of {len(text)} digits stands for no number of bytes: {text!r:.100}",
            "was something cut off? sha256 has 52 digits, the hash in a store path 32",
        )
    number = 0
    for digit in text:
        number = number << 5 | _VALUES[digit]
    try:
        return number.to_bytes(size, "little")
    except OverflowError:
        raise InvalidHash(
            f"base 32 with bits beyond its last byte: {text!r:.100}",
            "was a digit changed? no encoder writes this",
        ) from None


def encoded_length(size: int) -> int:
    """Return how many digits `size` bytes have."""
    return (8 * size + 4) // 5
