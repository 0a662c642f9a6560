from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch.nn import functional as F

from fapm_cli.config import Placement
from fapm_cli.scores.geometry import (
    Matrix,
    covered,
    gaussian_matrix,
    inspected_span,
    mean_matrix,
    picture_samples,
    repeat_matrix,
    resize_matrix,
    to_picture_place,
    to_picture_span,
    to_places,
)
from fapm_cli.scores.spreader import Spreader, make_spreader

CPU = torch.device("cpu")


def picture_matrix(num_px: int, resize_px: int, crop_px: int) -> Matrix:
    """What samples of a line are, as a matrix."""
    matrix = np.zeros((num_px, crop_px))
    for px, (low, high, share) in enumerate(
        zip(*picture_samples(num_px, resize_px, crop_px), strict=True)
    ):
        matrix[px, low] += 1 - share
        matrix[px, high] += share
    return matrix


SIDES = [(224, 28), (224, 14), (17, 5), (5, 17), (9, 9), (7, 1), (1, 6), (300, 224), (2, 3)]


@pytest.mark.parametrize(("num_out", "num_in"), SIDES)
def test_resize_matrix_resizes_as_interpolate_does(num_out: int, num_in: int) -> None:
    line = torch.randn(1, 3, num_in, dtype=torch.float64)
    expected = F.interpolate(line, num_out, mode="linear", align_corners=False)
    torch.testing.assert_close(line @ torch.from_numpy(resize_matrix(num_out, num_in)).mT, expected)


@pytest.mark.parametrize(
    ("num_out", "num_in"), [(224, 28), (28, 28), (21, 7), (6, 1), (10, 4), (4, 10), (300, 224)]
)
def test_repeat_matrix_takes_the_nearest_value(num_out: int, num_in: int) -> None:
    line = torch.randn(1, 1, num_in, dtype=torch.float64)
    expected = F.interpolate(line, num_out, mode="nearest")
    assert torch.equal(line @ torch.from_numpy(repeat_matrix(num_out, num_in)).mT, expected)


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.3, 1.0, 2.7, 4.0, 20.0])
@pytest.mark.parametrize("num", [1, 2, 5, 16, 97])
def test_gaussian_matrix_blurs_as_scipy_does_even_beyond_the_line(num: int, sigma: float) -> None:
    line = np.random.default_rng(num).normal(size=(2, num))
    expected = line if sigma == 0 else gaussian_filter1d(line, sigma, mode="reflect", truncate=4)
    blurred = line @ gaussian_matrix(num, sigma).T
    np.testing.assert_allclose(blurred, expected, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 30))
def test_every_matrix_keeps_a_constant_line_constant(
    num_out: int, num_in: int, sigma: float
) -> None:
    for matrix in (
        resize_matrix(num_out, num_in),
        repeat_matrix(num_out, num_in),
        gaussian_matrix(num_out, sigma),
        picture_matrix(num_out, num_in + 3, num_in),
    ):
        assert matrix.dtype == np.float64
        assert bool((matrix >= 0).all())
        np.testing.assert_allclose(matrix.sum(axis=1), 1)


@given(st.integers(1, 900), st.integers(32, 400), st.data())
def test_inspected_span_is_the_px_whose_centres_lie_in_the_crop(
    num_px: int, resize_px: int, data: st.DataObject
) -> None:
    crop_px = data.draw(st.integers(max(32, resize_px - 60), resize_px))
    margin = (resize_px - crop_px) // 2
    # Twice the centre, times resize_px, in whole numbers: (2i + 1) · resize / (2 · num).
    inside = [
        i
        for i in range(num_px)
        if 2 * num_px * margin <= (2 * i + 1) * resize_px <= 2 * num_px * (margin + crop_px)
    ]
    first, last = inspected_span(num_px, resize_px, crop_px)
    on_the_rim = {
        i
        for i in range(num_px)
        if (2 * i + 1) * resize_px in (2 * num_px * margin, 2 * num_px * (margin + crop_px))
    }
    # A centre exactly on the crop's edge may fall on either side of it in floating point.
    assert set(range(first, last)) | on_the_rim == set(inside) | on_the_rim
    if crop_px == resize_px:
        assert (first, last) == (0, num_px)


