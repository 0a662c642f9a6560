"""Upsampling, blur and the way back to the picture, as matrices.

All three are linear and separable: ``map_out = A_h · map · A_wᵀ``. Each side's steps multiply into
one small matrix, made once, that works at any output size on any device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sampling_matrix(num_out: int, num_in: int, scale: float, offset: float) -> Tensor:
    """Sample a line of values at evenly spaced points, linearly in between, clamped at the ends.

    Output j sits at input coordinate ``(j + 0.5) · scale - 0.5 - offset`` (value centres at whole
    numbers), so ``scale = num_in / num_out`` and ``offset = 0`` is bilinear resizing.

    Args:
        num_out: values wanted.
        num_in: values given.
        scale: input values per output value.
        offset: input values cut off before the first one given.

    Returns:
        (num_out, num_in) float64; every row sums to 1.
    """
    at = (torch.arange(num_out, dtype=torch.float64) + 0.5) * scale - 0.5 - offset
    at = at.clamp(0, num_in - 1)
    low = at.floor().long().clamp(max=max(num_in - 2, 0))
    high = (low + 1).clamp(max=num_in - 1)
    share = (at - low).unsqueeze(1)
    eye = torch.eye(num_in, dtype=torch.float64)
    return eye[low] * (1 - share) + eye[high] * share


def resize_matrix(num_out: int, num_in: int) -> Tensor:
    """Resize a line bilinearly: (num_out, num_in) float64, as ``align_corners=False`` does."""
    return sampling_matrix(num_out, num_in, num_in / num_out, 0.0)


def repeat_matrix(num_out: int, num_in: int) -> Tensor:
    """Resize a line by its nearest value: (num_out, num_in) float64."""
    nearest = (torch.arange(num_out) * num_in) // num_out
    return torch.eye(num_in, dtype=torch.float64)[nearest]


def gaussian_matrix(num: int, sigma: float) -> Tensor:
    """Blur a line with a Gaussian cut at 4σ, mirrored at the ends (edge value repeated).

    Args:
        num: values in the line.
        sigma: standard deviation in values; 0 blurs nothing.

    Returns:
        (num, num) float64; every row sums to 1.
    """
    if sigma == 0:
        return torch.eye(num, dtype=torch.float64)
    radius = int(4 * sigma + 0.5)
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (steps.double() / sigma) ** 2)
    kernel /= kernel.sum()
    place = (torch.arange(num).unsqueeze(1) + steps) % (2 * num)
    mirrored = torch.where(place < num, place, 2 * num - 1 - place)
    blur = torch.zeros(num, num, dtype=torch.float64)
    return blur.scatter_add_(1, mirrored, kernel.expand(num, -1))


def inspected_span(num_px: int, resize_px: int, crop_px: int) -> tuple[int, int]:
    """First and one-past-last px of a picture's side that lies inside the centre crop.

    Args:
        num_px: the picture's own side.
        resize_px: the side it is resized to.
        crop_px: the side cut from the centre of that.
    """
    margin = (resize_px - crop_px) // 2
    scale = resize_px / num_px
    first = math.ceil(margin / scale - 0.5)
    last = math.floor((margin + crop_px) / scale - 0.5)
    return max(first, 0), min(last + 1, num_px)


def picture_matrix(num_px: int, resize_px: int, crop_px: int) -> Tensor:
    """Take a line of the (cropped) input back to the picture's own pixels.

    Args:
        num_px: the picture's own side.
        resize_px: the side it was resized to.
        crop_px: the side cut from the centre of that, the map's own side.

    Returns:
        (num_px, crop_px) float64; outside :func:`inspected_span` the edge value goes on.
    """
    margin = (resize_px - crop_px) // 2
    return sampling_matrix(num_px, crop_px, resize_px / num_px, float(margin))


def to_picture_px(place: int, num_px: int, resize_px: int, crop_px: int) -> int:
    """Turn a place on the map's side into the picture's own px (the nearest centre)."""
    margin = (resize_px - crop_px) // 2
    own = (place + margin + 0.5) * num_px / resize_px - 0.5
    return min(max(round(own), 0), num_px - 1)
