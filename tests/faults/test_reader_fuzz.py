"""Whatever bytes the readers are given, they read them or raise an error of plxnix."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import PlxnixError
from tests.faults.readers import PIECES, READERS


@st.composite
def mutated(draw: st.DrawFn, samples: tuple[bytes, ...]) -> bytes:
    """Draw bytes that are right but for a few places."""
    right = data = draw(st.sampled_from(samples))
    pieces = st.sampled_from(PIECES) | st.binary(max_size=8)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([0, 1, 8, 99])))))
        piece = draw(pieces | st.just(right[: draw(st.integers(0, 64))]))
        data = data[:start] + piece + data[end:]
    return data[: draw(st.sampled_from([len(data), draw(st.integers(0, len(data)))]))]


@pytest.mark.parametrize("name", READERS)
def test_right_bytes_are_read(name: str) -> None:
    """What the others are made from is right."""
    for sample in READERS[name].samples():
        READERS[name].read(sample)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_mutated_bytes(name: str, data: st.DataObject) -> None:
    """A few wrong bytes are read, or refused by a typed error."""
    reader = READERS[name]
    with suppress(PlxnixError):
        reader.read(data.draw(mutated(reader.samples())))


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    """Any bytes at all are read, or refused by a typed error."""
    with suppress(PlxnixError):
        READERS[name].read(data)
