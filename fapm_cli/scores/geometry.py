"""Upsampling, blur and the way back to the picture, as matrices.

All three are linear and separable: ``map_out = A_h · map · A_wᵀ``. Each side's steps multiply into
one small matrix, made once, that works at any output size on any device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.config import Placement

_BLOCK = 256  # places of a side at a time
_LARGE = 1024  # places of a side from which on that is worth it


class Spreader(nn.Module):
    """Spreads a map over another: upsampling and blur as two small matrices.

    Attributes:
        rows: (H, h) float32.
        columns: (W, w) float32.
        gain: (H, W) float32, a factor per place; None where it is 1 everywhere.
    """

    rows: Tensor
    columns: Tensor
    gain: Tensor | None

    def __init__(self, rows: Tensor, columns: Tensor, gain: Tensor | None = None):
        """Take the matrices, as above."""
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.register_buffer("gain", gain)
        # What is far away has no weight: in large maps, to multiply by its zeros is most of the
        # work. In small ones, one product each is faster.
        large = max(len(rows), len(columns)) > _LARGE
        self._blocks = [_blocks(side) for side in (rows, columns)] if large else []

    def forward(self, score_map: Tensor) -> Tensor:
        """Spread (..., h, w) to (..., H, W): ``A_h · map · A_wᵀ``."""
        if not self._blocks:
            spread = self.rows @ score_map @ self.columns.mT
            return spread if self.gain is None else spread * self.gain
        spread = score_map.new_empty(*score_map.shape[:-2], len(self.rows), len(self.columns))
        for out, fed in self._blocks[0]:
            part = self.rows[out, fed] @ score_map[..., fed, :]
            for across, seen in self._blocks[1]:
                spread[..., out, across] = part[..., seen] @ self.columns[across, seen].mT
        return spread if self.gain is None else spread.mul_(self.gain)

    def restrict(self, known: Tensor, wanted: Tensor) -> Spreader:
        """Spread what is known only: each place's weighted mean over the known places.

        Nothing leaks in from places that are not known, and nothing fades beside them.

        Args:
            known: (h, w) bool; maps must be 0 elsewhere.
            wanted: (H, W) bool, places that a known one reaches; the result is 0 elsewhere.
        """
        share = self(known.to(self.rows.dtype))
        return Spreader(self.rows, self.columns, torch.where(wanted, 1 / share, 0))


def _blocks(side: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of places of an (n, m) side, and the spans that they are made of."""
    blocks = []
    for first in range(0, len(side), _BLOCK):
        out = slice(first, min(first + _BLOCK, len(side)))
        fed = side[out].any(dim=0).nonzero().flatten()
        blocks.append((out, slice(int(fed[0]), int(fed[-1]) + 1)))
    return blocks


def make_spreader(
    size: tuple[int, int],
    finer: tuple[int, int],
    sigma: float,
    placement: Placement,
    device: torch.device,
) -> Spreader:
    """Make the matrices that bring a map to a finer one and blur it there.

    Args:
        size: h, w of the map.
        finer: H, W wanted.
        sigma: Gaussian's standard deviation in places of the finer map; 0 blurs nothing.
        placement: bilinear, or the nearest place's value.
        device: where they will be used.
    """
    # Paper open: how coarse scores are placed. The official repeat mixes places up in a patch.
    upsample = resize_matrix if placement == "bilinear" else repeat_matrix
    rows, columns = (
        _blurred(upsample(out, own), sigma).float().to(device)
        for own, out in zip(size, finer, strict=True)
    )
    return Spreader(rows, columns)


def covered(roi: Tensor, size: tuple[int, int]) -> Tensor:
    """Which places of a coarser map have a px of the region: (H, W) bool to ``size`` bool."""
    return F.adaptive_max_pool2d(roi[None].float(), size)[0] > 0


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
    low = at.floor().long()
    high = (low + 1).clamp(max=num_in - 1)
    share = at - low
    matrix = torch.zeros(num_out, num_in, dtype=torch.float64)
    outputs = torch.arange(num_out)
    matrix[outputs, low] = 1 - share
    matrix[outputs, high] += share
    return matrix


def resize_matrix(num_out: int, num_in: int) -> Tensor:
    """Resize a line bilinearly: (num_out, num_in) float64, as ``align_corners=False`` does."""
    return sampling_matrix(num_out, num_in, num_in / num_out, 0.0)


def repeat_matrix(num_out: int, num_in: int) -> Tensor:
    """Resize a line by its nearest value: (num_out, num_in) float64."""
    nearest = (torch.arange(num_out) * num_in) // num_out
    return torch.eye(num_in, dtype=torch.float64)[nearest]


def gaussian_matrix(num: int, sigma: float, first: int = 0, end: int | None = None) -> Tensor:
    """Blur a line with a Gaussian cut at 4σ, mirrored at the ends (edge value repeated).

    Args:
        num: values in the line.
        sigma: standard deviation in values; 0 blurs nothing.
        first, end: the span of values wanted; None for all that follow.

    Returns:
        (end - first, num) float64; every row sums to 1.
    """
    values = torch.arange(first, num if end is None else end).unsqueeze(1)
    blur = torch.zeros(len(values), num, dtype=torch.float64)
    if sigma == 0:
        return blur.scatter_(1, values, 1.0)
    radius = int(4 * sigma + 0.5)
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (steps.double() / sigma) ** 2)
    kernel /= kernel.sum()
    place = (values + steps) % (2 * num)
    mirrored = torch.where(place < num, place, 2 * num - 1 - place)
    return blur.scatter_add_(1, mirrored, kernel.expand(len(values), -1))


def _blurred(matrix: Tensor, sigma: float) -> Tensor:
    """Blur what an (n, m) float64 matrix gives, some rows of the blur at a time."""
    num, reach, blurred = len(matrix), int(4 * sigma + 0.5), []
    for first in range(0, num, _LARGE):
        end = min(first + _LARGE, num)
        near = slice(max(first - reach, 0), min(end + reach, num))
        blurred.append(gaussian_matrix(num, sigma, first, end)[:, near] @ matrix[near])
    return torch.cat(blurred)


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


def to_places(num_px: int, resize_px: int, crop_px: int) -> Tensor:
    """Turn each px of the picture's side into the place of the map's side that it lies in.

    Returns:
        (num_px,) int64; outside :func:`inspected_span` the first or last place.
    """
    margin = (resize_px - crop_px) // 2
    at = (torch.arange(num_px, dtype=torch.float64) + 0.5) * resize_px / num_px - margin
    return at.floor().long().clamp(0, crop_px - 1)


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


def to_picture_place(place: int, num_px: int, resize_px: int, crop_px: int) -> float:
    """Turn a place on the map's side into one of the picture's own side, px centres whole."""
    margin = (resize_px - crop_px) // 2
    return (place + margin + 0.5) * num_px / resize_px - 0.5
