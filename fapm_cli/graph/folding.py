"""Folding: batch norms into the convolutions before them, as :mod:`fapm_cli.network.folding`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fapm_cli.errors import WeightsError
from fapm_cli.network.architectures import Convolution

Array = NDArray[np.float32]
Weights = Mapping[str, Array]


def folded(conv: Convolution, weights: Weights) -> tuple[Array, Array]:
    """Kernels (out, in / groups, k, k) and biases (out,) with the norm folded into them.

    Args:
        conv: the convolution.
        weights: float32, by their names; one that has no norm there is folded already.

    Raises:
        WeightsError: they are missing, or of another shape.
    """
    out, fed = conv.channels[1], conv.channels[0] // conv.groups
    kernels = _take(weights, f"{conv.name}.weight", (out, fed, conv.kernel, conv.kernel))
    has_bias = f"{conv.name}.bias" in weights
    bias = _take(weights, f"{conv.name}.bias", (out,)) if has_bias else np.zeros(out, np.float32)
    if f"{conv.norm}.weight" in weights or not has_bias:
        gamma, beta, mean, var = (
            _take(weights, f"{conv.norm}.{part}", (out,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(var + np.float32(conv.eps))
        kernels, bias = kernels * factor[:, None, None, None], (bias - mean) * factor + beta
    return kernels, bias


def _take(weights: Weights, name: str, shape: tuple[int, ...]) -> Array:
    if name not in weights:
        raise WeightsError(f"weights have no {name!r}: they belong to another network")
    if weights[name].shape != shape:
        found = weights[name].shape
        raise WeightsError(f"weights {name!r} have shape {found}, this network needs {shape}")
    return weights[name].astype(np.float32, copy=False)
