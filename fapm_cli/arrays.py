"""Arrays of whichever library: numpy's where a bank is read and judged by, torch's where torch
learns, or judges.
"""

from __future__ import annotations

import hashlib
import mmap
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


def let_go(values: Array) -> None:
    """Have the system take back the memory that a part of a mapped file has; it is read again when
    it is asked for. Of an array that lies elsewhere nothing is done.

    The array must be as it was read: what was written to it is lost.
    """
    base = values
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise"):
        return
    start = np.frombuffer(base, np.uint8).ctypes.data
    first = values.ctypes.data - start
    end = first + values.nbytes
    first = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE  # its neighbours keep theirs
    end = end // mmap.PAGESIZE * mmap.PAGESIZE
    if end > first and values.flags.c_contiguous:
        base.madvise(mmap.MADV_DONTNEED, first, end - first)
