"""Shares of a map that an image score is the mean of; plain numbers, without torch."""

from __future__ import annotations

from collections.abc import Sequence

TOP_SHARE = 0.005
"""Of a spot: the area of the blur, a disc of 2σ."""
AREA_SHARE = 0.05
BLOCK_PX = 4
"""Side of the blocks that an area is told by: the map is blurred, so that their means tell as much,
and cost less."""
TINY = 1e-12
"""Least mean whose logarithm is taken."""
MOST_LOG = 30.0


def share_weights(layer_weights: Sequence[float]) -> tuple[float, ...]:
    """Scale layer weights to a sum of 1, so that scores keep their unit."""
    return tuple(w / sum(layer_weights) for w in layer_weights)


def px_of_share(share: float, num_px: int, most_px: int = 0) -> int:
    """How many px a share of so many is: at least 1, at most ``most_px``; 0 for any number."""
    wanted = max(1, round(share * num_px))
    return min(wanted, most_px or wanted)
