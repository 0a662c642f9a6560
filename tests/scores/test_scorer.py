"""The scorer against plain loops: from target vectors to layer scores, maps and image scores."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from helpers import scorer_of, small_bank
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.bank.bank import Bank
from fapm_cli.config import Query
from fapm_cli.memory.grid import to_patches
from fapm_cli.scores import scorer
from fapm_cli.scores.image_score import as_spots, extent_means
from fapm_cli.scores.scorer import Scored

FINEST, INPUT = (8, 12), (64, 96)
BATCH = 2


def plain_nearest(bank: Bank, maps: list[Tensor], k: int) -> list[tuple[Tensor, Tensor]]:
    """Per memory distances to the k nearest keys of each place's own patch, and the nearest."""
    found = []
    for memory, target in zip(bank.memories, maps, strict=True):
        ends = memory.key_counts.cumsum(0).tolist()
        h, w = target.shape[2:]
        distances, nearest = torch.zeros(BATCH, h, w, k), torch.zeros(BATCH, h, w).long()
        for b, y, x in product(range(BATCH), range(h), range(w)):
            patch = (y * 2 // h) * 3 + x * 3 // w
            first, end = ends[patch] - int(memory.key_counts[patch]), ends[patch]
            all_of_it = (memory.keys[first:end] - target[b, :, y, x]).norm(dim=1)
            distances[b, y, x] = all_of_it.sort().values[:k]
            nearest[b, y, x] = first + int(all_of_it.argmin())
        found.append((distances, nearest))
    return found


def wide(values: NDArray[np.float64], size: tuple[int, int], mode: str) -> NDArray[np.float64]:
    corners = False if mode == "bilinear" else None
    tensor = torch.from_numpy(values)[None, None]
    return F.interpolate(tensor, size, mode=mode, align_corners=corners)[0, 0].numpy()


def masked(
    values: NDArray[np.float64],
    size: tuple[int, int],
    query: Query,
    sigma: float,
    known: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Spread and blur as means over what is known, a thousandth of what is inside at the least; NaN
    where nothing is.
    """

    def spread(one: NDArray[np.float64]) -> NDArray[np.float64]:
        out = wide(one, size, query.placement)
        return gaussian_filter(out, sigma, mode="reflect", truncate=4) if sigma > 0 else out

    share, of = spread(known.astype(np.float64)), spread(inside.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(wanted & (share > 1e-3 * of), spread(values * known) / share, np.nan)


def seen(roi: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    h, w = size
    return np.asarray(roi.reshape(h, INPUT[0] // h, w, INPUT[1] // w).any(axis=(1, 3)))


def plain_scores(
    bank: Bank,
    query: Query,
    maps: list[Tensor],
    roi: NDArray[np.bool_],
    shown: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(B, h, w) fused responses, (B, L + 1, H, W) maps and (B, L + 1) tops, the fused ones last."""
    found = plain_nearest(bank, maps, query.num_neighbors)
    weights = np.array(query.layer_weights) / sum(query.layer_weights)
    factors = bank.calibration.factors.double().numpy()
    if query.calibration == "none":
        factors = np.ones_like(factors)
    fused, spread, tops = [], [], []
    for b in range(BATCH):
        there, whole, placed = shown[b], seen(roi, FINEST), []
        finest = whole & ~seen(~there, FINEST)
        for distances, _ in found:
            own = distances[b].mean(dim=2).double().numpy()
            inside = seen(roi, own.shape)
            known = inside & ~seen(~there, own.shape)  # wholly shown
            placed.append(masked(own, FINEST, query, 0, known, inside, finest))
        tells = [~np.isnan(one) for one in placed]  # each has a part where it tells of something
        every = [np.nan_to_num(one) for one in placed]
        share = sum(w * of for w, of in zip(weights, tells, strict=True))
        sums = sum(w * one for w, one in zip(weights, every, strict=True))
        fused.append(np.divide(sums, share, out=np.zeros(FINEST), where=share > 0))
        out = [
            masked(one * factors, INPUT, query, query.sigma, of, whole, roi & there)
            for one, of in zip([*every, fused[-1]], [*tells, share > 0], strict=True)
        ]
        out = [np.nan_to_num(one) for one in out]
        spread.append(out)
        count = max(1, round(0.005 * int(roi.sum())))
        count = min(count, query.spot_px or count)
        tops.append([np.sort(one, axis=None)[-count:].mean() for one in out])
    return np.array(fused), np.array(spread), np.array(tops)


def scored(
    bank: Bank,
    query: Query,
    maps: list[Tensor],
    roi: Tensor | None,
    shown: Tensor | None = None,
) -> Scored:
    patches = [to_patches(one, bank.config.grid) for one in maps]
    return scorer_of(bank, query, roi).forward(patches, shown)


def targets(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, c, *s, generator=generator) for c, s in ((5, (8, 12)), (7, (4, 6)))]


@pytest.mark.parametrize("with_shown", [False, True])
@pytest.mark.parametrize("with_roi", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_neighbors": 3, "layer_weights": (3.0, 1.0), "placement": "nearest", "sigma": 0.0},
        {"spot_px": 7},
        {"layer_weights": (0.5, 2.0), "sigma": 1.5, "calibration": "none"},
    ],
)
def test_scores_are_those_of_plain_loops(
    changes: dict[str, object],
    with_roi: bool,
    with_shown: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if with_shown:  # and, as of a large input, one map at a time
        monkeypatch.setattr(scorer, "_MAPS_PX", 1)
    bank, maps = small_bank(), targets(3)
    query = dataclasses.replace(bank.config.query, **changes)  # type: ignore[arg-type]
    roi = torch.ones(INPUT, dtype=torch.bool)
    if with_roi:
        roi[:] = False
        roi[5:41, 20:62], roi[60, 90] = True, True
    shown = torch.ones(BATCH, *INPUT, dtype=torch.bool)
    if with_shown:  # of the second, the region's upper rim alone, and of it no coarse place
        shown[0, :21], shown[1, 12:] = False, False
    there = shown if with_shown else None
    found = scored(bank, query, maps, roi if with_roi else None, there)
    fused, spread, tops = plain_scores(bank, query, maps, roi.numpy(), shown.numpy())
    np.testing.assert_allclose(found.responses.numpy(), fused, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.anomaly_maps.numpy(), spread[:, -1], rtol=1e-4, atol=1e-5)
    usual = bank.calibration.extents
    assert usual is not None
    means = extent_means(torch.from_numpy(spread[:, -1]).float(), int(roi.sum()), query.spot_px)
    images = torch.from_numpy(tops[:, -1])
    if query.calibration == "local":
        spots = as_spots(usual, means)
        images = spots.amax(dim=1)
        np.testing.assert_allclose(found.as_spots.numpy(), spots.numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.image_scores.numpy(), images.numpy(), rtol=1e-4)
    assert (images >= torch.from_numpy(tops[:, -1]) * 0.9999).all()
    np.testing.assert_allclose(found.layer_scores.numpy(), tops[:, :-1], rtol=1e-4)
    if not with_roi and not with_shown:
        for keys, (_, nearest) in zip(found.nearest, plain_nearest(bank, maps, 1), strict=True):
            assert torch.equal(keys, nearest)


def test_the_maximum_and_the_papers_score_are_asked_for_by_name() -> None:
    bank, maps = small_bank(), targets(4)
    query = dataclasses.replace(bank.config.query, image_score="max", num_neighbors=3)
    found = scored(bank, query, maps, None)
    assert torch.equal(found.image_scores, found.anomaly_maps.amax(dim=(1, 2)))
    paper = scored(bank, dataclasses.replace(query, image_score="paper"), maps, None)
    near = [one for one, _ in plain_nearest(bank, maps, 3)]
    coarse = near[1].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    places = (near[0] * query.layer_weights[0] + coarse * query.layer_weights[1]).flatten(1, 2)
    for b in range(BATCH):
        peak = places[b][places[b, :, 0].argmax()]
        wanted = (1 - peak.softmax(dim=0).max()) * peak[0]
        torch.testing.assert_close(paper.image_scores[b], wanted, rtol=1e-4, atol=1e-5)
    nearest_alone = scored(bank, dataclasses.replace(query, num_neighbors=1), maps, None)
    torch.testing.assert_close(paper.anomaly_maps, nearest_alone.anomaly_maps)


@pytest.mark.parametrize("image_score", ["top", "max", "paper"])
def test_image_scores_alone_are_those_beside_the_maps(image_score: Any) -> None:
    bank, maps = small_bank(), targets(5)
    query = dataclasses.replace(bank.config.query, image_score=image_score, num_neighbors=3)
    own = scorer_of(bank, query, None)
    found = own.search([to_patches(m, bank.config.grid) for m in maps])
    shown = torch.ones(BATCH, *INPUT, dtype=torch.bool)
    shown[:, :, :50] = False
    alone = own.image_scores(found)
    assert torch.equal(alone, own.combine(found).image_scores)
    assert torch.equal(own.image_scores(found, shown), own.combine(found, shown).image_scores)
    assert not torch.equal(own.image_scores(found, shown), alone)
