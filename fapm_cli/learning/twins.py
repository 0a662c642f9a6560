"""Near twins: several shots of one part among pictures of good parts.

Two shots of one part differ by noise, and noise averages out: over a block of px it falls with the
square root of their number. What tells two parts apart does not: it has a shape. So two pictures
are near twins whose blocks' means differ no more than such noise would, and which differ far less,
coarsely and finely, than is usual in the set; where all parts differ by noise alone, none do.
docs/accuracy.md has the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.memory.vectors import Gathered

_BLOCK_PX = 14
_MOST_BLOCKS = 16  # a side
_SAMPLES = 32  # px a side
# Blocks' means of two shots differ 1 to 2.0 times as much as white noise, which resizing and
# compression make somewhat coarse; those of two parts 3.1 to 10 times (docs/accuracy.md).
_COARSER = 2.5
_FAR_BELOW = 0.5
# A set of two parts has hardly more pairs of different parts than of one: more than the median.
_USUAL = 0.75
_STRIDES = 32
_AT_A_TIME = 256
_ROUNDING = 0.01  # grey levels, squared


@dataclass(frozen=True)
class Looks:
    """What tells near twins, of N pictures.

    Attributes:
        means: (N, a) float32, mean grey level of each block.
        details: (N, b) float32, single px less their block's mean.
        block_px: px in a block.
    """

    means: Tensor
    details: Tensor
    block_px: float

    @staticmethod
    def join(parts: Sequence[Looks]) -> Looks:
        """Those of several sets of pictures of one size."""
        means, details = ([getattr(p, name) for p in parts] for name in ("means", "details"))
        return Looks(torch.cat(means), torch.cat(details), parts[0].block_px)


class Looking:
    """Looks of pictures that come one after another, in memory that is taken once."""

    def __init__(self, capacity: int):
        """Take so many pictures at most."""
        self._means, self._details = Gathered(capacity), Gathered(capacity)
        self._block_px: float | None = None

    def add(self, pixels: Tensor) -> None:
        """Look at (B, H, W, 3) uint8 pictures."""
        some = look_at(pixels)
        self._means.add(some.means)
        self._details.add(some.details)
        self._block_px = some.block_px

    def finish(self) -> Looks | None:
        """Those of all; None of none."""
        if self._block_px is None:
            return None
        return Looks(self._means.all(), self._details.all(), self._block_px)


def look_at(pixels: Tensor) -> Looks:
    """Reduce (B, H, W, 3) uint8 pictures to what tells near twins."""
    grey = pixels.cpu().float().mean(dim=3)
    sides = grey.shape[1:]
    down, across = (min(_MOST_BLOCKS, max(1, round(side / _BLOCK_PX))) for side in sides)
    blocks = (down, across)
    means = F.adaptive_avg_pool2d(grey.unsqueeze(1), blocks).squeeze(1)
    rows, columns = (
        torch.arange(min(_SAMPLES, side)) * side // min(_SAMPLES, side) + side // (2 * _SAMPLES)
        for side in sides
    )
    of_rows, of_columns = (
        at * number // side for at, number, side in zip((rows, columns), blocks, sides, strict=True)
    )
    details = grey[:, rows][:, :, columns] - means[:, of_rows][:, :, of_columns]
    block_px = sides[0] * sides[1] / (blocks[0] * blocks[1])
    return Looks(means.flatten(1), details.flatten(1), block_px)


def twin_groups(looks: Looks) -> list[int]:
    """Number the parts that pictures show: near twins, and theirs, have one number.

    Returns:
        N numbers: that of each part's first picture.
    """
    usual_means, usual_details = _usual_sq(looks.means), _usual_sq(looks.details)
    means, details = (
        (part - part.mean(dim=0)).to(dtype)  # products then cancel less
        for part, dtype in ((looks.means, torch.float64), (looks.details, torch.float32))
    )
    numbers = np.arange(len(means))
    for start in range(0, len(means), _AT_A_TIME):
        coarse = _distances_sq(means, start)
        fine = _distances_sq(details, start)
        noise = _COARSER**2 / looks.block_px * fine
        twins = (coarse <= noise + _ROUNDING) & (coarse <= _FAR_BELOW**2 * usual_means)
        twins &= fine <= _FAR_BELOW**2 * usual_details
        for row in twins.numpy():
            joined = np.unique(numbers[row])
            if len(joined) > 1:
                numbers[np.isin(numbers, joined)] = joined[0]
    return [int(number) for number in numbers]


def join_groups(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Number parts so that pictures are of one part where either numbering says so."""
    above: dict[int, int] = {}

    def top(number: int) -> int:
        while (upper := above.setdefault(number, number)) != number:
            above[number] = above[upper]
            number = upper
        return number

    first: dict[int, int] = {}
    for number, number_there in zip(one, other, strict=True):
        above[top(number)] = top(first.setdefault(number_there, number))
    return [top(number) for number in one]


def _usual_sq(values: Tensor) -> float:
    """What the squared distance of two pictures mostly is: pairs at strides all over the set."""
    strides = set(np.linspace(1, max(len(values) - 1, 1), _STRIDES).round().astype(int).tolist())
    found = values.new_empty(len(strides), len(values))  # now, not between what is freed below
    for row, stride in zip(found, sorted(strides), strict=True):
        torch.mean((values - values.roll(stride, 0)).square_(), dim=1, out=row)
    return float(np.quantile(found.numpy(), _USUAL))


def _distances_sq(values: Tensor, start: int) -> Tensor:
    """Mean squared differences of some pictures to all."""
    some = values[start : start + _AT_A_TIME]
    norms = values.square().sum(dim=1)
    own = norms[start : start + _AT_A_TIME].unsqueeze(1)
    return (own + norms - 2 * some @ values.T).clamp(min=0) / values.shape[1]
