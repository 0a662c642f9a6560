"""Products of each patch's target vectors with its keys, which are laid out for that once."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class KeyProducts(Protocol):
    """Keys of p patches, K each, that ‖key‖² - 2·key·query can be asked of."""

    dtype: torch.dtype

    def __call__(self, queries: Tensor) -> Tensor:
        """(p, Q, K) of (p, Q, C) queries, both in ``dtype``."""


class PlainProducts:
    """By torch's batched product, on any device, for any number of queries."""

    def __init__(self, keys: Tensor, norms_sq: Tensor):
        """Take keys (p, K, C) and their squared norms (p, 1, K), of one dtype."""
        self.dtype = keys.dtype
        self._keys, self._norms_sq = keys, norms_sq

    def __call__(self, queries: Tensor) -> Tensor:
        """As :class:`KeyProducts` says."""
        return torch.baddbmm(self._norms_sq, -2 * queries, self._keys.mT)

    def of_patches(self, chosen: Tensor) -> PlainProducts:
        """Those of some of the patches."""
        return PlainProducts(self._keys[chosen], self._norms_sq[chosen])


class PackedProducts:
    """On a CPU, by oneDNN, with the keys in its own blocked layout: about twice as fast.

    torch's batched product lays its second operand out anew each time, which for a handful of
    queries costs more than the product. A convolution's weights are laid out once, and a product
    per patch is a 1x1 convolution in p groups: C channels in, K out, Q places, ‖key‖² the bias.
    """

    def __init__(self, keys: Tensor, norms_sq: Tensor, num_queries: int):
        """Take keys (p, K, C) and norms (p, 1, K) as above; Q is what the layout is best for."""
        self.dtype = keys.dtype
        self._shape = keys.shape
        num_patches, _, channels = keys.shape
        self._geometry = ([0, 0], [1, 1], [1, 1], num_patches)
        self._biases = norms_sq.reshape(-1)
        self._keys = torch.ops.mkldnn._reorder_convolution_weight(
            (-2 * keys).reshape(-1, channels, 1, 1),
            *self._geometry,
            [1, num_patches * channels, 1, num_queries],
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # its layout is oneDNN's secret
    def __call__(self, queries: Tensor) -> Tensor:
        """As :class:`KeyProducts` says."""
        num_patches, width, _ = self._shape
        places = queries.transpose(0, 1).reshape(1, 1, queries.shape[1], -1)  # Q of p·C channels
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            places.permute(0, 3, 1, 2), self._keys, self._biases, *self._geometry, "none", [], ""
        )
        # (Q, p, K) in memory, as the queries came.
        return found.permute(0, 2, 3, 1).reshape(-1, num_patches, width).transpose(0, 1)
