"""How a part lies: from the upright picture to the picture and back, the same for all that asks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fapm_cli.config import Preprocessing
from fapm_cli.detection.strips import strips_of
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose, inverted
from fapm_cli.pictures.masks import fit_mask

SIZES = st.tuples(st.integers(40, 200), st.integers(40, 200))
POSES = st.builds(
    Pose,
    st.tuples(st.integers(-15, 15), st.integers(-15, 15)),
    st.one_of(st.just(0.0), st.floats(-5, 5)),
)


def to(resize: tuple[int, int], crop: tuple[int, int] | None = None) -> Preprocessing:
    return Preprocessing(resize, crop or resize, "bilinear", True, (0.0,) * 3, (1.0,) * 3)


def moved(pose: Pose, x: float, y: float, size_px: tuple[int, int]) -> tuple[float, float]:
    """Turned clockwise about the middle as it is seen (rows go down), then shifted."""
    angle = math.radians(pose.turn)
    across, along = x - (size_px[1] - 1) / 2, y - (size_px[0] - 1) / 2
    return (
        across * math.cos(angle) - along * math.sin(angle) + (size_px[1] - 1) / 2
        + pose.shift_px[1],
        across * math.sin(angle) + along * math.cos(angle) + (size_px[0] - 1) / 2
        + pose.shift_px[0],
    )  # fmt: skip


@given(POSES, SIZES, st.floats(-50, 250), st.floats(-50, 250))
def test_a_place_goes_to_the_picture_and_back(
    pose: Pose, size_px: tuple[int, int], x: float, y: float
) -> None:
    there = pose.matrix(size_px) @ (x, y, 1)
    assert there == pytest.approx(moved(pose, x, y, size_px), abs=1e-9)
    assert pose.inverse(size_px) @ (*there, 1) == pytest.approx((x, y), abs=1e-9)
    assert inverted(pose.inverse(size_px)) == pytest.approx(pose.matrix(size_px), abs=1e-9)


@given(POSES, SIZES, st.data())
def test_a_px_is_the_nearest_in_the_picture(
    pose: Pose, size_px: tuple[int, int], data: st.DataObject
) -> None:
    x, y = (data.draw(st.integers(0, side - 1)) for side in size_px[::-1])
    found = pose.to_px(x, y, size_px)
    for at, wanted, side in zip(found, moved(pose, x, y, size_px), size_px[::-1], strict=True):
        assert 0 <= at < side
        assert abs(at - min(max(wanted, 0), side - 1)) <= 0.5 + 1e-9


@given(SIZES, st.integers(-15, 15), st.integers(-15, 15), st.floats(0, 39))
def test_a_shift_keeps_whole_px_whole(
    size_px: tuple[int, int], down: int, right: int, at: float
) -> None:
    x, y = Pose((down, right)).to_px(at, at, size_px)
    assert x == min(max(round(at) + right, 0), size_px[1] - 1)
    assert y == min(max(round(at) + down, 0), size_px[0] - 1)


@example(Pose((3, -7)), (200, 40), (150, 190), (5, 20))  # rows beyond the picture's width
@given(
    POSES,
    SIZES,
    st.tuples(st.integers(0, 199), st.integers(0, 199)),
    st.tuples(st.integers(0, 199), st.integers(0, 199)),
)
def test_a_box_holds_what_it_held_and_little_more(
    pose: Pose, size_px: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    (top, end), (left, right) = (
        (min(*span, side - 1), min(max(span), side - 1) + 1)
        for span, side in zip((rows, columns), size_px, strict=True)
    )
    (first, last), (near, far) = pose.to_box((top, end), (left, right), size_px)
    corners = [moved(pose, x, y, size_px) for x in (left, right - 1) for y in (top, end - 1)]
    spans = (near, far, size_px[1]), (first, last, size_px[0])
    for (low, high, side), along in zip(spans, zip(*corners, strict=True), strict=True):
        inside = [min(max(one, 0), side - 1) for one in along]
        assert 0 <= low <= high <= side
        if any(0 <= one <= side - 1 for one in along):
            assert low - 1 <= min(inside)
            assert high >= max(inside)
        wide = math.ceil(max(along) - min(along) + 1)
        assert high - low <= wide + 2
        if not pose.turn and min(along) >= 0 and max(along) <= side - 1:
            assert (low, high) == (min(along), max(along) + 1)


@given(POSES, SIZES, st.tuples(st.integers(40, 400), st.integers(40, 400)), st.floats(0, 30))
def test_a_pose_is_the_same_in_a_picture_of_another_size(
    pose: Pose, size_px: tuple[int, int], other: tuple[int, int], at: float
) -> None:
    scale = other[1] / size_px[1], other[0] / size_px[0]
    x, y = ((at + 0.5) * one - 0.5 for one in scale)
    there = pose.at(size_px, other).matrix(other) @ (x, y, 1)
    wanted = [
        (one + 0.5) * by - 0.5 for one, by in zip(moved(pose, at, at, size_px), scale, strict=True)
    ]
    assert there == pytest.approx(wanted, abs=0.5 + 1e-6)  # a shift is of whole px
    again = pose.at(size_px, other).at(other, size_px)
    assert again.aspect == pytest.approx(1)
    assert again.turn == pose.turn


@given(POSES, SIZES, st.booleans(), st.integers(0, 2**32 - 1))
def test_a_turned_map_is_sampled_where_each_px_lay(
    pose: Pose, size_px: tuple[int, int], whole: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    resize, crop = (64, 96), (48, 64)
    anomaly_map = draw.random(crop).astype(np.float32)
    roi = None if whole else draw.random(crop) < 0.8
    if roi is not None:
        anomaly_map = anomaly_map * roi
    sides = tuple(zip(size_px, resize, crop, strict=True))
    parts = [part for _, part in strips_of(anomaly_map, roi, sides, pose)]
    found, inverse = np.concatenate(parts), pose.inverse(size_px)
    assert found.shape == size_px
    for y, x in draw.integers(0, size_px, (40, 2)):
        across, along = inverse @ (x, y, 1)
        place = [
            (one + 0.5) * resized / own - (resized - cropped) // 2 - 0.5
            for one, (own, resized, cropped) in zip((along, across), sides, strict=True)
        ]
        rim = min(min(abs(p + 0.5), abs(p + 0.5 - c)) for p, c in zip(place, crop, strict=True))
        near = min(abs(p + 0.5 - round(p + 0.5)) for p in place)
        if rim < 1e-6 or near < 1e-6:
            continue  # on a rim: as it is rounded
        inside = all(-0.5 < p < c - 0.5 for p, c in zip(place, crop, strict=True))
        own = tuple(
            min(max(math.floor(p + 0.5), 0), c - 1) for p, c in zip(place, crop, strict=True)
        )
        if not inside or (roi is not None and not roi[own]):
            assert np.isnan(found[y, x])
            continue
        total = weight = 0.0
        for row in (math.floor(place[0]), math.floor(place[0]) + 1):
            for column in (math.floor(place[1]), math.floor(place[1]) + 1):
                share = (1 - abs(place[0] - row)) * (1 - abs(place[1] - column))
                at = min(max(row, 0), crop[0] - 1), min(max(column, 0), crop[1] - 1)
                known = roi is None or bool(roi[at])
                total += share * float(anomaly_map[at]) * known
                weight += share * known
        assert found[y, x] == pytest.approx(total / weight, abs=2e-4)


@given(SIZES, st.integers(-15, 15), st.integers(-15, 15), st.integers(0, 2**32 - 1))
def test_a_turn_of_next_to_nothing_gives_the_map_of_none(
    size_px: tuple[int, int], down: int, right: int, seed: int
) -> None:
    anomaly_map = np.random.default_rng(seed).random((64, 96)).astype(np.float32)
    sides = tuple(zip(size_px, (64, 96), (64, 96), strict=True))
    none, little = (
        np.concatenate([one for _, one in strips_of(anomaly_map, None, sides, pose)])
        for pose in (Pose((down, right)), Pose((down, right), 1e-9))
    )
    both = ~np.isnan(none) & ~np.isnan(little)
    assert (np.isnan(none) != np.isnan(little)).mean() < 0.06  # but for rims, as they are rounded
    np.testing.assert_allclose(none[both], little[both], atol=1e-3)


@pytest.mark.parametrize("turn", [0.0, 3.0])
def test_the_map_of_a_large_picture_is_given_some_rows_at_a_time(turn: float) -> None:
    sides = (1200, 64, 64), (1500, 96, 96)
    next_top = 0
    for top, strip in strips_of(np.ones((64, 96), np.float32), None, sides, Pose((7, 9), turn)):
        assert (top, strip.shape[1]) == (next_top, 1500)
        assert strip.nbytes <= 2**20
        next_top = top + len(strip)
    assert next_top == 1200


@given(POSES, SIZES, st.integers(0, 2**32 - 1))
def test_a_mask_marks_what_the_picture_shows_there(
    pose: Pose, size_px: tuple[int, int], seed: int
) -> None:
    draw, how = np.random.default_rng(seed), to((64, 96), (48, 64))
    mask = draw.random(size_px) < 0.5
    found = fit_mask(mask, how, pose)
    assert found.shape == (48, 64)
    for v, u in draw.integers(0, (48, 64), (40, 2)):
        x, y = (u + 16 + 0.5) * size_px[1] / 96 - 0.5, (v + 8 + 0.5) * size_px[0] / 64 - 0.5
        if not pose.turn:
            x, y = math.floor(x + 0.5), math.floor(y + 0.5)  # the nearest px, then its own shift
        x, y = moved(pose, x, y, size_px)
        if min(abs(x % 1 - 0.5), abs(y % 1 - 0.5)) < 1e-6:
            continue
        inside = -0.5 < x < size_px[1] - 0.5 and -0.5 < y < size_px[0] - 0.5
        assert found[v, u] == (inside and mask[round(y), round(x)])


def test_a_part_that_lies_well_has_the_pose_of_nothing() -> None:
    assert Pose((0, 0), 0.0) == UPRIGHT
    assert UPRIGHT.matrix((30, 50)) == pytest.approx(np.eye(2, 3), abs=0)