@given(st.integers(1, 900), st.integers(32, 400), st.data())
def test_spans_of_the_map_are_the_px_whose_centres_lie_in_them(
    num_px: int, resize_px: int, data: st.DataObject
) -> None:
    crop_px = data.draw(st.integers(max(32, resize_px - 60), resize_px))
    first = data.draw(st.integers(0, crop_px - 1))
    end = data.draw(st.integers(first + 1, crop_px))
    margin = (resize_px - crop_px) // 2
    low, high = 2 * num_px * (margin + first), 2 * num_px * (margin + end)
    centres = [(2 * i + 1) * resize_px for i in range(num_px)]
    start, stop = to_picture_span(first, end, num_px, resize_px, crop_px)
    found = set(range(start, stop))
    assert {i for i, centre in enumerate(centres) if low < centre < high} <= found
    assert found <= {i for i, centre in enumerate(centres) if low <= centre <= high}


def test_the_papers_crop_leaves_a_sixteenth_of_each_rim_uninspected() -> None:
    assert inspected_span(1024, 256, 224) == (64, 960)
    assert inspected_span(256, 256, 224) == (16, 240)
    assert inspected_span(16, 256, 224) == (1, 15)


@pytest.mark.parametrize("num_px", [1, 50, 224, 1024])
def test_picture_matrix_without_crop_is_plain_resizing(num_px: int) -> None:
    np.testing.assert_allclose(picture_matrix(num_px, 224, 224), resize_matrix(num_px, 224))


def test_picture_matrix_puts_the_cropped_line_where_it_was_in_the_picture() -> None:
    num_px, resize_px, crop_px = 512, 256, 224
    line = np.arange(crop_px, dtype=np.float64)
    back = picture_matrix(num_px, resize_px, crop_px) @ line
    first, last = inspected_span(num_px, resize_px, crop_px)
    assert (first, last) == (32, 480)
    for i in range(num_px):
        in_the_crop = (i + 0.5) / 2 - 0.5 - 16
        expected = min(max(in_the_crop, 0), crop_px - 1)  # the edge value goes on
        assert float(back[i]) == pytest.approx(expected)


def test_picture_matrix_at_the_resized_size_is_the_crop_with_its_rim_repeated() -> None:
    matrix = picture_matrix(8, 8, 5)  # an odd rest: 1 px before the crop, 2 behind it
    places = [0, 0, 1, 2, 3, 4, 4, 4]
    assert np.array_equal(matrix, np.eye(5)[places])


@given(st.integers(1, 900), st.integers(32, 400), st.data())
def test_to_picture_place_is_the_nearest_px_centre(
    num_px: int, resize_px: int, data: st.DataObject
) -> None:
    crop_px = data.draw(st.integers(max(32, resize_px - 60), resize_px))
    place = data.draw(st.integers(0, crop_px - 1))
    at = (place + (resize_px - crop_px) // 2 + 0.5) / resize_px * num_px - 0.5
    px = round(to_picture_place(place, num_px, resize_px, crop_px))
    assert 0 <= px < num_px
    assert abs(px - at) <= min(abs(i - at) for i in range(num_px)) + 1e-9


def test_to_picture_place_is_the_same_place_where_nothing_is_resized() -> None:
    assert [to_picture_place(p, 224, 224, 224) for p in (0, 100, 223)] == [0, 100, 223]
    assert [to_picture_place(p, 256, 256, 224) for p in (0, 100, 223)] == [16, 116, 239]


@example(100_000, 1024, 0)  # beyond what float32 tells apart
@given(st.integers(1, 100_000), st.integers(32, 1200), st.integers(0, 60))
def test_to_places_is_the_place_that_a_px_centre_lies_in(
    num_px: int, resize_px: int, cut: int
) -> None:
    crop_px = max(32, resize_px - cut)
    in_the_resized = (2 * np.arange(num_px) + 1) * resize_px // (2 * num_px)
    wanted = (in_the_resized - (resize_px - crop_px) // 2).clip(0, crop_px - 1)
    assert np.array_equal(to_places(num_px, resize_px, crop_px), wanted)


def test_a_restricted_spreader_takes_means_over_known_places_and_is_0_elsewhere() -> None:
    spreader = Spreader(
        torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]), torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    )
    known = torch.tensor([[True, False], [False, True], [True, True]])
    wanted = torch.tensor([[True, True], [True, False]])
    values = torch.tensor([[1.0, 0.0], [0.0, 6.0], [3.0, 9.0]])
    # Weights of a row times those of a column, over the known places alone.
    top_right = (0.5 * 0.25 * 1 + 0.5 * 0.75 * 6) / (0.5 * 0.25 + 0.5 * 0.75)
    expected = torch.tensor([[1.0, top_right], [3.0, 0.0]])
    torch.testing.assert_close(spreader.restrict(known, wanted)(values), expected)


