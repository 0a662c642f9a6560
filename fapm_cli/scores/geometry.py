"""Upsampling, blur and the way back to the picture: a line of values at a time.

All three are linear and separable: ``map_out = A_h · map · A_wᵀ``. Upsampling and blur multiply
into one small matrix a side, made once, that works on any device; a picture's own px each lie
between two places of a side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Placement

Matrix = NDArray[np.float64]
Samples = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating[Any]]]
_AT_A_TIME = 1024  # rows of a blur
LEAST_SHOWN = 1e-3  # of a place's mean that comes from places that are shown, for it to tell


def spreading_matrices(
    size: tuple[int, int], finer: tuple[int, int], sigma: float, placement: Placement
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The matrices, A_h and A_w, that bring a map to a finer one and blur it there.

    Args:
        size: h, w of the map.
        finer: H, W wanted.
        sigma: Gaussian's standard deviation in places of the finer map; 0 blurs nothing.
        placement: bilinear, or the nearest place's value.

    Returns:
        (H, h) and (W, w), float32.
    """
    # Paper open: how coarse scores are placed. The official repeat mixes places up in a patch.
    upsample = resize_matrix if placement == "bilinear" else repeat_matrix
    rows, columns = (
        _blurred(upsample(out, own), sigma).astype(np.float32)
        for own, out in zip(size, finer, strict=True)
    )
    return rows, columns


