"""Online conformal p-values: a loop's; uniform, independent where values are exchangeable."""

from __future__ import annotations

import pickle
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fapm_cli.drift.ranks import Ranks

VALUES = st.lists(st.one_of(st.integers(0, 4).map(float), st.floats(-9, 9)), max_size=12)


def counted(before: list[float], value: float, drawn: float) -> float:
    """The p-value by a loop over all of before."""
    larger = sum(one > value for one in before)
    equal = sum(one == value for one in before) + 1
    return (larger + drawn * equal) / (len(before) + 1)


@given(VALUES, VALUES, st.text(max_size=3))
def test_places_are_those_that_a_loop_counts(
    reference: list[float], values: list[float], seed: str
) -> None:
    ranks, chance, before = Ranks(reference, seed), random.Random(seed), [*reference]
    for value in values:
        assert ranks.place(value) == counted(before, value, chance.random())
        before.append(value)


def test_many_values_are_placed_as_few_are() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 500, 5000).astype(float).tolist()
    ranks, chance = Ranks(values[:10]), random.Random("")
    for n, value in enumerate(values[10:], start=10):
        drawn, p = chance.random(), ranks.place(value)
        if n % 97 == 0 or 1030 < n < 1040:
            assert p == counted(values[:n], value, drawn)


def test_what_is_kept_does_not_grow_with_values_that_were_there() -> None:
    rng = np.random.default_rng(2)
    ranks, sizes = Ranks([1.0, 2.0]), []
    for _ in range(3):
        for value in rng.integers(0, 300, 4096).tolist():
            ranks.place(float(value))
        sizes.append(len(pickle.dumps(ranks)))
    assert max(sizes) - min(sizes) < 100  # by the state of what draws
    assert sizes[0] < 300 * 16 + 8000


def test_p_values_of_exchangeable_values_are_uniform_and_independent() -> None:
    rng = np.random.default_rng(1)
    found = []
    for i in range(3000):
        values = rng.integers(0, 5, 7).astype(float)  # ties
        values[rng.permutation(7)[:2]] += 0.5
        ranks = Ranks(values[:3].tolist(), str(i))
        found.append([ranks.place(value) for value in values[3:].tolist()])
    p = np.array(found)
    for n in range(4):
        shares = np.histogram(p[:, n], bins=5, range=(0, 1))[0] / len(p)
        assert np.abs(shares - 0.2).max() < 0.03
    assert np.abs(np.corrcoef(p.T) - np.eye(4)).max() < 0.07
