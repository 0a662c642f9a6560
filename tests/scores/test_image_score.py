from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fapm_cli.bank.presets import configure
from fapm_cli.scores.image_score import (
    _largest,
    paper_image_score,
    top_score,
)


def plain_paper_score(
    maps: list[NDArray[np.float32]], picture: int, weights: tuple[float, ...]
) -> float:
    height, width = maps[0].shape[1:3]
    best, best_place = -math.inf, [0.0]
    for y, x in product(range(height), range(width)):
        place = [0.0] * maps[0].shape[3]
        for m, weight in zip(maps, weights, strict=True):
            tall, wide = height // m.shape[1], width // m.shape[2]
            for i in range(len(place)):
                place[i] += weight * float(m[picture, y // tall, x // wide, i])
        if place[0] > best:
            best, best_place = place[0], place
    exponentials = [math.exp(d) for d in best_place]
    return (1 - max(exponentials) / sum(exponentials)) * best


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("coarse_first", [False, True])
def test_paper_image_score_is_the_official_formula(
    weights: tuple[float, float], coarse_first: bool
) -> None:
    fine = torch.rand(3, 4, 6, 4).sort(dim=3).values * 3
    coarse = torch.rand(3, 2, 3, 4).sort(dim=3).values * 3
    expected = [plain_paper_score([fine.numpy(), coarse.numpy()], i, weights) for i in range(3)]
    maps = [fine, coarse]
    if coarse_first:
        maps, weights = maps[::-1], (weights[1], weights[0])
    scores = paper_image_score(maps, weights)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5)


def test_paper_image_score_of_equal_distances_keeps_all_but_one_neighbors_share() -> None:
    maps = [torch.full((1, 2, 2, 4), 8.0)]
    assert float(paper_image_score(maps, (1.0,))) == pytest.approx(8 * (1 - 1 / 4))


def test_paper_image_score_does_not_overflow_on_large_distances() -> None:
    far = torch.tensor([500.0, 500.0, 500.0, 501.0]).view(1, 1, 1, 4)
    share = math.e / (3 + math.e)
    assert float(paper_image_score([far], (1.0,))) == pytest.approx(500 * (1 - share), rel=1e-5)


def test_paper_image_score_does_not_depend_on_batch_mates() -> None:
    maps = [torch.rand(5, 4, 4, 4).sort(dim=3).values, torch.rand(5, 2, 2, 4).sort(dim=3).values]
    together = paper_image_score(maps, (1.0, 1.0))
    for i in range(5):
        alone = paper_image_score([m[i : i + 1] for m in maps], (1.0, 1.0))
        assert float(alone) == pytest.approx(float(together[i]), rel=1e-6)


def shares_of(*weights: float) -> tuple[float, ...]:
    return replace(configure().query, layer_weights=weights).layer_shares


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5))
def test_shared_weights_sum_to_1_and_keep_their_ratios(weights: list[float]) -> None:
    shares = shares_of(*weights)
    assert sum(shares) == pytest.approx(1)
    for share, weight in zip(shares, weights, strict=True):
        assert share * weights[0] == pytest.approx(shares[0] * weight)


def test_a_weight_of_0_leaves_its_layer_out() -> None:
    assert shares_of(2.0, 0.0, 6.0) == (0.25, 0.0, 0.75)


def test_top_score_is_the_mean_of_the_largest_half_percent() -> None:
    maps = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    for b in range(2):
        for j in range(3):
            falling = sorted(maps[b, j].flatten().tolist(), reverse=True)
            expected = sum(falling[:10]) / 10
            assert abs(float(top_score(maps)[b, j]) - expected) < 1e-6


def test_top_score_of_a_map_alone_of_a_small_one_and_of_a_part() -> None:
    values = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(1))
    falling = values.flatten(1).sort(dim=1, descending=True).values
    torch.testing.assert_close(top_score(values), falling[:, :2].mean(dim=1))
    torch.testing.assert_close(top_score(values[0]), falling[0, :2].mean())
    for inspected, number in ((1, 1), (200, 1), (299, 1), (301, 2), (1200, 6)):
        wanted = falling[:, :number].mean(dim=1)
        torch.testing.assert_close(top_score(values, inspected), wanted)


WHOLE_BLOCKS = st.integers(1, 40).map(lambda n: 16 * n)


@given(
    st.integers(1, 600) | WHOLE_BLOCKS,
    st.integers(1, 40),
    st.sampled_from([(), (3,), (2, 3)]),
    st.integers(0, 2**31),
)
@settings(max_examples=80)
def test_the_largest_are_those_of_all_ties_and_all(
    n: int, k: int, maps: tuple[int, ...], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(50, (*maps, n), generator=generator).float()
    k = min(k, n)
    assert torch.equal(_largest(values, k), values.sort(dim=-1, descending=True).values[..., :k])


def test_a_spot_of_a_large_map_is_no_larger_than_it_may_be() -> None:
    maps = torch.rand(2, 80, 90)
    falling = maps.flatten(1).sort(dim=1, descending=True).values
    torch.testing.assert_close(top_score(maps, most_px=5), falling[:, :5].mean(dim=1))
    torch.testing.assert_close(top_score(maps, most_px=500), top_score(maps))  # 36 px are 0.5 %
    torch.testing.assert_close(top_score(maps, most_px=0), top_score(maps))
