"""What lies outside the region of interest reaches no score."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import scorer_of, small_bank
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.config import BankConfig
from fapm_cli.detection.detector import Detector
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.build import build_bank
from fapm_cli.memory.grid import to_patches
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor
from fapm_cli.scores.calibration import local_calibration, place_share
from fapm_cli.scores.geometry import gaussian_matrix, resize_matrix, to_places
from fapm_cli.scores.image_score import top_score
from fapm_cli.scores.scorer import Scored, Scorer
from fapm_cli.scores.spreader import Spreader, covered_places

SIZE = (64, 96)


def some_roi(seed: int = 0) -> Tensor:
    """A region of two rectangles and a lone px."""
    generator = torch.Generator().manual_seed(seed)
    roi = torch.zeros(SIZE, dtype=torch.bool)
    y, x = torch.randint(0, 40, (2, 2), generator=generator).tolist()
    roi[y[0] : y[0] + 21, x[0] : x[0] + 30] = True
    roi[y[1] : y[1] + 3, x[1] : x[1] + 17] = True
    roi[63, 95] = True
    return roi


def small_scorer(roi: Tensor | None, **changes: Any) -> Scorer:
    bank = small_bank()
    query = dataclasses.replace(bank.config.query, **changes)
    return scorer_of(bank, query, roi)


def features(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, 5, 8, 12, generator=generator),
        torch.randn(2, 7, 4, 6, generator=generator),
    ]


def score(scorer: Scorer, maps: list[Tensor]) -> Scored:
    return scorer.forward([to_patches(m, (2, 3)) for m in maps])


@pytest.mark.parametrize("placement", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_score", ["top", "max", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_no_bit_of_a_score_depends_on_places_outside(
    placement: str, image_score: str, seed: int
) -> None:
    roi = some_roi(seed)
    scorer = small_scorer(
        roi, placement=placement, image_score=image_score, reach=1, num_neighbors=2
    )
    clean = features(seed)
    planted = [
        torch.where(covered_places(roi, (m.shape[2], m.shape[3])), m, 1000 * torch.randn(m.shape))
        for m in clean
    ]
    wanted, found = score(scorer, clean), score(scorer, planted)
    for name in ("image_scores", "layer_scores", "anomaly_maps", "responses"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert not torch.equal(
        score(small_scorer(None), planted).image_scores,
        score(small_scorer(None), clean).image_scores,
    )


@pytest.mark.parametrize("sigma", [0.0, 4.0])
def test_map_is_0_outside_and_above_0_inside(sigma: float) -> None:
    roi = some_roi()
    found = score(small_scorer(roi, sigma=sigma), features(0))
    assert torch.equal(found.anomaly_maps > 0, roi.expand(2, -1, -1))


def test_an_even_map_does_not_fade_beside_what_is_not_inspected() -> None:
    roi = some_roi()
    scorer = small_scorer(roi, calibration="none")
    ones = [(torch.ones(1, h, w, 1), torch.zeros(1, h, w, 1).long()) for h, w in ((8, 12), (4, 6))]
    for (distances, _), outside in zip(ones, scorer._outside or [], strict=True):
        distances.masked_fill_(outside, 0)
    found = scorer.combine(ones)
    torch.testing.assert_close(found.anomaly_maps[0], roi.float())
    torch.testing.assert_close(found.image_scores, torch.ones(1))


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_that_shows_everything_scores_as_one_of_which_nothing_is_said(seed: int) -> None:
    """Places that are not inspected count in no mean of what is shown, either."""
    scorer = small_scorer(some_roi(seed))
    patches = [to_patches(one, (2, 3)) for one in features(seed)]
    wanted, found = scorer(patches), scorer(patches, torch.ones(2, *SIZE, dtype=torch.bool))
    for name in ("image_scores", "layer_scores", "anomaly_maps", "responses"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), msg=name)


def test_a_region_of_everything_changes_no_score() -> None:
    found = score(small_scorer(torch.ones(SIZE, dtype=torch.bool)), features(1))
    wanted = score(small_scorer(None), features(1))
    torch.testing.assert_close(found.image_scores, wanted.image_scores)
    torch.testing.assert_close(found.anomaly_maps, wanted.anomaly_maps)


def test_restricted_spread_is_each_places_mean_over_what_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = (
        torch.from_numpy(gaussian_matrix(out, 2.0) @ resize_matrix(out, own))
        for out, own in ((12, 3), (20, 5))
    )
    known = torch.tensor([[1, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    wanted = F.interpolate(known[None, None].float(), (12, 20))[0, 0] > 0
    values = torch.rand(3, 5, generator=generator, dtype=torch.float64) * known
    spread = Spreader(rows, columns).restrict(known, wanted)(values)
    for y in range(12):
        for x in range(20):
            weights = [
                (float(rows[y, i] * columns[x, j]), float(values[i, j]))
                for i in range(3)
                for j in range(5)
                if known[i, j]
            ]
            mean = sum(w * v for w, v in weights) / sum(w for w, _ in weights)
            assert float(spread[y, x]) == pytest.approx(mean if wanted[y, x] else 0)


def test_a_place_is_covered_by_a_single_px_of_it() -> None:
    roi = torch.zeros(SIZE, dtype=torch.bool)
    roi[8, 31] = True
    place = torch.zeros(8, 12, dtype=torch.bool)
    place[1, 3] = True
    assert torch.equal(covered_places(roi, (8, 12)), place)


@given(st.integers(1, 500), st.integers(32, 300), st.data())
def test_a_px_of_the_picture_lies_in_the_place_that_holds_its_centre(
    num_px: int, resize_px: int, data: st.DataObject
) -> None:
    crop_px = data.draw(st.integers(max(32, resize_px - 60), resize_px))
    margin = (resize_px - crop_px) // 2
    for px, place in enumerate(to_places(num_px, resize_px, crop_px).tolist()):
        held = ((2 * px + 1) * resize_px - 2 * num_px * margin) // (2 * num_px)  # whole numbers
        assert place == min(max(held, 0), crop_px - 1)


def test_top_score_takes_its_share_of_what_is_inspected() -> None:
    maps = torch.zeros(1, 40, 50)
    maps[0, 0, :8] = torch.arange(8.0, 0, -1)
    assert float(top_score(maps, 400)) == 7.5  # the largest 2, 0.5 % of 400
    assert float(top_score(maps)) == pytest.approx(3.6)


def test_calibration_counts_the_inspected_places_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    values = (torch.randn(200, 12, 12, generator=generator) * 0.2).exp()
    inspected = torch.zeros(12, 12, dtype=torch.bool)
    inspected[2:9, 1:6] = True
    calibration = local_calibration(values * inspected, inspected)
    assert calibration.place_share == place_share(values[:, 2:9, 1:6])
    torch.testing.assert_close(calibration.factors[inspected], torch.ones(35), atol=0.02, rtol=0)
    assert bool((calibration.factors > 0).all())


@functools.cache
@functools.cache
def small_learner() -> tuple[BankConfig, FeatureExtractor, Tensor]:
    """A configuration, a random network and five random pictures: maps of 4×4 and 2×2 places."""
    config = default_config("resnet18", size_px=(32, 32), grid=(1, 2))
    pictures = torch.randint(256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    return config, load_extractor(config, "random"), pictures.to(torch.uint8)


@given(st.integers(0, 31), st.integers(0, 31), st.integers(1, 9), st.integers(1, 9))
@example(0, 0, 1, 1)
@example(31, 31, 1, 1)
@example(7, 8, 1, 8)
@settings(max_examples=20)
def test_a_region_however_small_gives_a_bank_that_can_be_read_and_judges(
    top: int, left: int, height: int, width: int
) -> None:
    config, extractor, pictures = small_learner()
    roi = torch.zeros(32, 32, dtype=torch.bool)
    roi[top : top + height, left : left + width] = True
    names = [f"{i:064x}" for i in range(len(pictures))]
    bank = build_bank(
        [NominalBatch(pictures, names, names)], len(pictures), config, extractor, roi=roi
    )
    with tempfile.TemporaryDirectory() as folder:
        save_bank(bank, path := Path(folder) / "bank.st")
        loaded = load_bank(path)
    assert loaded.thresholds == bank.thresholds
    found = Detector(loaded, extractor).detect(pictures)
    assert bool(found.image_scores.isfinite().all())
    assert bool(roi[found.peaks[:, 1], found.peaks[:, 0]].all())
