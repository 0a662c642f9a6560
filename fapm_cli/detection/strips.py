"""Strips: an anomaly map taken to a picture's own px, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.pictures.fitting.pose import Pose
from fapm_cli.scores.geometry import Spreader, inspected_span, picture_matrix, to_places

_STRIP_PX = 2**17  # of a picture's map at a time: more would not be faster

Sides = tuple[tuple[int, int, int], ...]
Strips = Iterator[tuple[int, NDArray[np.float32]]]


def strips_of(anomaly_map: Tensor, roi: Tensor | None, sides: Sides, pose: Pose) -> Strips:
    """Take an anomaly map to a picture's own pixels, some rows at a time, from the top.

    Args:
        anomaly_map: (H, W) over the input.
        roi: (H, W) bool, what is inspected; None for all.
        sides: height and width: the picture's own px, resized, cropped.
        pose: how the part lies in the picture, beside how it does in the input.

    Yields:
        The first row's number, and (n, width) float32; NaN where the picture was not inspected.
    """
    roi = None if roi is None else roi.to(anomaly_map.device)
    return (_turned if pose.turn else _shifted)(anomaly_map, roi, sides, pose)


def _tops(sides: Sides) -> Iterator[slice]:
    """The rows of each strip."""
    height, width = sides[0][0], sides[1][0]
    at_a_time = max(1, _STRIP_PX // width)
    return (slice(top, min(top + at_a_time, height)) for top in range(0, height, at_a_time))


def _shifted(anomaly_map: Tensor, roi: Tensor | None, sides: Sides, pose: Pose) -> Strips:
    """By two matrices, since rows stay rows."""
    device = anomaly_map.device
    # What lies at a px of the picture lay so much higher and farther left in the input.
    at = [
        (torch.arange(own) - shift).clamp(0, own - 1)
        for (own, _, _), shift in zip(sides, pose.shift_px, strict=True)
    ]
    rows, columns = (
        picture_matrix(*side).float()[px].to(device) for side, px in zip(sides, at, strict=True)
    )
    own_rows, own_columns = (
        to_places(*side)[px].to(device) for side, px in zip(sides, at, strict=True)
    )
    (first, end), (left, right) = (
        (max(begin + shift, 0), max(last + shift, 0))
        for (begin, last), shift in zip(starmap(inspected_span, sides), pose.shift_px, strict=True)
    )
    for some in _tops(sides):
        spread = Spreader(rows[some], columns)
        if roi is None:
            strip = spread(anomaly_map)
        else:
            own = roi[own_rows[some]][:, own_columns]
            strip = spread.restrict(roi, own)(anomaly_map).masked_fill(~own, torch.nan)
        strip[: max(first - some.start, 0)] = torch.nan
        strip[max(end - some.start, 0) :] = torch.nan
        strip[:, :left] = torch.nan
        strip[:, right:] = torch.nan
        yield some.start, strip.cpu().numpy()


def _turned(anomaly_map: Tensor, roi: Tensor | None, sides: Sides, pose: Pose) -> Strips:
    """By sampling the map, bilinearly as above, at each px."""
    device, size_px = anomaly_map.device, (sides[0][0], sides[1][0])
    known = anomaly_map.new_ones(anomaly_map.shape) if roi is None else roi.to(anomaly_map.dtype)
    to_upright = torch.from_numpy(pose.inverse(size_px)).to(device)
    for some in _tops(sides):
        y = torch.arange(some.start, some.stop, dtype=torch.float64, device=device)[:, None]
        x = torch.arange(size_px[1], dtype=torch.float64, device=device)
        # In px of the map, of which the first begins at 0.
        down, across = (
            (by_x * x + by_y * y + off + 0.5) * resized / own - (resized - cropped) // 2
            for (by_x, by_y, off), (own, resized, cropped) in zip(
                to_upright.flip(0), sides, strict=True
            )
        )
        height, width = anomaly_map.shape
        inspected = (down >= 0) & (down <= height) & (across >= 0) & (across <= width)
        if roi is not None:
            places = down.long().clamp(0, height - 1), across.long().clamp(0, width - 1)
            inspected &= roi[places]
        grid = torch.stack([across * 2 / width - 1, down * 2 / height - 1], dim=2)
        both = F.grid_sample(
            torch.stack([anomaly_map, known])[None],
            grid[None].to(anomaly_map.dtype),
            padding_mode="border",
            align_corners=False,
        )[0]
        strip = (both[0] / both[1]).masked_fill(~inspected, torch.nan)
        yield some.start, strip.cpu().numpy()
