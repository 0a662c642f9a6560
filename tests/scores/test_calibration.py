"""Local calibration follows the place as far as the place decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fapm_cli.scores.calibration import (
    local_calibration,
    mean_of_groups,
    of_parts,
    place_share,
)


def responses(between: float, within: float, pictures: int = 400, seed: int = 0) -> Tensor:
    """Log-normal responses with known spread between and within the places of a 12×12 map."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randn(1, 12, 12, generator=generator) * between
    return (place + torch.randn(pictures, 12, 12, generator=generator) * within).exp()


def test_place_share_is_the_intraclass_correlation() -> None:
    for between, within in ((1.0, 0.25), (0.3, 0.3), (0.1, 1.0)):
        values = responses(between, within)
        logs = [[[math.log(float(v)) for v in row] for row in one] for one in values]
        means, variances = [], []
        for y in range(12):
            for x in range(12):
                column = [one[y][x] for one in logs]
                mean = sum(column) / len(column)
                means.append(mean)
                variances.append(sum((v - mean) ** 2 for v in column) / (len(column) - 1))
        middle = sum(means) / len(means)
        spread = sum((m - middle) ** 2 for m in means) / (len(means) - 1)
        expected = spread / (spread + sum(variances) / len(variances))
        assert abs(place_share(values) - expected) < 1e-6


def test_places_that_say_nothing_are_not_calibrated() -> None:
    calibration = local_calibration(responses(0.0, 0.5))
    assert calibration.place_share < 0.02
    torch.testing.assert_close(calibration.factors, torch.ones(12, 12), atol=0.02, rtol=0)


def test_a_busy_place_counts_less_and_a_calm_one_more() -> None:
    values = responses(0.05, 0.05)
    values[:, 2:6, 2:6] *= 4
    factors = local_calibration(values).factors
    assert float(factors[3:5, 3:5].max()) < 0.6
    assert float(factors[8:, 8:].min()) > 1.1


def test_a_place_is_known_by_the_mean_of_its_largest_fiftieth() -> None:
    values = responses(0.0, 0.1, pictures=100)
    values[:2, :6] *= 4  # 2 of 100 pictures, in one half
    calibration = local_calibration(values)
    halves = [values[:, rows].topk(2, dim=0).values.mean() for rows in (slice(0, 6), slice(6, 12))]
    upper, share = torch.stack(halves), calibration.place_share
    wanted = 2 * upper.mean() / (share * upper + (2 - share) * upper.mean())
    for rows, factor in ((slice(0, 3), wanted[0]), (slice(9, 12), wanted[1])):
        assert abs(float(calibration.factors[rows].mean() / factor) - 1) < 0.003
    many = local_calibration(torch.cat([values] * 2)).factors  # the same share of twice as many
    torch.testing.assert_close(many, calibration.factors, atol=1e-3, rtol=0)


