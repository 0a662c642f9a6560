"""Plain measures: what loops find, and what they tell apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import ONE_GOOD
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.pictures.measures import measure

Pixels = NDArray[np.uint8]


def by_loops(grey: Pixels, inside: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Brightness, sharpness, x and y, px by px."""
    height, width = grey.shape
    level = grey.astype(float)
    mean = sum(level[y, x] for y in range(height) for x in range(width) if inside[y, x])
    mean /= inside.sum()

    def apart(px: int) -> float:
        squares = []
        for y in range(height):
            for x in range(width):
                for v, u in ((y, x + px), (y + px, x)):
                    if v < height and u < width and inside[y, x] and inside[v, u]:
                        squares.append((level[y, x] - level[v, u]) ** 2)
        return float(sum(squares) / max(len(squares), 1))

    middle = np.quantile(level[inside], 0.5, method="inverted_cdf")
    out = np.abs(level - middle) * inside
    total = out.sum()
    x = (out.sum(0) * (np.arange(width) + 0.5)).sum() / width / total if total else 0.5
    y = (out.sum(1) * (np.arange(height) + 0.5)).sum() / height / total if total else 0.5
    return mean, apart(1) / max(apart(4), 1e-12), x, y


@given(st.integers(0, 99), st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_measures_are_those_of_loops(seed: int, height: int, width: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (height, width), dtype=np.uint8)
    inside = rng.random((height, width)) < 0.7
    inside[0, 0] = True
    found = measure(np.repeat(grey[..., None], 3, axis=2), inside if masked else None)
    wanted = by_loops(grey, inside if masked else np.ones_like(inside))
    told = (found.brightness, found.sharpness, found.x, found.y)
    if min(height, width) > 4 or wanted[1] < 1e6:
        assert told == pytest.approx(wanted, abs=2e-3)
    else:
        assert told[1] > 1e6


@pytest.fixture(scope="module")
def part() -> Pixels:
    return np.array(Image.open(ONE_GOOD).resize((224, 224)))


def test_brightness_follows_the_light_and_the_others_do_not(part: Pixels) -> None:
    one, other = measure(part), measure(np.rint(part * 0.7).astype(np.uint8))
    assert other.brightness == pytest.approx(0.7 * one.brightness, rel=0.01)
    assert other.sharpness == pytest.approx(one.sharpness, rel=0.02)
    assert (other.x, other.y) == pytest.approx((one.x, one.y), abs=0.005)


def test_sharpness_falls_out_of_focus_and_the_others_stay(part: Pixels) -> None:
    one, other = measure(part), measure(np.asarray(cv2.GaussianBlur(part, (0, 0), 1.0), np.uint8))
    assert other.sharpness < 0.8 * one.sharpness
    assert other.brightness == pytest.approx(one.brightness, abs=0.5)
    assert (other.x, other.y) == pytest.approx((one.x, one.y), abs=0.005)


def test_the_place_follows_a_shift_and_the_others_do_not(part: Pixels) -> None:
    def moved(right: int, down: int) -> Pixels:
        matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
        shifted = cv2.warpAffine(part, matrix, (224, 224), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(shifted, np.uint8)

    one, other = measure(part), measure(moved(11, 0))
    assert other.x - one.x == pytest.approx(11 / 224, abs=0.01)
    assert abs(other.y - one.y) < 0.005
    assert measure(moved(0, -11)).y - one.y == pytest.approx(-11 / 224, abs=0.01)


def test_what_is_not_inspected_counts_for_nothing(part: Pixels) -> None:
    inside = np.zeros((224, 224), bool)
    inside[40:150, 60:200] = True
    other = part.copy()
    other[~inside] = 255
    assert measure(part, inside) == measure(other, inside)


def test_a_part_that_lies_farther_is_told_so(part: Pixels) -> None:
    one = measure(part)
    assert one.moved(0.25, -0.125).x == pytest.approx(one.x + 0.25)
    assert one.moved(0.25, -0.125).y == pytest.approx(one.y - 0.125)
