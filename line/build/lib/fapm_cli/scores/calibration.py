"""What local calibration and the extents leave in a bank."""

from __future__ import annotations

from dataclasses import dataclass

from fapm_cli.arrays import Array
from fapm_cli.scores.extents import Extents


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
