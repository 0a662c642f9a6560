"""Defects of every extent: a spot, an area, the whole picture.

Beyond the paper. A scratch is seen in the largest 0.5 % of the anomaly map; a wrong colour or a
dirty part is weak everywhere, and only the mean of much of the map tells it from good parts. So
each extent's mean is judged by how good parts spread in it, and the most unusual one speaks. What
is said three times is more often wrong: nine tenths of the false alarms are for spots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.scores.image_score import top_score
from fapm_cli.scores.shares import AREA_SHARE, BLOCK_PX, MOST_LOG, TINY, TOP_SHARE

EXTENTS = ("spot", "area", "whole")
FEWEST_PARTS = 10  # of fewer, nothing is to be had of how they vary
_RATE, _WIDE_RATE = 0.009, 0.0005  # of false alarms, for spots and for each of the wider extents
_LEAST_SPREAD = 0.02  # light and camera vary a little from day to day, whatever was learnt


@dataclass(frozen=True)
class Extents:
    """How the means of good parts' maps lie, by extent.

    Attributes:
        means: of the logarithms, of each of :data:`EXTENTS`.
        spreads: their standard deviations, above 0.
        num_parts: that these were taken from.
        behind: by how many standard deviations a wider extent must be more unusual than a spot.
    """

    means: tuple[float, ...]
    spreads: tuple[float, ...]
    num_parts: int
    behind: float = field(init=False)

    def __post_init__(self) -> None:
        """Work out what is asked for every picture."""
        freedom = self.num_parts - 1
        spot, wide = (student_quantile(1 - rate, freedom) for rate in (_RATE, _WIDE_RATE))
        object.__setattr__(self, "behind", wide - spot)

    @classmethod
    def of(cls, part_means: Tensor) -> Extents | None:
        """Take them from (N, 3) means of good parts; None for too few parts."""
        num_parts = len(part_means)
        if num_parts < FEWEST_PARTS:
            return None
        logs = part_means.double().clamp(min=TINY).log()
        spreads = logs.std(dim=0).clamp(min=_LEAST_SPREAD)
        return cls(tuple(logs.mean(dim=0).tolist()), tuple(spreads.tolist()), num_parts)

    def as_spots(self, means: Tensor) -> Tensor:
        """(B, 3) means of pictures' maps, each as the spot that would be as unusual.

        A mean that lies z standard deviations above good parts' (of logarithms) is as unusual as a
        spot that lies ``behind`` less above theirs. That is the distance between the quantiles
        that leave 0.05 % and 0.9 % of good parts above, of Student's t: of few parts little is
        known.
        """
        spot, *others = zip(self.means, self.spreads, strict=True)
        values = [means[:, 0]]
        for number, (mean, spread) in enumerate(others, start=1):
            unusual = (means[:, number].clamp(min=TINY).log() - mean) / spread - self.behind
            values.append((spot[0] + spot[1] * unusual).clamp(max=MOST_LOG).exp())
        return torch.stack(values, dim=1)


def extent_means(maps: Tensor, num_inspected: int | None = None, spot_px: int = 0) -> Tensor:
    """Means of anomaly maps over their largest 0.5 %, 5 % and all of what is inspected.

    Args:
        maps: (B, H, W) float32.
        num_inspected: px that shares are of, where the others are 0; None for all.
        spot_px: that a spot is at most; 0 for any number.

    Returns:
        (B, 3) float32.
    """
    blocks = F.avg_pool2d(maps.unsqueeze(1), BLOCK_PX, ceil_mode=True).squeeze(1)
    num_px = num_inspected or maps.shape[1] * maps.shape[2]
    area = top_score(blocks, max(num_px // BLOCK_PX**2, 1), AREA_SHARE)
    whole = maps.sum(dim=(1, 2)) / num_px
    spot = top_score(maps, num_inspected, TOP_SHARE, spot_px)
    return torch.stack([spot, area, whole], dim=1)


def which_extent(as_spots: Sequence[float]) -> str:
    """Name the extent that speaks: the first that is largest."""
    return EXTENTS[max(range(len(as_spots)), key=lambda i: as_spots[i])]


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t, by its expansion about the normal one (Abramowitz and Stegun,
    26.7.5): within 0.5 % from 9 degrees of freedom on.
    """
    x = NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return float(x + sum(term / freedom**power for power, term in enumerate(terms, start=1)))
