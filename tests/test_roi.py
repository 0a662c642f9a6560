"""What lies outside the region of interest reaches no result."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, build, fapm
from helpers import scorer_of, small_bank
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import default_config
from fapm_cli.config import BankConfig
from fapm_cli.detection.detector import Detector
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.build import build_bank
from fapm_cli.memory.grid import to_patches
from fapm_cli.network.extraction import FeatureExtractor, load_extractor
from fapm_cli.scores.calibration import local_calibration, place_share
from fapm_cli.scores.geometry import Spreader, covered, gaussian_matrix, resize_matrix, to_places
from fapm_cli.scores.image_score import top_score
from fapm_cli.scores.scorer import Scored, Scorer

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
    return scorer([to_patches(m, (2, 3)) for m in maps])


@pytest.mark.parametrize("placement", ["bilinear", "nearest"])
@pytest.mark.parametrize("image_score", ["top", "max", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_no_bit_of_a_score_depends_on_places_outside(
    placement: str, image_score: str, seed: int
) -> None:
    roi = some_roi(seed)
    scorer = small_scorer(roi, placement=placement, image_score=image_score, reach=1)
    clean = features(seed)
    planted = [
        torch.where(covered(roi, (m.shape[2], m.shape[3])), m, 1000 * torch.randn(m.shape))
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


def test_a_region_of_everything_changes_no_score() -> None:
    found = score(small_scorer(torch.ones(SIZE, dtype=torch.bool)), features(1))
    wanted = score(small_scorer(None), features(1))
    torch.testing.assert_close(found.image_scores, wanted.image_scores)
    torch.testing.assert_close(found.anomaly_maps, wanted.anomaly_maps)


def test_restricted_spread_is_each_places_mean_over_what_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = (
        gaussian_matrix(out, 2.0) @ resize_matrix(out, own) for out, own in ((12, 3), (20, 5))
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
    assert torch.equal(covered(roi, (8, 12)), place)


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
def small_learner() -> tuple[BankConfig, FeatureExtractor, Tensor]:
    """A configuration, a random network and five random pictures: maps of 4×4 and 2×2 places."""
    config = default_config("resnet18", size_px=(32, 32), grid=(1, 2))
    pictures = torch.randint(256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    return config, load_extractor(config, "random"), pictures.to(torch.uint8)


@given(st.integers(0, 31), st.integers(0, 31), st.integers(1, 9), st.integers(1, 9))
@example(0, 0, 1, 1)
@example(31, 31, 1, 1)
@example(7, 8, 1, 8)
@settings(max_examples=20, deadline=None)
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


# --- The commands ------------------------------------------------------------------------------


def write_mask(path: Path, white: tuple[slice, slice], side: int = 320) -> Path:
    mask = np.zeros((side, side), np.uint8)
    mask[white] = 1  # not 0 is enough
    Image.fromarray(mask).save(path)
    return path


def spoil(source: Path, target: Path) -> Path:
    """Paint noise over a picture's left 40 px."""
    pixels = np.array(Image.open(source))
    noise = np.random.default_rng(0).integers(0, 256, (320, 40, 3), dtype=np.uint8)
    pixels[:, :40] = noise
    Image.fromarray(pixels).save(target)
    return target


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask that inspects the right third of the samples."""
    return write_mask(tmp_path_factory.mktemp("roi") / "right.png", np.s_[:, 214:])


@pytest.fixture(scope="module")
def right_bank(right: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("right") / "bank.st", GOOD[:12], "--roi", right)


def test_a_defect_far_outside_leaves_the_score_as_it_is(
    right_bank: Path, bank: Path, tmp_path: Path
) -> None:
    clean, spoilt = tmp_path / "clean.png", spoil(ONE_GOOD, tmp_path / "spoilt.png")
    Image.open(ONE_GOOD).save(clean)
    wanted, found = fapm("score", right_bank, clean, spoilt, "--json").scores.values()
    assert found == pytest.approx(wanted, rel=1e-6)
    wanted, found = fapm("score", bank, clean, spoilt, "--json").scores.values()
    assert found > 1.5 * wanted


def test_nominal_scores_and_calibration_know_nothing_of_what_lies_far_outside(
    right: Path, right_bank: Path, tmp_path: Path
) -> None:
    def nominal(bank: Path) -> list[float]:
        return [p["score"] for p in fapm("info", bank, "--json").json["pictures"]]

    spoilt = spoil(GOOD[0], tmp_path / "spoilt.png")
    mixed = [spoilt, *GOOD[1:12]]
    with_roi = build(tmp_path / "bank.st", mixed, "--roi", right)
    assert nominal(with_roi) == pytest.approx(nominal(right_bank), rel=1e-5)
    without = nominal(build(tmp_path / "bank.st", mixed))
    assert without[0] > 1.5 * max(without[1:])


def test_region_of_score_is_cut_by_the_banks(right_bank: Path, bank: Path, tmp_path: Path) -> None:
    top = write_mask(tmp_path / "top.png", np.s_[:160, :])
    for which, shares in ((bank, ("50%",)), (right_bank, ("83%", "84%"))):
        result = fapm("score", which, SAMPLES / "test", "--roi", top, "--json")
        line, verdicts = result.err.splitlines()
        assert "scores of less are higher" in verdicts
        assert any(f"{share} of each picture is not inspected" in line for share in shares)
        for record in result.json:
            assert record["peak"]["y"] < 160
            assert which == bank or record["peak"]["x"] >= 214
            for region in record["regions"]:
                assert region["y"] + region["height"] <= 160


def test_a_picture_equal_to_a_known_one_has_its_peak_inside(right: Path, tmp_path: Path) -> None:
    known = build(tmp_path / "bank.st", GOOD[:1], "--coreset-ratio", 1, "--roi", right)
    (record,) = fapm("score", known, GOOD[0], "--json").json
    assert record["peak"]["x"] >= 214


def test_white_all_over_is_the_same_as_no_mask(bank: Path, tmp_path: Path) -> None:
    white = write_mask(tmp_path / "white.png", np.s_[:, :], side=77)
    assert fapm("score", bank, ONE_BAD, "--roi", white) == fapm("score", bank, ONE_BAD)
    built = build(tmp_path / "bank.st", GOOD[:12], "--roi", white)
    assert built.read_bytes() == bank.read_bytes()


def test_mask_of_another_size_is_fitted_to_the_pictures(bank: Path, tmp_path: Path) -> None:
    masks = [
        write_mask(tmp_path / f"{side}.png", np.s_[: side // 2, :], side) for side in (224, 1000)
    ]
    first, second = (fapm("score", bank, ONE_BAD, "--roi", mask, "--json") for mask in masks)
    assert first == second


def test_paper_preset_counts_crop_and_mask_together(right: Path, paper_bank: Path) -> None:
    result = fapm("score", paper_bank, ONE_GOOD, "--roi", right, "--json")
    # 224 rows of 256, and the columns from 171.2 to 240 of 256.
    share = 1 - 224 * 69 / 256**2
    assert f"{share:.0%} of each picture" in result.err
    assert "the crop and ROI" in result.err


def test_masks_that_leave_nothing_or_cannot_be_read_are_told_in_one_line(
    right_bank: Path, tmp_path: Path
) -> None:
    black = write_mask(tmp_path / "black.png", np.s_[:0, :])
    left = write_mask(tmp_path / "left.png", np.s_[:, :100])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for mask, word in ((black, "black all over"), (left, "in common"), (text, "not a picture")):
        for command in (
            ("score", right_bank, ONE_GOOD),
            ("heatmap", right_bank, ONE_GOOD, "-o", tmp_path / "out"),
        ):
            assert_fails(fapm(*command, "--roi", mask), word)
        if mask != left:
            target = tmp_path / "bank.st"
            assert_fails(fapm("build", GOOD[0], "-o", target, "--roi", mask), word)
            assert not target.exists()


def test_info_and_build_say_what_share_is_inspected(
    right_bank: Path, right: Path, bank: Path, tmp_path: Path
) -> None:
    assert "inspected    33% of each picture" in fapm("info", right_bank).out
    assert fapm("info", right_bank, "--json").json["inspected_share"] == pytest.approx(74 / 224)
    assert "inspected    100% of each picture" in fapm("info", bank).out
    built = fapm("build", GOOD[0], "-o", tmp_path / "bank.st", "--roi", right)
    assert "inspected 33% of each picture" in built.out


@pytest.mark.parametrize("size", [(320, 320), (90, 61), (700, 431)])
def test_map_is_nan_and_heatmap_hatched_exactly_outside(
    size: tuple[int, int], right_bank: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own.png"
    Image.open(ONE_BAD).resize(size).save(source)
    result = fapm("heatmap", right_bank, source, "-o", tmp_path, "--map", "npy")
    assert result.code == 0
    columns = np.floor((np.arange(size[0]) + 0.5) * 224 / size[0])
    inside = np.broadcast_to(columns >= 150, size[::-1])  # the input's first inspected column
    scores = np.load(tmp_path / "own_map.npy")
    assert np.array_equal(np.isfinite(scores), inside)
    assert (scores[inside] > 0).all()
    drawn = np.asarray(Image.open(tmp_path / "own_heatmap.png"))
    changed = (drawn != np.asarray(Image.open(source))).any(axis=-1)
    assert changed[~inside].mean() > 0.9
