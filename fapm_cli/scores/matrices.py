"""Upsampling and blur as matrices, in numpy: ``map_out = A_h · map · A_wᵀ``.

What :mod:`fapm_cli.scores.geometry` makes, for graphs; this file imports no torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Placement

Matrix = NDArray[np.float64]


def spreading_matrix(num_out: int, num_in: int, sigma: float, placement: Placement) -> Matrix:
    """Bring a line of values to a finer one, and blur it there: (num_out, num_in).

    Args:
        num_out: values wanted.
        num_in: values given.
        sigma: Gaussian's standard deviation in values of the finer line; 0 blurs nothing.
        placement: bilinear, or the nearest value.
    """
    upsample = resize_matrix if placement == "bilinear" else repeat_matrix
    return gaussian_matrix(num_out, sigma) @ upsample(num_out, num_in)


def resize_matrix(num_out: int, num_in: int) -> Matrix:
    """Resize a line linearly, value centres at whole numbers: (num_out, num_in)."""
    at = ((np.arange(num_out) + 0.5) * num_in / num_out - 0.5).clip(0, num_in - 1)
    low = at.astype(np.int64)
    matrix, outputs = np.zeros((num_out, num_in)), np.arange(num_out)
    matrix[outputs, low] = 1 - (at - low)
    matrix[outputs, (low + 1).clip(max=num_in - 1)] += at - low
    return matrix


def repeat_matrix(num_out: int, num_in: int) -> Matrix:
    """Resize a line by its nearest value: (num_out, num_in)."""
    return np.eye(num_in)[np.arange(num_out) * num_in // num_out]


def mean_matrix(num_in: int, block: int) -> Matrix:
    """Means of a line's blocks, of which the last may be shorter: (⌈num_in / block⌉, num_in)."""
    of = np.arange(num_in) // block == np.arange(-(-num_in // block))[:, None]
    return np.asarray(of / of.sum(axis=1, keepdims=True))


def gaussian_matrix(num: int, sigma: float) -> Matrix:
    """Blur a line with a Gaussian cut at 4σ, mirrored at the ends (edge value repeated)."""
    if sigma == 0:
        return np.eye(num)
    radius = int(4 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    place = (np.arange(num)[:, None] + steps) % (2 * num)
    mirrored = np.where(place < num, place, 2 * num - 1 - place)
    blur = np.zeros((num, num))
    np.add.at(blur, (np.arange(num)[:, None], mirrored), kernel / kernel.sum())
    return blur


def covered(roi: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which places of a coarser map have a px of the region: (H, W) bool to ``size`` bool."""
    (height, width), (h, w) = roi.shape, size
    of_blocks = roi.reshape(h, height // h, w, width // w).any(axis=(1, 3))
    return np.asarray(of_blocks)
