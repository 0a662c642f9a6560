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

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import Array, host
from fapm_cli.config import Query
from fapm_cli.scores.geometry import covered

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


@dataclass(frozen=True)
class Calibration:
    """Factors that turn a score at a place into how unusual it is there.

    Attributes:
        factors: (h, w) float32, around 1; small where good parts differ much.
        place_share: ρ, 0 to 1, the share of the nominal response's variance that lies between
            places. Near 1 for aligned parts, near 0 where parts lie at any angle.
        extents: what is usual of wide extents; None where that is not known.
    """

    factors: Array
    place_share: float
    extents: Extents | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked of the maps of pictures of one size, however that is computed.

    Attributes:
        finest: which of the memories' maps has the most places.
        factors: (h, w) float32, of its places; None for none.
        extents: what is usual of wide extents; None where only spots are judged.
        inside: of each map (h_j, w_j) bool, places that have something inspected; None for all.
        num_px: that are inspected.
    """

    finest: int
    factors: NDArray[np.float32] | None
    extents: Extents | None
    inside: list[NDArray[np.bool_] | None]
    num_px: int

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        map_sizes: Sequence[tuple[int, int]],
        query: Query,
        calibration: Calibration,
        roi: NDArray[np.bool_] | None,
        *,
        extents: bool,
    ) -> Asked:
        """Find it out.

        Args:
            size: H, W of the input.
            map_sizes: (h, w) of each memory's map.
            query: how to score.
            calibration: of each place.
            roi: (H, W) bool, what is inspected; None for all.
            extents: whether wide extents may be judged, if it knows what is usual of them.
        """
        local = query.calibration == "local"
        wide = extents and local and query.image_score == "extents"
        return cls(
            map_sizes.index(max(map_sizes)),
            host(calibration.factors).astype(np.float32) if local else None,
            calibration.extents if wide else None,
            [None if roi is None else covered(roi, one) for one in map_sizes],
            size[0] * size[1] if roi is None else int(roi.sum()),
        )


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
