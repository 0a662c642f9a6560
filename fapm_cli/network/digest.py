"""What tells one backbone's weights from another's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from fapm_cli.arrays import Array, host


def weights_hash(weights: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and float32 bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = host(weights[name]).astype(np.float32)
        digest.update(f"{name}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