def test_a_coarse_place_is_covered_by_one_px_of_the_region() -> None:
    roi = np.zeros((6, 9), bool)
    roi[1, 2], roi[5, 8] = True, True
    wanted = [[True, False, False], [False, False, True]]
    assert covered(roi, (2, 3)).tolist() == wanted


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.data())
def test_places_cover_the_px_that_pooling_does(size: tuple[int, int], data: st.DataObject) -> None:
    h, w = (data.draw(st.integers(1, side)) for side in size)
    roi = np.random.default_rng(data.draw(st.integers(0, 99))).random(size) < 0.1
    pooled = F.adaptive_max_pool2d(torch.from_numpy(roi)[None].float(), (h, w))[0] > 0
    assert np.array_equal(covered(roi, (h, w)), pooled.numpy())


@pytest.mark.parametrize("placement", ["bilinear", "nearest"])
@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
@pytest.mark.parametrize(
    ("size", "finer"),
    [((8, 12), (64, 96)), ((4, 6), (64, 96)), ((4, 6), (8, 12)), ((5, 3), (5, 3))],
)
def test_spreader_upsamples_and_blurs_as_interpolate_and_scipy_do(
    placement: Placement, sigma: float, size: tuple[int, int], finer: tuple[int, int]
) -> None:
    scores = torch.rand(2, *size)
    spread = make_spreader(size, finer, sigma, placement, CPU)(scores)
    assert spread.shape == (2, *finer)
    corners = False if placement == "bilinear" else None
    for one, result in zip(scores.double(), spread, strict=True):
        wide = F.interpolate(one[None, None], finer, mode=placement, align_corners=corners)
        wanted = wide[0, 0].numpy()
        if sigma > 0:
            wanted = gaussian_filter(wanted, sigma, mode="reflect", truncate=4)
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_nearest_placement_without_blur_repeats_each_place() -> None:
    scores = torch.arange(6.0).view(1, 2, 3)
    spread = make_spreader((2, 3), (4, 9), 0, "nearest", CPU)(scores)
    for y, x in product(range(4), range(9)):
        assert float(spread[0, y, x]) == float(scores[0, y // 2, x // 3])


@pytest.mark.parametrize("placement", ["bilinear", "nearest"])
@pytest.mark.parametrize("sigma", [0.0, 4.0])
def test_a_large_map_is_spread_block_by_block(placement: Placement, sigma: float) -> None:
    spread = make_spreader((130, 20), (1300, 200), sigma, placement, torch.device("cpu"))
    maps = torch.rand(2, 3, 130, 20)
    assert len(spread._blocks[0]) == 6
    torch.testing.assert_close(spread(maps), spread.rows @ maps @ spread.columns.mT)
    known = torch.rand(130, 20) > 0.3
    whole = spread(known.float())
    restricted = spread.restrict(known, whole > 0.1)
    wanted = torch.where(whole > 0.1, (spread.rows @ (maps * known) @ spread.columns.mT) / whole, 0)
    torch.testing.assert_close(restricted(maps * known), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("num", "block"), [(8, 4), (9, 4), (3, 4), (1, 1)])
def test_means_of_blocks_are_means_of_what_is_there(num: int, block: int) -> None:
    line = np.random.default_rng(0).random(num)
    wanted = [line[first : first + block].mean() for first in range(0, num, block)]
    np.testing.assert_allclose(mean_matrix(num, block) @ line, wanted)
