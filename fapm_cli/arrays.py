"""Arrays of whichever library: numpy's where a bank is read and judged by, torch's where torch
learns, or judges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any  # numpy's or torch's


def host(values: Array) -> NDArray[Any]:
    """Numpy's array of one of numpy's, or of a torch tensor on any device."""
    if isinstance(values, np.ndarray):
        return values
    array: NDArray[Any] = values.detach().cpu().numpy()
    return array


def weights_hash(weights: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and float32 bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = host(weights[name]).astype(np.float32)
        digest.update(f"{name}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
