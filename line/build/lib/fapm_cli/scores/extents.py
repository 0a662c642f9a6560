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

TOP_SHARE = 0.005
"""Of a spot: the area of the blur, a disc of 2σ."""
AREA_SHARE = 0.05
BLOCK_PX = 4
"""Side of the blocks that an area is told by: the map is blurred, so that their means tell as much,
and cost less."""
TINY = 1e-12
"""Least mean whose logarithm is taken."""
MOST_LOG = 30.0

EXTENTS = ("spot", "area", "whole")
FEWEST_PARTS = 10  # of fewer, nothing is to be had of how they vary
LEAST_SPREAD = 0.02  # light and camera vary a little from day to day, whatever was learnt
_RATE, _WIDE_RATE = 0.009, 0.0005  # of false alarms, for spots and for each of the wider extents


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


def px_of_share(share: float, num_px: int, most_px: int = 0) -> int:
    """How many px a share of so many is: at least 1, at most ``most_px``; 0 for any number."""
    wanted = max(1, round(share * num_px))
    return min(wanted, most_px or wanted)


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
