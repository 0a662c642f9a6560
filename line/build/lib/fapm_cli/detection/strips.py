"""Strips: an anomaly map taken to a picture's own px, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from fapm_cli.pictures.fitting.pose import Pose
from fapm_cli.scores.geometry import Samples, between, inspected_span, picture_samples, to_places

_STRIP_PX = 2**17  # of a picture's map at a time: more would not be faster

Sides = tuple[tuple[int, int, int], ...]
Map = NDArray[np.float32]
Region = NDArray[np.bool_] | None
Strips = Iterator[tuple[int, NDArray[np.float32]]]


def strips_of(anomaly_map: Map, roi: Region, sides: Sides, pose: Pose) -> Strips:
    """Take an anomaly map to a picture's own pixels, some rows at a time, from the top.

    Args:
        anomaly_map: (H, W) over the input.
        roi: (H, W) bool, what is inspected; None for all.
        sides: height and width: the picture's own px, resized, cropped.
        pose: how the part lies in the picture, beside how it does in the input.

    Yields:
        The first row's number, and (n, width) float32; NaN where the picture was not inspected.
    """
    return (_turned if pose.turn else _shifted)(anomaly_map, roi, sides, pose)


def _tops(sides: Sides) -> Iterator[slice]:
    """The rows of each strip."""
    height, width = sides[0][0], sides[1][0]
    at_a_time = max(1, _STRIP_PX // width)
    return (slice(top, min(top + at_a_time, height)) for top in range(0, height, at_a_time))


def _shifted(anomaly_map: Map, roi: Region, sides: Sides, pose: Pose) -> Strips:
    """Side by side, since rows stay rows."""
    # What lies at a px of the picture lay so much higher and farther left in the input.
    at = [
        (np.arange(own) - shift).clip(0, own - 1)
        for (own, _, _), shift in zip(sides, pose.shift_px, strict=True)
    ]
    rows, columns = (_taken(picture_samples(*side), px) for side, px in zip(sides, at, strict=True))
    own_rows, own_columns = (to_places(*side)[px] for side, px in zip(sides, at, strict=True))
    (first, end), (left, right) = (
        (max(begin + shift, 0), max(last + shift, 0))
        for (begin, last), shift in zip(starmap(inspected_span, sides), pose.shift_px, strict=True)
    )
    known = None if roi is None else roi.astype(np.float32)
    for some in _tops(sides):
        strip = _sampled(anomaly_map, _taken(rows, some), columns)
        if roi is not None and known is not None:
            own = roi[own_rows[some]][:, own_columns]
            of_known = _sampled(known, _taken(rows, some), columns)
            strip = _over(strip, of_known, own)
        strip[: max(first - some.start, 0)] = np.nan
        strip[max(end - some.start, 0) :] = np.nan
        strip[:, :left] = np.nan
        strip[:, right:] = np.nan
        yield some.start, strip


def _taken(samples: Samples, px: NDArray[np.int64] | slice) -> Samples:
    low, high, share = samples
    return low[px], high[px], share[px]


def _sampled(values: Map, rows: Samples, columns: Samples) -> Map:
    """Of (H, W), what lies between rows, and there between columns: (n, m)."""
    low, high, share = rows
    one, down = np.float32(1), share.astype(np.float32)[:, None]
    between_rows = values[low] * (one - down) + values[high] * down
    low, high, share = columns
    across = share.astype(np.float32)
    sampled: Map = between_rows[:, low] * (one - across) + between_rows[:, high] * across
    return sampled


def _over(sums: Map, shares: Map, where: NDArray[np.bool_]) -> Map:
    """Means over what is inspected; NaN elsewhere."""
    means = np.full_like(sums, np.nan)
    np.divide(sums, shares, out=means, where=where)
    return means


def _turned(anomaly_map: Map, roi: Region, sides: Sides, pose: Pose) -> Strips:
    """Px by px."""
    size_px, (height, width) = (sides[0][0], sides[1][0]), anomaly_map.shape
    known = None if roi is None else roi.astype(np.float32)
    to_upright = pose.inverse(size_px)
    for some in _tops(sides):
        y = np.arange(some.start, some.stop, dtype=np.float64)[:, None]
        x = np.arange(size_px[1], dtype=np.float64)
        # In px of the map, of which the first begins at 0.
        down, across = (
            (by_x * x + by_y * y + off + 0.5) * resized / own - (resized - cropped) // 2
            for (by_x, by_y, off), (own, resized, cropped) in zip(
                to_upright[::-1], sides, strict=True
            )
        )
        inspected = (down >= 0) & (down <= height) & (across >= 0) & (across <= width)
        rows, columns = between(down - 0.5, height), between(across - 0.5, width)
        strip = _sampled_each(anomaly_map, rows, columns)
        if roi is not None and known is not None:
            places = (
                down.astype(np.int64).clip(0, height - 1),
                across.astype(np.int64).clip(0, width - 1),
            )
            inspected &= roi[places]
            of_known = _sampled_each(known, rows, columns)
            strip = _over(strip, of_known, inspected)
        yield some.start, np.where(inspected, strip, np.float32(np.nan))


def _sampled_each(values: Map, rows: Samples, columns: Samples) -> Map:
    """As :func:`_sampled`, of (n, m) rows and columns, a pair for each value."""
    (top, bottom, below), (left, right, beyond) = rows, columns
    one, down, across = np.float32(1), below.astype(np.float32), beyond.astype(np.float32)
    upper = values[top, left] * (one - across) + values[top, right] * across
    lower = values[bottom, left] * (one - across) + values[bottom, right] * across
    sampled: Map = upper * (one - down) + lower * down
    return sampled
