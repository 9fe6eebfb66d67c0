"""Supply: how much of each resource is left while stages run."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from plxnix.realize.resources import Supply


@given(st.lists(st.integers(1, 9), max_size=20), st.randoms(use_true_random=False))
def test_what_is_given_back_can_be_taken(tenths: list[int], random: Random) -> None:
    """Parts of a resource are taken up to the whole, which is there again when all are back."""
    supply, taken, whole = Supply({"gpus": 1}, [], 1), list[int](), (("gpus", 1.0),)
    for tenth in tenths:
        fits = sum(taken) + tenth <= 10
        assert (supply.lack((("gpus", tenth / 10),)) is None) == fits
        if fits:
            supply.take((("gpus", tenth / 10),))
            taken.append(tenth)
        assert (supply.lack(whole) is None) == (not taken)
    random.shuffle(taken)
    for tenth in taken:
        supply.give((("gpus", tenth / 10),))
    assert supply.lack(whole) is None
