"""Large maps, block by block, are what two matrices give at once, and their largest values too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fapm_cli.engines import large_maps
from fapm_cli.engines.large_maps import Largest, Shown, Spread
from fapm_cli.scores.geometry import covered, spreading_matrices


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    times=st.integers(1, 8),
    sigma=st.sampled_from([0.0, 1.0, 4.0]),
    placement=st.sampled_from(["bilinear", "nearest"]),
    block=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_blocks_are_those_of_the_whole(
    size: tuple[int, int], times: int, sigma: float, placement: str, block: int, seed: int
) -> None:
    finer, draw = (size[0] * times, size[1] * times), np.random.default_rng(seed)
    one = draw.random(size, np.float32)
    roi = draw.random(finer) < 0.5
    roi[0, 0] = True
    known = covered(roi, size)
    rows, columns = spreading_matrices(size, finer, sigma, placement)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_maps, "_BLOCK", block)
        spread = Spread(size, finer, sigma, placement)  # type: ignore[arg-type]
        part = Spread(size, finer, sigma, placement, known, roi)  # type: ignore[arg-type]
        np.testing.assert_allclose(spread.whole(one), rows @ one @ columns.T, rtol=1e-5, atol=1e-6)
        share = rows @ known.astype(np.float32) @ columns.T
        wanted = np.where(roi, rows @ (one * known) @ columns.T / np.where(roi, share, 1), 0)
        np.testing.assert_allclose(part.whole(one * known), wanted, rtol=1e-4, atol=1e-6)
        everything = Shown.of(np.ones(finer, bool), size, finer)
        np.testing.assert_allclose(
            part.of_shown(one * known, everything)[0], wanted, rtol=1e-3, atol=1e-5
        )
        for way in (spread, part):
            for row in way.rows:
                for at in way.blocks(row):
                    assert way.block(one * known, at).max() <= way.highest(one * known, at)


def test_of_what_is_shown_it_gives_means_and_elsewhere_nothing() -> None:
    shown = np.ones((32, 48), bool)
    shown[:, :17] = False
    there = Shown.of(shown, (4, 6), (32, 48))
    assert there.places[0].tolist() == [0, 0, 0, 1, 1, 1]  # the third is shown in part
    spread = Spread((4, 6), (32, 48), 2.0, "bilinear")
    found, _ = spread.of_shown(np.full((4, 6), 3, np.float32) * there.places, there)
    np.testing.assert_allclose(found[:, 24:], 3, rtol=1e-5)
    assert not found[:, :17].any()


@settings(max_examples=60)
@given(
    values=st.lists(st.integers(0, 30), min_size=1, max_size=200),
    k=st.integers(1, 40),
    at_a_time=st.integers(1, 50),
    seed=st.integers(0, 5),
)
def test_the_largest_are_found_in_any_order(
    values: list[int], k: int, at_a_time: int, seed: int
) -> None:
    k = min(k, len(values))
    wanted = np.float32(np.mean(sorted(values)[-k:]))
    order = np.random.default_rng(seed).permutation(np.array(values, np.float32))
    largest = Largest(k)
    for first in range(0, len(order), at_a_time):
        part = order[first : first + at_a_time]
        if part.max() > largest.floor:  # as blocks are skipped
            largest.offer(part)
    assert largest.mean() == pytest.approx(wanted, rel=1e-6)
