from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.memory.coreset import adaptive_coreset
from fapm_cli.memory.covering import cover

K = 4


def built(vectors: Tensor, k: int = K) -> tuple[Tensor, Tensor]:
    """Keys of a build, and the slack of each."""
    (coreset,) = adaptive_coreset(vectors[None], 1e-9, None, at_least=k)
    return vectors[coreset.indices], torch.full((len(coreset.indices),), coreset.radius_sq**0.5)


def joined(parts: Sequence[tuple[Tensor, Tensor]], k: int = K) -> tuple[Tensor, Tensor, float]:
    """Keys of a merge, the slack of each, and the covering radius that it states."""
    keys, slack = (torch.cat(column) for column in zip(*parts, strict=True))
    found = cover(keys, slack, k, None)
    return keys[found.coreset.indices], found.slack, found.coreset.radius_sq**0.5


def least_radius(vectors: Tensor, k: int) -> float:
    """The least radius of k intervals, about any centres, that hold all (n, 1) vectors."""
    values = sorted(set(vectors.flatten().tolist()))
    for width in sorted({b - a for a in values for b in values if b >= a}):
        number, end = 0, -torch.inf
        for value in values:
            if value > end:
                number, end = number + 1, value + width
        if number <= k:
            return float(width) / 2
    raise AssertionError


batches = st.lists(st.lists(st.integers(-300, 300), min_size=5, max_size=9), min_size=2, max_size=8)


def check_promise(builds: Sequence[Tensor], keys: Tensor, slack: Tensor, stated: float) -> None:
    vectors = torch.cat([*builds])
    assert len(keys) <= K
    distances = torch.cdist(vectors, keys)
    assert (distances <= slack + 1e-2).any(dim=1).all()
    assert float(distances.amin(dim=1).max()) <= stated + 1e-2
    largest = max(float(built(one)[1][0]) for one in builds)
    promised = 4 * max(largest, 2 * least_radius(vectors, K))
    assert float(slack.max()) <= promised + 1e-2


@settings(max_examples=50, deadline=None)
@given(batches)
def test_a_bank_that_builds_join_one_after_another_keeps_its_promise(
    several: list[list[int]],
) -> None:
    builds = [torch.tensor(one, dtype=torch.float32).unsqueeze(1) for one in several]
    keys, slack = built(builds[0])
    for number, one in enumerate(builds[1:], start=2):
        keys, slack, stated = joined([(keys, slack), built(one)])
        check_promise(builds[:number], keys, slack, stated)


@settings(max_examples=40, deadline=None)
@given(batches)
def test_builds_that_are_joined_at_once_keep_the_promise(several: list[list[int]]) -> None:
    builds = [torch.tensor(one, dtype=torch.float32).unsqueeze(1) for one in several]
    check_promise(builds, *joined([built(one) for one in builds]))


def test_the_slack_of_a_hundred_merges_of_like_parts_is_that_of_few() -> None:
    generator = torch.Generator().manual_seed(0)
    keys, slack = built(torch.randn(200, 8, generator=generator), 20)
    courses = []
    for _ in range(100):
        fresh = built(torch.randn(200, 8, generator=generator), 20)
        keys, slack, _ = joined([(keys, slack), fresh], 20)
        courses.append(float(slack.max()))
    assert courses[-1] <= 2 * courses[2]
    assert len(keys) == 20


def test_what_fits_is_kept_with_the_slack_that_it_had() -> None:
    vectors, slack = torch.randn(10, 3), torch.arange(10.0)
    found = cover(vectors, slack, 10, 0.5)
    assert found.coreset.indices.tolist() == list(range(10))
    assert torch.equal(found.slack, slack)
    assert (found.coreset.radius_sq, found.coreset.widened) == (81.0, False)


@pytest.mark.parametrize(("threshold", "spread"), [(None, 1.0), (0.5, 0.1), (0.5, 3.0)])
def test_where_nothing_is_gone_it_is_a_build(threshold: float | None, spread: float) -> None:
    vectors = spread * torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    (plain,) = adaptive_coreset(vectors[None], 0.2, threshold)
    found = cover(vectors, torch.zeros(60), 12, threshold)
    assert torch.equal(found.coreset.indices, plain.indices)
    assert found.coreset.widened == plain.widened == (threshold is not None and spread > 1)
    assert found.coreset.radius_sq == pytest.approx(plain.radius_sq, rel=1e-5)
    assert torch.allclose(found.slack, torch.tensor(plain.radius_sq**0.5))


@pytest.mark.parametrize(("spread", "num_keys"), [(0.1, 10), (1.0, 20)])
def test_the_candidates_spread_widens_and_their_slack_does_not(
    spread: float, num_keys: int
) -> None:
    vectors = torch.randn(30, 4, generator=torch.Generator().manual_seed(1)) * spread
    for slack in (0.01, 2.0):
        found = cover(vectors, torch.full((30,), slack), 10, 0.5).coreset
        assert len(set(found.indices.tolist())) == num_keys
        assert found.widened == (num_keys > 10)
