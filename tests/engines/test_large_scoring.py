"""Large scoring, block by block in numpy, finds in distances what torch's scorer does at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import small_bank

from fapm_cli.engines import large_maps
from fapm_cli.engines.large_scoring import LargeScoring
from fapm_cli.scores.extents import MOST_LOG, Calibration, Extents
from fapm_cli.scores.scorer import Scorer

SIZE, SIZES = (120, 184), [(15, 23), (30, 46)]
EXTENTS = Extents((0.1, 0.0, -0.5), (0.1, 0.05, 0.03), 12)

QUERIES: dict[str, dict[str, Any]] = {
    "spots and wider extents": {},
    "several neighbours": {"num_neighbors": 3, "sigma": 2.0, "spot_px": 40},
    "two": {"num_neighbors": 2, "image_score": "top", "spot_px": 0},
    "the largest": {"image_score": "max", "calibration": "none"},
    "nearest, not blurred": {"placement": "nearest", "sigma": 0.0, "layer_weights": (1.0, 3.0)},
}


def each(work: Callable[[Any], None], things: Iterable[Any]) -> None:
    """Do something with one after another, the last first."""
    for one in reversed(list(things)):
        work(one)


def region() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A part of the input that cuts through places of both maps."""
    roi = np.zeros(SIZE, bool)
    roi[21:90, 35:161] = True
    return roi


def shows() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """What a picture shows: all but a corner, a rim, and stripes: between them places are far."""
    shown = np.ones(SIZE, bool)
    shown[:51, :70] = shown[-5:] = shown[60:110, 100::4] = False
    return shown


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("roi", [False, True])
@pytest.mark.parametrize("way", QUERIES)
def test_it_scores_as_torch_does(
    way: str, roi: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_maps, "_BLOCK", 50)
    draw = np.random.default_rng(3)
    query = dataclasses.replace(small_bank().config.query, **QUERIES[way])
    factors = (0.5 + draw.random(SIZES[1])).astype(np.float32)
    inspected, seen = region() if roi else None, shows() if shown else None
    found = [0.5 + draw.random((query.num_neighbors, *size), np.float32) for size in SIZES]
    found[0][:, 12, 3] += 4  # what the largest values lie in is clear, of each memory's map
    found[1][:, 20, 30] += 3
    for one in found:
        one.sort(axis=0)
    calibration = Calibration(factors, 0.5, EXTENTS)
    scoring = LargeScoring(SIZE, SIZES, query, calibration, inspected, extents=True)
    layers, as_spots, anomaly_map, peak = scoring(found, seen, each)
    scorer = Scorer(
        (1, 1),
        SIZE,
        query,
        [],
        SIZES,
        Calibration(torch.from_numpy(factors), 0.5, EXTENTS),
        None if inspected is None else torch.from_numpy(inspected),
        torch.device("cpu"),
    )
    there = [(torch.from_numpy(one).movedim(0, -1)[None], torch.zeros(0)) for one in found]
    own = [(distances, torch.zeros(*distances.shape).long()) for distances, _ in there]
    of = scorer.combine(scorer.inside(own), None if seen is None else torch.from_numpy(seen)[None])
    assert {one.dtype.name for one in (layers, as_spots, anomaly_map)} == {"float32"}
    np.testing.assert_allclose(layers, of.layer_scores[0], rtol=2e-5)
    np.testing.assert_allclose(as_spots, of.as_spots[0], rtol=2e-5)
    np.testing.assert_allclose(anomaly_map, of.anomaly_maps[0], rtol=2e-5, atol=1e-6)
    y, x = np.unravel_index(int(of.anomaly_maps[0].argmax()), SIZE)
    assert peak.tolist() == [x, y]


def test_wide_extents_are_not_judged_where_what_is_usual_of_them_is_not_known() -> None:
    query = small_bank().config.query
    found = [np.ones((1, *size), np.float32) for size in SIZES]
    calibration = Calibration(np.ones(SIZES[1], np.float32), 0.5, EXTENTS)
    for extents, count in ((True, 3), (False, 1)):
        scoring = LargeScoring(SIZE, SIZES, query, calibration, None, extents=extents)
        assert scoring(found, None, each)[1].shape == (count,)


def test_what_is_far_beyond_usual_is_told_as_no_more_than_a_score_may_be() -> None:
    query = small_bank().config.query
    found = [np.full((1, *size), 1e8, np.float32) for size in SIZES]
    calibration = Calibration(np.ones(SIZES[1], np.float32), 0.5, EXTENTS)
    scoring = LargeScoring(SIZE, SIZES, query, calibration, None, extents=True)
    as_spots = scoring(found, None, each)[1]
    np.testing.assert_allclose(as_spots, [1e8, *[np.exp(MOST_LOG)] * 2], rtol=1e-5)


@pytest.mark.parametrize("roi", [False, True])
def test_a_map_of_nothing_has_its_peak_where_it_is_inspected(roi: bool) -> None:
    query = small_bank().config.query
    found = [np.zeros((1, *size), np.float32) for size in SIZES]
    calibration = Calibration(np.ones(SIZES[1], np.float32), 0.5, None)
    inspected = region() if roi else None
    scoring = LargeScoring(SIZE, SIZES, query, calibration, inspected, extents=True)
    assert scoring(found, None, each)[3].tolist() == ([35, 21] if roi else [0, 0])


def test_of_equal_peaks_the_first_in_reading_order_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_maps, "_BLOCK", 50)
    changes: dict[str, Any] = {"placement": "nearest", "sigma": 0.0, "calibration": "none"}
    query = dataclasses.replace(small_bank().config.query, **changes)
    found = [np.zeros((1, *size), np.float32) for size in SIZES]
    found[1][0, 5, 40] = found[1][0, 5, 3] = found[1][0, 28, 1] = 1
    calibration = Calibration(np.ones(SIZES[1], np.float32), 0.5, None)
    scoring = LargeScoring(SIZE, SIZES, query, calibration, None, extents=True)
    assert scoring(found, None, each)[3].tolist() == [12, 20]