def covered(roi: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which places of a coarser map have a px of the region: (H, W) bool to ``size`` bool.

    A place reaches over every px that it has a part of.
    """
    counts = np.pad(roi.cumsum(axis=0, dtype=np.int64).cumsum(axis=1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = (
        (np.arange(out) * own // out, -(-np.arange(1, out + 1) * own // out))
        for out, own in zip(size, roi.shape, strict=True)
    )
    above, below = counts[top], counts[bottom]
    inside: NDArray[np.bool_] = (
        below[:, right] - below[:, left] - above[:, right] + above[:, left] > 0
    )
    return inside


def samples(num_out: int, num_in: int, scale: float, offset: float) -> Samples:
    """Where on a line of values evenly spaced points lie, clamped at the ends.

    Output j sits at input coordinate ``(j + 0.5) · scale - 0.5 - offset`` (value centres at whole
    numbers), so ``scale = num_in / num_out`` and ``offset = 0`` is bilinear resizing.

    Args:
        num_out: values wanted.
        num_in: values given.
        scale: input values per output value.
        offset: input values cut off before the first one given.

    Returns:
        The values below and above each point, (num_out,) int64 each, and the share that the one
        above has in it, float64.
    """
    return between((np.arange(num_out) + 0.5) * scale - 0.5 - offset, num_in)


def between(at: NDArray[np.floating[Any]], num_in: int) -> Samples:
    """As :func:`samples`, of points anywhere."""
    at = at.clip(0, num_in - 1)
    low = np.floor(at).astype(np.int64)
    return low, np.minimum(low + 1, num_in - 1), at - low


def resize_matrix(num_out: int, num_in: int) -> Matrix:
    """Resize a line bilinearly: (num_out, num_in) float64, as ``align_corners=False`` does."""
    low, high, share = samples(num_out, num_in, num_in / num_out, 0.0)
    matrix, outputs = np.zeros((num_out, num_in)), np.arange(num_out)
    matrix[outputs, low] = 1 - share
    matrix[outputs, high] += share
    return matrix


def repeat_matrix(num_out: int, num_in: int) -> Matrix:
    """Resize a line by its nearest value: (num_out, num_in) float64."""
    matrix: Matrix = np.eye(num_in)[np.arange(num_out) * num_in // num_out]
    return matrix


def mean_matrix(num_in: int, block: int) -> Matrix:
    """Means of a line's blocks, of which the last may be shorter: (⌈num_in / block⌉, num_in)."""
    of = np.arange(num_in) // block == np.arange(-(-num_in // block))[:, None]
    return np.asarray(of / of.sum(axis=1, keepdims=True))


def gaussian_matrix(num: int, sigma: float, first: int = 0, end: int | None = None) -> Matrix:
    """Blur a line with a Gaussian cut at 4σ, mirrored at the ends (edge value repeated).

    Args:
        num: values in the line.
        sigma: standard deviation in values; 0 blurs nothing.
        first, end: the span of values wanted; None for all that follow.

    Returns:
        (end - first, num) float64; every row sums to 1.
    """
    values = np.arange(first, num if end is None else end)[:, None]
    blur = np.zeros((len(values), num))
    if sigma == 0:
        np.put_along_axis(blur, values, 1.0, axis=1)
        return blur
    radius = int(4 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    place = (values + steps) % (2 * num)
    mirrored = np.where(place < num, place, 2 * num - 1 - place)
    np.add.at(blur, (values - first, mirrored), kernel / kernel.sum())
    return blur


def _blurred(matrix: Matrix, sigma: float) -> Matrix:
    """Blur what an (n, m) float64 matrix gives, some rows of the blur at a time."""
    num, reach, blurred = len(matrix), int(4 * sigma + 0.5), []
    for first in range(0, num, _AT_A_TIME):
        end = min(first + _AT_A_TIME, num)
        near = slice(max(first - reach, 0), min(end + reach, num))
        blurred.append(gaussian_matrix(num, sigma, first, end)[:, near] @ matrix[near])
    return np.concatenate(blurred)


def inspected_span(num_px: int, resize_px: int, crop_px: int) -> tuple[int, int]:
    """First and one-past-last px of a picture's side that lies inside the centre crop.

    Args:
        num_px: the picture's own side.
        resize_px: the side it is resized to.
        crop_px: the side cut from the centre of that.
    """
    return to_picture_span(0, crop_px, num_px, resize_px, crop_px)


def to_picture_span(
    first: int, end: int, num_px: int, resize_px: int, crop_px: int
) -> tuple[int, int]:
    """Turn a span of the map's side into the picture's own px, those with their centre in it.

    Args:
        first: first place of the span.
        end: one past its last.
        num_px: the picture's own side.
        resize_px: the side it was resized to.
        crop_px: the side cut from the centre of that, the map's own side.

    Returns:
        First and one-past-last px; equal where no centre lies in the span.
    """
    margin = (resize_px - crop_px) // 2
    scale = resize_px / num_px
    first_px = math.ceil((margin + first) / scale - 0.5)
    last_px = math.floor((margin + end) / scale - 0.5)
    return max(first_px, 0), min(last_px + 1, num_px)


def picture_samples(num_px: int, resize_px: int, crop_px: int) -> Samples:
    """Where on a line of the (cropped) input each px of the picture's own side lies.

    Args:
        num_px: the picture's own side.
        resize_px: the side it was resized to.
        crop_px: the side cut from the centre of that, the map's own side.

    Returns:
        (num_px,) each, as of :func:`samples`; outside :func:`inspected_span` the edge value's.
    """
    margin = (resize_px - crop_px) // 2
    return samples(num_px, crop_px, resize_px / num_px, float(margin))


def to_places(num_px: int, resize_px: int, crop_px: int) -> NDArray[np.int64]:
    """Turn each px of the picture's side into the place of the map's side that it lies in.

    Returns:
        (num_px,) int64; outside :func:`inspected_span` the first or last place.
    """
    margin = (resize_px - crop_px) // 2
    at = (np.arange(num_px) + 0.5) * resize_px / num_px - margin
    return np.floor(at).astype(np.int64).clip(0, crop_px - 1)


def to_picture_place(place: int, num_px: int, resize_px: int, crop_px: int) -> float:
    """Turn a place on the map's side into one of the picture's own side, px centres whole."""
    margin = (resize_px - crop_px) // 2
    return (place + margin + 0.5) * num_px / resize_px - 0.5