def test_a_place_is_known_by_its_neighbours_too_as_a_blur_of_one_place_weighs_them() -> None:
    values = responses(0.4, 0.2)
    calibration = local_calibration(values)
    highest = values.topk(8, dim=0).values.mean(dim=0).double().numpy()
    upper, share = gaussian_filter(highest, 1.0, mode="reflect"), calibration.place_share
    wanted = 2 * upper.mean() / (share * upper + (2 - share) * upper.mean())
    np.testing.assert_allclose(calibration.factors.numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize(("pictures", "counted"), [(2, 1), (5, 1), (74, 1), (76, 2), (125, 2)])
def test_the_largest_fiftieth_is_a_whole_number_of_pictures_and_at_least_one(
    pictures: int, counted: int
) -> None:
    values = torch.ones(pictures, 12, 12)
    values[0, :6] = 7  # the highest of one half
    calibration = local_calibration(values)
    high, share = (7 + counted - 1) / counted, calibration.place_share
    assert share == pytest.approx(place_share(values))
    assert share > 0
    mean = (high + 1) / 2
    for row, upper in ((0, high), (11, 1.0)):
        wanted = 2 * mean / (share * upper + (2 - share) * mean)
        assert float(calibration.factors[row].mean()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("unit", [1000, 0.001])
def test_calibration_has_no_unit(unit: float) -> None:
    values = responses(0.5, 0.2)
    factors = local_calibration(values).factors
    torch.testing.assert_close(local_calibration(values * unit).factors, factors)


def test_a_single_picture_calibrates_nothing() -> None:
    calibration = local_calibration(responses(1.0, 0.1, pictures=1))
    assert calibration.place_share == 0
    assert bool((calibration.factors == 1).all())


@pytest.mark.parametrize("inspected", [None, 1, 2])
def test_one_place_differs_from_no_other_and_is_not_calibrated(inspected: int | None) -> None:
    values = responses(1.0, 0.3, pictures=5)
    if inspected is None:
        calibration = local_calibration(values[:, :1, :1])
    else:
        places = torch.zeros(12, 12, dtype=torch.bool)
        places[3, 4 : 4 + inspected] = True
        calibration = local_calibration(values * places, places)
    assert (calibration.place_share == 0) == (inspected != 2)
    assert 0 <= calibration.place_share <= 1
    assert bool((calibration.factors == 1).all()) == (inspected != 2)
    assert bool((calibration.factors > 0).all())


@pytest.mark.parametrize("pictures", [3, 150])
def test_places_are_calibrated_by_the_parts_that_show_them(pictures: int) -> None:
    values = responses(0.5, 0.3, pictures=pictures)
    shown = torch.rand(pictures, 12, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    shown[0] |= ~shown.any(dim=0)
    calibration = local_calibration(values * shown, None, shown)
    highest, means, variances = np.zeros((12, 12)), [], []
    for y in range(12):
        for x in range(12):
            own = sorted((float(v) for v in values[shown[:, y, x], y, x]), reverse=True)
            most = max(1, round(0.02 * len(own)))
            highest[y, x] = sum(own[:most]) / most
            means.append(np.mean(np.log(own)))
            variances.append(float(np.var(np.log(own), ddof=1)) if len(own) > 1 else 0.0)
    upper, share = gaussian_filter(highest, 1.0, mode="reflect"), calibration.place_share
    between = np.var(means, ddof=1)
    assert share == pytest.approx(between / (between + np.mean(variances)), abs=1e-4)
    wanted = 2 * upper.mean() / (share * upper + (2 - share) * upper.mean())
    np.testing.assert_allclose(calibration.factors, wanted, rtol=1e-4)


def test_what_all_parts_show_is_calibrated_as_ever() -> None:
    values = responses(0.5, 0.3, pictures=120)
    plain, masked = (local_calibration(values, None, of) for of in (None, values > 0))
    torch.testing.assert_close(masked.factors, plain.factors)
    assert masked.place_share == pytest.approx(plain.place_share)


@pytest.mark.parametrize("of_each", [[0, 1, 1, 2, 2, 2, 0], [0] * 7])
def test_a_part_says_what_those_of_its_shots_say_that_show_it(of_each: list[int]) -> None:
    values, groups = responses(0.5, 0.3, pictures=7), torch.tensor(of_each)
    shown = torch.rand(7, 12, 12, generator=torch.Generator().manual_seed(3)) < 0.3
    means, there = of_parts(values * shown, groups, shown)
    assert there is not None
    assert len(means) == len(set(of_each))
    for part in set(of_each):
        own, of = values[groups == part], shown[groups == part]
        for y in range(12):
            for x in range(12):
                said = own[of[:, y, x], y, x]
                assert bool(there[part, y, x]) == (len(said) > 0)
                wanted = float(said.mean()) if len(said) else 0.0
                assert float(means[part, y, x]) == pytest.approx(wanted, rel=1e-5)
    both = of_parts(values, groups, None)
    assert both[1] is None
    assert torch.equal(both[0], mean_of_groups(values, groups))
