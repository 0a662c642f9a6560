"""The patch metric: Mahalanobis distance by each patch's covariance; search measures in it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fapm_cli.config import METRIC_DIMENSIONS as DIMENSIONS
from fapm_cli.memory.metric import Variation, map_keys, patch_metrics
from fapm_cli.memory.patch_memory import patch_memory
from fapm_cli.memory.search import search

PATCHES, PICTURES, PLACES, CHANNELS = 6, 12, 4, 5
GRID = (2, 3)


def vectors(channels: int = CHANNELS) -> Tensor:
    """(N_p, N·N_v, C) vectors, of which directions, places and patches differ in spread."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(PATCHES, PICTURES, PLACES, channels, generator=generator)
    drawn = (
        drawn
        * torch.linspace(0.2, 3, channels)
        * torch.linspace(0.5, 2, PATCHES)[:, None, None, None]
    )
    places = torch.randn(PATCHES, 1, PLACES, channels, generator=generator) * 10
    return (drawn + places).flatten(1, 2)


def covariance(of: Tensor) -> Tensor:
    """By plain loops: (C, C) of (N, N_v, C), about the mean of each place."""
    total = torch.zeros(of.shape[2], of.shape[2], dtype=torch.float64)
    for place in range(of.shape[1]):
        mean = of[:, place].double().mean(dim=0)
        for one in of[:, place].double():
            total += torch.outer(one - mean, one - mean)
    return total / (of.shape[0] * of.shape[1])


@pytest.mark.parametrize("without", [None, 0, 2])
def test_covariances_are_those_of_a_plain_loop_about_each_places_mean(without: int | None) -> None:
    all_vectors, folds = vectors(), torch.arange(PICTURES) % 3
    found = Variation(all_vectors, folds).covariances(without)
    kept = folds != -1 if without is None else folds != without
    by_place = all_vectors.view(PATCHES, PICTURES, PLACES, CHANNELS)[:, kept]
    wanted = torch.stack([covariance(one) for one in by_place])
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("floor", [0.03, 1.0])
def test_distances_are_mahalanobis_with_a_floor_of_the_mean_variance(floor: float) -> None:
    all_vectors = vectors()
    covariances = Variation(all_vectors, torch.zeros(PICTURES, dtype=torch.int64)).covariances()
    mapped = torch.bmm(all_vectors, patch_metrics(covariances, floor)).double()
    mean_variance = covariances.double().diagonal(dim1=1, dim2=2).mean()
    ratios = []
    for patch in range(PATCHES):
        inverse = torch.linalg.inv(
            covariances[patch].double() + floor * mean_variance * torch.eye(CHANNELS)
        )
        for i, j in ((0, 1), (2, 9), (4, 40)):
            apart = (all_vectors[patch, i] - all_vectors[patch, j]).double()
            wanted = apart @ inverse @ apart
            ratios.append((mapped[patch, i] - mapped[patch, j]).square().sum() / wanted)
    torch.testing.assert_close(
        torch.stack(ratios), ratios[0].expand(len(ratios)), rtol=2e-2, atol=0
    )


@pytest.mark.parametrize("floor", [0.1, 30])
@pytest.mark.parametrize("unit", [1e-3, 1, 1e3])
def test_a_good_vector_lies_one_from_its_places_mean_in_whatever_unit(
    unit: float, floor: float
) -> None:
    all_vectors = vectors() * unit
    covariances = Variation(all_vectors, torch.zeros(PICTURES, dtype=torch.int64)).covariances()
    mapped = torch.bmm(all_vectors, patch_metrics(covariances, floor))
    by_place = mapped.view(PATCHES, PICTURES, PLACES, -1)
    apart = by_place - by_place.mean(dim=1, keepdim=True)
    assert float(apart.square().sum(dim=3).mean()) == pytest.approx(1, rel=1e-2)


def test_of_many_dimensions_some_are_kept_and_distances_hold_to_some_percent() -> None:
    all_vectors = vectors(3 * DIMENSIONS)
    covariances = Variation(all_vectors, torch.zeros(PICTURES, dtype=torch.int64)).covariances()
    maps = patch_metrics(covariances, 1.0)
    assert maps.shape == (PATCHES, 3 * DIMENSIONS, DIMENSIONS)
    lower = torch.linalg.cholesky(
        covariances.double()
        + covariances.double().diagonal(dim1=1, dim2=2).mean() * torch.eye(3 * DIMENSIONS)
    )
    whole = torch.linalg.solve_triangular(lower, all_vectors.double().mT, upper=False).mT
    kept = torch.bmm(all_vectors, maps).double()
    ratio = torch.pdist(kept[0]) / torch.pdist(whole[0])
    assert float((ratio / ratio.median() - 1).abs().amax()) < 0.35
    assert torch.equal(maps, patch_metrics(covariances, 1.0))


@pytest.mark.parametrize("reach", [0, 1])
def test_search_measures_each_vector_in_the_metric_of_the_patch_whose_keys_it_meets(
    reach: int,
) -> None:
    all_vectors = vectors()
    metrics = patch_metrics(
        Variation(all_vectors, torch.zeros(PICTURES, dtype=torch.int64)).covariances(), 0.1
    )
    counts = torch.tensor([3, 4, 5, 6, 7, 8])
    keys = torch.cat([one[:k] for one, k in zip(all_vectors, counts.tolist(), strict=True)])
    queries = all_vectors[:, -8:]
    distances, indices = search(
        queries, patch_memory(keys, counts, GRID, metrics=metrics), 1, reach
    )
    ends = counts.cumsum(0)
    for patch in range(PATCHES):
        row, column = divmod(patch, GRID[1])
        near = [
            other
            for other in range(PATCHES)
            if max(abs(other // GRID[1] - row), abs(other % GRID[1] - column)) <= reach
        ]
        for q, query in enumerate(queries[patch]):
            best = min(
                (float(torch.dist(query @ metrics[other], keys[k] @ metrics[other])), k)
                for other in near
                for k in range(int(ends[other] - counts[other]), int(ends[other]))
            )
            assert float(distances[patch, q, 0]) == pytest.approx(best[0], rel=1e-3, abs=1e-3)
            assert int(indices[patch, q, 0]) == best[1]


def test_keys_are_mapped_by_their_own_patchs_metric() -> None:
    keys, counts = torch.eye(3), torch.tensor([1, 2])
    metrics = torch.stack([torch.eye(3), 2 * torch.eye(3)])
    assert map_keys(keys, counts, metrics).diagonal().tolist() == [1, 2, 2]
