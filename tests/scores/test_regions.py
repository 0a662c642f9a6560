from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fapm_cli.scores.regions import Region, find_regions


def flood_fill(values: NDArray[np.float32], threshold: float) -> list[Region]:
    """Regions by plain loops."""
    height, width = values.shape
    left = {p for p in product(range(height), range(width)) if values[p] > threshold}
    regions = []
    while left:
        waiting, found = [left.pop()], []
        while waiting:
            y, x = waiting.pop()
            found.append((y, x))
            near = {(y + dy, x + dx) for dy, dx in product((-1, 0, 1), repeat=2)} & left
            left -= near
            waiting += near
        row, column = min(found, key=lambda p: (-values[p], p))
        rows, columns = zip(*found, strict=True)
        box = (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
        peak, score = (column, row), float(values[row, column])
        regions.append(Region(*box, len(found), peak, score))
    return sorted(regions, key=lambda region: (-region.score, region.peak[::-1]))


# Few levels: neighbours, ties and holes are then common.
MAPS = arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.5, 2.0]),
)


@given(MAPS, st.sampled_from([0.0, 0.5, 1.2, 2.0]))
def test_regions_are_those_of_a_plain_flood_fill(
    values: NDArray[np.float32], threshold: float
) -> None:
    assert find_regions(values, threshold) == flood_fill(values, threshold)


def test_a_value_equal_to_the_threshold_is_in_no_region() -> None:
    assert find_regions(np.ones((3, 4), np.float32), 1.0) == []


def test_regions_that_touch_by_a_corner_are_one_and_those_apart_two() -> None:
    values = np.zeros((5, 6), np.float32)
    values[1, 1], values[2, 2], values[4, 5] = 2, 3, 4
    assert find_regions(values, 1.0) == [
        Region(4, 5, 5, 6, 1, (5, 4), 4.0),
        Region(1, 1, 3, 3, 2, (2, 2), 3.0),
    ]


def test_regions_of_one_score_come_in_the_reading_order_of_their_peaks() -> None:
    values = np.zeros((4, 9), np.float32)
    values[0, 8] = values[1, 4] = 1  # these begin higher up, and further right
    values[1, 8] = 1
    values[2, [0, 4, 8]] = 2
    assert [region.peak for region in find_regions(values, 0.5)] == [(0, 2), (4, 2), (8, 2)]


def test_a_stronger_region_inside_the_box_of_another_does_not_give_it_its_peak() -> None:
    ring = np.zeros((9, 9), np.float32)
    ring[1:8, 1:8] = 2
    ring[2:7, 2:7] = 0
    ring[4, 4] = 9
    inner, outer = find_regions(ring, 1.0)
    assert (inner.peak, inner.score, inner.area_px) == ((4, 4), 9.0, 1)
    assert (outer.peak, outer.score, outer.area_px) == ((1, 1), 2.0, 24)
