"""Turned copies: for parts that lie at any angle, where there are few pictures to learn them from.

Beyond the paper. A copy gives keys and no more: pictures alone are counted, judged, and spread in a
metric, and a picture's copies are left out together with it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def angles(step: int) -> range:
    """By how many degrees copies are turned: the multiples of a step below 360; none for 0."""
    return range(step, 360, step) if step else range(0)


def turned_copies(pixels: Tensor, step: int) -> Tensor:
    """Turn a picture about its middle; what comes in from outside goes on from the rim.

    Args:
        pixels: (H, W, 3) uint8.
        step: degrees.

    Returns:
        (V, H, W, 3) uint8, one per angle, counter-clockwise.
    """
    height, width = pixels.shape[:2]
    middle, picture = ((width - 1) / 2, (height - 1) / 2), np.ascontiguousarray(pixels.cpu())
    copies = [
        cv2.warpAffine(
            picture,
            cv2.getRotationMatrix2D(middle, angle, 1.0),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for angle in angles(step)
    ]
    return torch.from_numpy(np.stack(copies))


def cells_before(cells: Tensor, copies: Tensor, step: int, size: tuple[int, int]) -> Tensor:
    """Where on a map what a copy shows lay before it was turned.

    Args:
        cells: (n,) int64, row · w + column on the copy's map.
        copies: (n,) int64, the number of each one's copy, from 0.
        step: degrees.
        size: (h, w) of the map.

    Returns:
        (n,) int64; the next place at the rim where it came from outside.
    """
    height, width = size
    turn = torch.deg2rad((copies + 1) * float(step))
    y, x = cells // width - (height - 1) / 2, cells % width - (width - 1) / 2
    # Rows go down: what was turned counter-clockwise is taken back clockwise.
    row = torch.sin(turn) * x + torch.cos(turn) * y + (height - 1) / 2
    column = torch.cos(turn) * x - torch.sin(turn) * y + (width - 1) / 2
    return row.round().long().clamp(0, height - 1) * width + column.round().long().clamp(
        0, width - 1
    )
