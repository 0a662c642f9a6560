"""Suspects: nominal pictures that look unlike the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SUSPECT = 3.5  # robust z-score of an outlier (Iglewicz & Hoaglin, 1993)
# To name a picture costs a glance; to drop a good one that lies as few do, or not to calibrate for
# its sake, costs all that it shows. Of most real sets, 20 good pictures drawn at random hold one
# beyond 3.5 σ in most draws, and one beyond 6 σ in few (docs/accuracy.md).
OUTLIER = 6.0
_NORMAL_MAD = 1.4826
# A spread of few comes out too small: by these factors (Croux & Rousseeuw, 1992), of 5 to 9.
_OF_FEW = {5: 1.206, 6: 1.2, 7: 1.14, 8: 1.129, 9: 1.107}
# Where most pictures are nearly the same, what differs by less than 7 % is no suspect.
_LEAST_SPREAD = 0.02


def find_suspects(
    spots: Sequence[float], levels: Sequence[float], groups: Sequence[int] | None = None
) -> list[tuple[int, float]]:
    """Find the nominal pictures that look unlike the rest: a spot stands out, or all of it does.

    A part that lies as few others do has a high score because much of it is high; a defect is a
    spot that is high for its picture. So the spot is judged as a ratio to the level, and the level
    by itself. Both are positive and skew: their logarithms' distance from the median counts, in
    units of the median absolute deviation scaled to a normal distribution's σ.

    Args:
        spots: each nominal picture's largest values, own keys left out.
        levels: what much of each picture has, likewise.
        groups: the part that each shows, as what is usual is told by parts, not by shots; None
            for a part each.

    Returns:
        Number and robust z-score of each that exceeds 3.5, the most suspicious first. Fewer than
        5 parts have no rest to differ from.
    """
    parts = np.unique(range(len(spots)) if groups is None else groups, return_inverse=True)[1]
    if len(set(parts.tolist())) < 5:
        return []
    log_spots, log_levels = (np.log(np.maximum(v, 1e-12)) for v in (spots, levels))
    away = np.maximum(_robust_z(log_spots - log_levels, parts), _robust_z(log_levels, parts))
    order = np.argsort(-away, kind="stable")
    return [(int(i), float(away[i])) for i in order if away[i] > _SUSPECT]


def _robust_z(values: NDArray[np.float64], parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far values lie from the median of parts, each part's value the mean of its shots'."""
    of_parts = np.bincount(parts, values) / np.bincount(parts)
    median, n = np.median(of_parts), len(of_parts)
    of_few = _OF_FEW.get(n, n / (n - 0.8))
    spread = _NORMAL_MAD * of_few * float(np.median(np.abs(of_parts - median)))
    return np.asarray((values - median) / max(spread, _LEAST_SPREAD))
