"""Laying out: keys of some patches brought onto pages, as products take them. It imports no torch.

Distances don't change when keys and vectors are both taken relative to their patch's center, and
‖q‖² + ‖v‖² - 2q·v then cancels less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fapm_cli.memory.pages import Pages

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LaidOut:
    """Keys on p pages, K each.

    Attributes:
        keys: (p, K, C) float32, -2 · (key - center); 0 where there is none.
        norms_sq: (p, K, 1) float32, ‖key - center‖²; +inf where there is none.
        centers: (p, 1, C) float32, the mean key of each page's patch.
        first: (p, 1, 1) int64, index of each page's first key among all that were given.
        metrics: (p, C', C) float32, what maps a vector of C' to where keys lie; None where they lie
            as they are.
    """

    keys: Floats
    norms_sq: Floats
    centers: Floats
    first: NDArray[np.int64]
    metrics: Floats | None = None


def lay_out(
    keys: Floats,
    pages: Pages,
    metrics: Floats | None = None,
    rounding: Callable[[Floats], Floats] | None = None,
) -> LaidOut:
    """Bring keys onto pages.

    Args:
        keys: (ΣK_i, C) float32, patch after patch.
        pages: where they come to lie.
        metrics: (N_p, C, D) float32, each patch's own; None for the plain one.
        rounding: what is done to keys and metrics; None for nothing.
    """
    counts, own = pages.counts, None
    if metrics is not None:
        parts = np.split(keys, counts.cumsum()[:-1])
        keys = np.concatenate([part @ one for part, one in zip(parts, metrics, strict=True)])
        own = metrics[pages.patches]
    sums = np.add.reduceat(keys, counts.cumsum() - counts, axis=0)
    centers: Floats = (sums / counts[:, None]).astype(np.float32)[pages.patches]
    places = pages.places
    block = keys.take(places, axis=0, mode="clip")
    block -= centers[:, None]
    block *= np.float32(-2)
    beyond = places >= pages.end[:, None]
    block[beyond] = 0
    if rounding is not None:
        block, own = rounding(block), None if own is None else rounding(own)
    norms_sq = np.einsum("pkc,pkc->pk", block, block)
    norms_sq /= 4
    norms_sq[beyond] = np.inf
    return LaidOut(block, norms_sq[..., None], centers[:, None], pages.first[:, None, None], own)
