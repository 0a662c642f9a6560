from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fapm_cli.memory.coreset
from fapm_cli.memory.coreset import (
    Candidates,
    Coreset,
    GreedyKCenter,
    adaptive_coreset,
    num_keys,
    spread_score,
)


def greedy_k_center(vectors: Tensor, k: int) -> tuple[list[int], float]:
    """Pick as plainly as can be: the oracle. Returns the picks and the covering radius²."""
    exact = vectors.double()
    nearest = [math.inf] * len(exact)
    picks: list[int] = []
    while len(picks) < k:
        best = -1
        for i, distance in enumerate(nearest):
            if i not in picks and (best < 0 or distance > nearest[best]):
                best = i
        picks.append(best)
        to_best = (exact - exact[best]).square().sum(dim=1).tolist()
        nearest = [min(a, b) for a, b in zip(nearest, to_best, strict=True)]
    return picks, max(nearest)


def covering_radius_sq(vectors: Tensor, picks: Tensor) -> float:
    exact = vectors.double()
    return float(
        torch.cdist(exact, exact[picks], compute_mode="donot_use_mm_for_euclid_dist")
        .square()
        .amin(dim=1)
        .max()
    )


def random_vectors(patches: int = 5, n: int = 60, c: int = 6, seed: int = 0) -> Tensor:
    """Patches of different spread, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.1, 2, patches).view(-1, 1, 1)
    return torch.randn(patches, n, c, generator=generator) * spread + 3


BUDGETS = {
    "all patches at once": 2**29,
    "two patches at once": 4 * 60 * 60 * 2,
    "one patch at a time": 4 * 60 * 60,
    "blocks of at most 59": 4 * 60 * 59,
    "blocks of at most 20": 4 * 60 * 20,
    "the smallest blocks": 1,
}


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS.keys())
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coreset_picks_agree_with_the_plain_loop(budget: int, seed: int) -> None:
    vectors = random_vectors(seed=seed)
    coresets = adaptive_coreset(vectors, 0.3, 0.5, memory_bytes=budget)
    assert len(coresets) == len(vectors)
    assert len({c.widened for c in coresets}) == 2
    for patch, coreset in zip(vectors, coresets, strict=True):
        picks, radius_sq = greedy_k_center(patch, 36 if coreset.widened else 18)
        assert coreset.indices.tolist() == picks
        assert coreset.radius_sq == pytest.approx(radius_sq, rel=1e-4, abs=1e-5)


def test_coreset_in_growing_blocks_agrees_with_the_plain_loop() -> None:
    (vectors,) = random_vectors(patches=1, n=500)
    (coreset,) = adaptive_coreset(vectors[None], 0.2, None, memory_bytes=4 * 500 * 200)
    assert coreset.indices.tolist() == greedy_k_center(vectors, 100)[0]


def test_coreset_of_many_vectors_measures_from_some_and_picks_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = random_vectors(patches=2, n=2100)
    measured: list[int | None] = []

    class Watched(GreedyKCenter):
        def _measure(self, guess: Tensor | None) -> Candidates:
            measured.append(None if guess is None else len(guess))
            return super()._measure(guess)

    monkeypatch.setattr(fapm_cli.memory.coreset, "GreedyKCenter", Watched)
    some = adaptive_coreset(vectors, 0.1, 0.5, most=100)
    assert None not in measured
    assert sum(filter(None, measured)) < 2 * 2100
    monkeypatch.setattr(fapm_cli.memory.coreset, "_MANY", 2100)
    measured.clear()
    every = adaptive_coreset(vectors, 0.1, 0.5, most=100)
    assert measured == [None]
    for one, other in zip(some, every, strict=True):
        assert torch.equal(one.indices, other.indices)
        assert one.radius_sq == pytest.approx(other.radius_sq, rel=1e-4)


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS.keys())
def test_coreset_of_everything_picks_every_vector_once(budget: int) -> None:
    vectors = random_vectors(patches=3)
    for patch, coreset in zip(
        vectors, adaptive_coreset(vectors, 1.0, None, memory_bytes=budget), strict=True
    ):
        assert sorted(coreset.indices.tolist()) == list(range(60))
        assert coreset.indices.tolist()[:59] == greedy_k_center(patch, 59)[0]
        assert coreset.radius_sq == 0


@st.composite
def mirrored_vectors(draw: st.DrawFn) -> Tensor:
    """Small whole numbers around 0: many exact ties and equal vectors, and no rounding at all."""
    pairs = draw(st.integers(1, 12))
    coordinates = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    half = draw(st.lists(coordinates, min_size=pairs, max_size=pairs))
    order = draw(st.permutations([*half, *([-x for x in v] for v in half)]))
    return torch.tensor(order, dtype=torch.float32)


@settings(max_examples=150)
@given(mirrored_vectors(), st.sampled_from([2**20, 200, 1]), st.data())
def test_coreset_breaks_ties_by_the_lowest_index_and_never_picks_twice(
    vectors: Tensor, budget: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(vectors)))
    (coreset,) = adaptive_coreset(vectors[None], 1e-9, None, at_least=k, memory_bytes=budget)
    picks, radius_sq = greedy_k_center(vectors, k)
    assert coreset.indices.tolist() == picks
    assert coreset.radius_sq == (0 if k == len(vectors) else radius_sq)


@pytest.mark.parametrize("budget", [2**20, 4 * 20 * 3, 1])
def test_coreset_of_equal_vectors_picks_them_in_order_and_is_not_widened(budget: int) -> None:
    vectors = torch.full((2, 20, 4), 0.1)
    for coreset in adaptive_coreset(vectors, 0.25, 0.0, memory_bytes=budget):
        assert coreset.indices.tolist() == [0, 1, 2, 3, 4]
        assert coreset.radius_sq == 0
        assert not coreset.widened


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS.keys())
def test_coreset_of_twice_the_keys_goes_on_from_the_first(budget: int) -> None:
    vectors = random_vectors()
    once = adaptive_coreset(vectors, 0.2, None, memory_bytes=budget)
    twice = adaptive_coreset(vectors, 0.4, None, memory_bytes=budget)
    widened = adaptive_coreset(vectors, 0.2, 0.0, memory_bytes=budget)
    for a, b, c in zip(once, twice, widened, strict=True):
        assert (len(a.indices), len(b.indices)) == (12, 24)
        assert torch.equal(b.indices[:12], a.indices)
        assert torch.equal(c.indices, b.indices)
        assert c.radius_sq == b.radius_sq
        assert c.widened
        assert not a.widened


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_a_patch_is_widened_exactly_when_its_spread_exceeds_the_threshold(threshold: float) -> None:
    vectors = random_vectors(patches=9)
    coresets = adaptive_coreset(vectors, 0.2, threshold)
    for patch, coreset in zip(vectors, coresets, strict=True):
        radius_sq = greedy_k_center(patch, 12)[1]
        widened = 1 - 2 / (1 + math.exp(radius_sq)) > threshold
        assert coreset.widened == widened
        assert len(coreset.indices) == (24 if widened else 12)


def test_a_spread_of_just_the_threshold_is_not_widened() -> None:
    vectors = random_vectors(patches=1)
    (plain,) = adaptive_coreset(vectors, 0.2, None)
    spread = float(spread_score(plain.radius_sq))
    assert 0 < spread < 1

    def widened(threshold: float) -> bool:
        return adaptive_coreset(vectors, 0.2, threshold)[0].widened

    assert not widened(spread)
    assert widened(spread * (1 - 1e-6))


def test_no_threshold_widens_nothing() -> None:
    assert not any(c.widened for c in adaptive_coreset(random_vectors() * 100, 0.2, None))


def test_widening_stops_at_all_vectors() -> None:
    vectors = random_vectors(patches=2)
    for coreset in adaptive_coreset(vectors, 0.75, 0.0):
        assert coreset.widened
        assert sorted(coreset.indices.tolist()) == list(range(60))
        assert coreset.radius_sq == 0


@pytest.mark.parametrize("budget", [2**29, 4 * 60 * 4])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_radius_is_the_covering_radius_of_the_keys(budget: int, threshold: float | None) -> None:
    vectors = random_vectors()
    coresets = adaptive_coreset(vectors, 0.1, threshold, memory_bytes=budget)
    for patch, coreset in zip(vectors, coresets, strict=True):
        expected = covering_radius_sq(patch, coreset.indices)
        assert expected > 0
        assert coreset.radius_sq == pytest.approx(expected, rel=1e-4)


def test_a_common_offset_changes_no_pick() -> None:
    vectors = (random_vectors(patches=2) * 64).round() / 64
    near = adaptive_coreset(vectors, 0.3, None)
    far = adaptive_coreset(vectors + 512, 0.3, None)
    assert [c.indices.tolist() for c in far] == [c.indices.tolist() for c in near]


def test_vectors_that_may_be_spent_or_are_squared_some_at_a_time_give_the_same_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = random_vectors(patches=2)
    before, wanted = vectors.clone(), adaptive_coreset(vectors, 0.3, None)
    GreedyKCenter(vectors)
    assert torch.equal(vectors, before)
    monkeypatch.setattr(fapm_cli.memory.coreset, "_ROWS", 7)
    found = adaptive_coreset(vectors, 0.3, None, spend=True)
    assert not torch.equal(vectors, before)
    for one, own in zip(found, wanted, strict=True):
        assert torch.equal(one.indices, own.indices)
        assert one.radius_sq == pytest.approx(own.radius_sq, rel=1e-5)


def test_coreset_holds_int64_indices_on_the_cpu() -> None:
    (coreset,) = adaptive_coreset(random_vectors(patches=1), 0.1, 0.5)
    assert isinstance(coreset, Coreset)
    assert coreset.indices.dtype == torch.int64
    assert coreset.indices[0] == 0


@given(st.floats(0, 500))
def test_spread_score_is_equation_1(radius_sq: float) -> None:
    exact = spread_score(torch.tensor(radius_sq, dtype=torch.float64))
    assert float(exact) == pytest.approx(1 - 2 / (1 + math.exp(radius_sq)), rel=1e-12, abs=1e-15)
    assert float(spread_score(radius_sq)) == pytest.approx(float(exact), rel=1e-6)


def test_spread_score_never_overflows() -> None:
    far = torch.tensor([0.0, 89.0, 1e4, 3e38, math.inf])
    assert spread_score(far).tolist() == [0, 1, 1, 1, 1]
    assert float(spread_score(1e30)) == 1


def test_spread_of_one_half_is_a_squared_radius_of_ln_3() -> None:
    assert float(spread_score(math.log(3))) == pytest.approx(0.5)


@given(st.integers(1, 100_000), st.floats(0, 1, exclude_min=True), st.integers(0, 50))
def test_num_keys_is_the_ratio_rounded_down_within_its_bounds(
    num_vectors: int, ratio: float, at_least: int
) -> None:
    k = num_keys(num_vectors, ratio, at_least)
    assert min(max(at_least, 1), num_vectors) <= k <= num_vectors
    if k not in (num_vectors, max(at_least, 1)):
        assert num_vectors * ratio - 1 < k <= num_vectors * ratio + 1e-9


@given(st.integers(1, 100_000), st.integers(1, 100))
def test_num_keys_of_whole_percents_does_not_fall_to_rounding(
    num_vectors: int, percent: int
) -> None:
    assert num_keys(num_vectors, percent / 100) == max(num_vectors * percent // 100, 1)


def test_num_keys_at_its_edges() -> None:
    assert num_keys(3344, 0.1) == 334
    assert num_keys(30, 0.1) == 3
    assert num_keys(100, 0.29) == 29  # 28.999999999999996 in floating point
    assert num_keys(9, 0.1) == 1
    assert num_keys(9, 0.1, at_least=4) == 4
    assert num_keys(3, 0.1, at_least=4) == 3
    assert num_keys(7, 1.0) == 7
    assert num_keys(7, 0.1, at_least=0) == 1


# --- A limit -------------------------------------------------------------------------------------


def test_keys_have_a_limit_however_many_vectors_there_are() -> None:
    assert [num_keys(n, 0.1, 4, 8) for n in (2, 30, 70, 80, 90, 10**6)] == [2, 4, 7, 8, 8, 8]
    assert num_keys(10**6, 0.1, 4, 0) == 10**5
    assert num_keys(100, 0.1, 4, 1) == 4


def test_a_patch_has_the_first_keys_of_one_without_a_limit() -> None:
    vectors = torch.randn(3, 90, 5, generator=torch.Generator().manual_seed(0))
    for threshold, k in ((None, 4), (0.0, 8)):
        limited = adaptive_coreset(vectors, 0.2, threshold, most=4)
        for own, whole in zip(limited, adaptive_coreset(vectors, 0.2, threshold), strict=True):
            assert own.indices.tolist() == whole.indices[:k].tolist()
            assert own.radius_sq > whole.radius_sq
