"""Defects of every extent: the most unusual mean speaks, and spots keep their say."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch
from conftest import ONE_GOOD, fapm
from helpers import small_bank
from PIL import Image
from scipy.stats import t as student

from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.learning.held_out import bank_memories, bank_scorer
from fapm_cli.scores.extents import (
    EXTENTS,
    FEWEST_PARTS,
    Asked,
    Calibration,
    Extents,
    student_quantile,
    which_extent,
)
from fapm_cli.scores.image_score import as_spots, extent_means, usual_extents

USUAL = Extents((math.log(1.0), math.log(0.8), math.log(0.5)), (0.1, 0.05, 0.025), 30)


@pytest.mark.parametrize(
    ("probability", "freedom", "wanted"),
    [  # of tables of Student's t
        (0.975, 9, 2.2622),
        (0.995, 15, 2.9467),
        (0.9995, 9, 4.7809),
        (0.9995, 30, 3.6460),
        (0.9995, 120, 3.3735),
    ],
)
def test_quantiles_are_those_of_the_tables(probability: float, freedom: int, wanted: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("probability", [0.9, 0.991, 0.9995])
def test_what_quantiles_are_off_by_falls_as_of_an_expansion_of_four_terms(
    probability: float,
) -> None:
    off = [student.ppf(probability, n) - student_quantile(probability, n) for n in (80, 160)]
    assert off[0] / off[1] == pytest.approx(2**5, abs=0.4)


@pytest.mark.parametrize(
    ("size", "numbers"),  # how many values and blocks each mean is of
    [((32, 64), (10, 6)), ((5, 163), (4, 2)), ((3, 3), (1, 1))],
)
def test_means_are_those_of_a_plain_loop(size: tuple[int, int], numbers: tuple[int, int]) -> None:
    maps = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    found, small = extent_means(maps), extent_means(maps, spot_px=2)
    for one, means, of_two in zip(maps, found, small, strict=True):
        falling = sorted(one.flatten().tolist(), reverse=True)
        blocks = sorted(
            (
                mean(one[y : y + 4, x : x + 4].flatten().tolist())
                for y in range(0, size[0], 4)
                for x in range(0, size[1], 4)
            ),
            reverse=True,
        )
        wanted = [mean(falling[: numbers[0]]), mean(blocks[: numbers[1]]), mean(falling)]
        assert means.tolist() == pytest.approx(wanted, rel=1e-4)
        wanted[0] = mean(falling[: min(numbers[0], 2)])
        assert of_two.tolist() == pytest.approx(wanted, rel=1e-4)


def test_shares_are_of_what_is_inspected() -> None:
    maps = torch.zeros(1, 32, 64)
    maps[:, :, 32:] = 1 + torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    whole = extent_means(maps[:, :, 32:])
    assert extent_means(maps, 32 * 32)[0].tolist() == pytest.approx(whole[0].tolist(), rel=1e-5)


def test_what_is_usual_is_the_mean_and_spread_of_the_logarithms() -> None:
    means = torch.rand(12, 3, generator=torch.Generator().manual_seed(1)) + 0.5
    usual = usual_extents(means)
    assert usual is not None
    for number in range(3):
        logs = [math.log(value) for value in means[:, number].tolist()]
        assert usual.means[number] == pytest.approx(mean(logs), rel=1e-4)
        assert usual.spreads[number] == pytest.approx(stdev(logs), rel=1e-4)
    assert usual.num_parts == 12
    assert usual_extents(means[:FEWEST_PARTS]) is not None
    assert usual_extents(means[: FEWEST_PARTS - 1]) is None
    same = usual_extents(means[:1].expand(12, 3))
    assert same is not None
    assert min(same.spreads) == pytest.approx(0.02)


@pytest.mark.parametrize("num_parts", [10, 30, 1000])
def test_a_wide_extent_is_the_spot_that_is_as_unusual_less_the_share_of_false_alarms(
    num_parts: int,
) -> None:
    usual = replace(USUAL, num_parts=num_parts)
    behind = student_quantile(0.9995, num_parts - 1) - student_quantile(0.991, num_parts - 1)
    assert behind > 0.9
    z = 5.0
    means = torch.tensor(
        [[math.exp(m + z * s) for m, s in zip(usual.means, usual.spreads, strict=True)]]
    )
    spot, area, whole = as_spots(usual, means)[0].tolist()
    assert spot == pytest.approx(math.exp(0.5))
    assert area == pytest.approx(math.exp(0.1 * (z - behind)), rel=1e-5)
    assert whole == pytest.approx(area, rel=1e-5)


def test_what_is_far_beyond_all_stays_a_number() -> None:
    means = torch.tensor([[0.0, 0.0, 0.0], [1e6, 1e6, 1e6]])
    assert as_spots(USUAL, means).isfinite().all()


@pytest.mark.parametrize("finest", [0, 1])
def test_what_is_asked_of_maps_follows_the_query_and_the_region(finest: int) -> None:
    factors = torch.rand(4, 6)
    calibration, sizes = Calibration(factors, 0.5, USUAL), [(2, 3), (2, 3)]
    sizes[finest] = (4, 6)
    local = small_bank().config.query
    plain, spots = replace(local, calibration="none"), replace(local, image_score="top")
    roi = np.zeros((8, 12), bool)
    roi[:5, 5:8] = True
    for query, wide, extents in (
        (local, True, USUAL),
        (local, False, None),
        (plain, True, None),
        (spots, True, None),
    ):
        asked = Asked.of((8, 12), sizes, query, calibration, None, extents=wide)
        assert (asked.finest, asked.extents, asked.num_px) == (finest, extents, 96)
        assert asked.inside == [None, None]
        assert (asked.factors is None) == (query is plain)
        if asked.factors is not None:
            assert np.array_equal(asked.factors, factors.numpy())
            assert asked.factors.dtype == np.float32
    asked = Asked.of((8, 12), sizes, local, calibration, roi, extents=True)
    assert asked.num_px == 15
    for inside, (h, w) in zip(asked.inside, sizes, strict=True):
        assert inside is not None
        wanted = roi.reshape(h, 8 // h, w, 12 // w).any(axis=(1, 3))
        assert np.array_equal(inside, wanted)


def test_the_first_of_the_largest_speaks() -> None:
    assert EXTENTS == ("spot", "area", "whole")
    assert which_extent([1.0, 1.0, 0.5]) == "spot"
    assert which_extent([1.0, 2.0, 2.0]) == "area"
    assert which_extent([1.0, 2.0, 2.5]) == "whole"
    assert which_extent([1.0]) == "spot"


def test_a_weak_change_all_over_is_found_and_a_spot_scores_as_it_did() -> None:
    bank = small_bank()
    calibration = replace(bank.calibration, extents=USUAL)
    scorer = bank_scorer(bank, bank_memories(bank), calibration)
    usual = torch.full((1, *bank.config.preprocessing.crop_px), 0.5)
    spot = usual.clone()
    spot[:, 4:8, 4:8] = 3
    assert which_extent(scorer.as_spots(spot)[0].tolist()) == "spot"
    assert which_extent(scorer.as_spots(1.3 * usual)[0].tolist()) == "whole"
    top = replace(bank, config=bank.config.with_query(image_score="top"))
    plain = bank_scorer(top, bank_memories(bank), calibration)
    assert plain.as_spots(spot).tolist() == scorer.as_spots(spot)[:, :1].tolist()


def test_of_a_part_of_the_picture_chosen_later_there_are_spots_alone(own_bank: Path) -> None:
    bank = load_bank(own_bank)
    roi = torch.ones(bank.config.preprocessing.crop_px, dtype=torch.bool)
    whole, part = (Detector(bank, plan=make_plan("cpu", "fp32"), roi=one) for one in (None, roi))
    assert whole.scorer.extents == bank.calibration.extents is not None
    assert part.scorer.extents is None


def test_a_picture_that_is_grainy_all_over_is_told_as_such(own_bank: Path, tmp_path: Path) -> None:
    with Image.open(ONE_GOOD) as image:
        pixels = np.asarray(image, float)
    grain = np.random.default_rng(0).normal(0, 12, pixels.shape)
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(tmp_path / "grain.png")
    good, odd = fapm("score", own_bank, ONE_GOOD, tmp_path / "grain.png", "--json").json
    assert (good["verdict"], good["extent"]) == ("ok", "spot")
    assert (odd["verdict"], odd["extent"]) == ("anomalous", "whole")
    text = fapm("score", own_bank, tmp_path / "grain.png").out
    assert "unlike" in text or text.rstrip().endswith("odd all over")
    [row] = csv.DictReader(fapm("score", own_bank, ONE_GOOD, "--format", "csv").out.splitlines())
    assert row["extent"] == "spot"
