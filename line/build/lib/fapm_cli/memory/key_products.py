"""Products of each page's keys with the target vectors of its patch; keys are laid out once.

What they give is ‖key‖² - 2·key·query: of all that is needed to tell which keys are nearest.
"""

from __future__ import annotations

import functools
from typing import Protocol

import torch
from torch import Tensor, nn

from fapm_cli.compute.device import has_onednn

_LEVELS, _ZERO = 127, 128  # of int8, and what stands for 0 in uint8
_TINY = 1e-30  # scale of zeros


class KeyProducts(Protocol):
    """Keys of p pages, K each, that ‖key‖² - 2·key·query can be asked of.

    Attributes:
        exact: whether it is float32's; else it tells candidates only.
    """

    exact: bool

    def __call__(self, queries: Tensor) -> Tensor:
        """(p, Q, K) of (p, Q, C) float32 queries."""


def key_products(
    keys: Tensor, norms_sq: Tensor, dtype: torch.dtype, num_queries: int | None
) -> KeyProducts:
    """Lay keys out in the way that is fastest here.

    Args:
        keys: (p, K, C) float32.
        norms_sq: (p, 1, K) float32.
        dtype: in which to compute; int8 asks for a number of queries.
        num_queries: Q that will mostly be asked for; None for any, and for parts of the pages.
    """
    if dtype == torch.int8:
        assert num_queries is not None, "int8 keys can't be taken apart"
        return Int8Products(keys, norms_sq, num_queries)
    keys, norms_sq = keys.to(dtype), norms_sq.to(dtype)
    if num_queries is not None and has_onednn(keys.device, dtype):
        return PackedProducts(keys, norms_sq, num_queries)
    return PlainProducts(keys, norms_sq)


@functools.cache
def hide_from_compiler() -> None:
    """Have a compiler call what it can't see through: layouts are oneDNN's secret.

    Decorated where they are written, they would import the compiler with every start: a second.
    """
    for kind in (PackedProducts, Int8Products):
        kind.__call__ = torch.compiler.disable(kind.__call__)  # type: ignore[method-assign, no-untyped-call]


class PlainProducts(nn.Module):
    """By torch's batched product, on any device, for any number of queries.

    Attributes:
        keys: (p, K, C), of any dtype.
        norms_sq: (p, 1, K), of the same.
    """

    keys: Tensor
    norms_sq: Tensor

    def __init__(self, keys: Tensor, norms_sq: Tensor):
        """Take keys and their squared norms, as above."""
        super().__init__()
        self.exact = keys.dtype == torch.float32
        self.register_buffer("keys", keys)
        self.register_buffer("norms_sq", norms_sq)

    def forward(self, queries: Tensor) -> Tensor:
        """As :class:`KeyProducts` says."""
        queries = -2 * queries.to(self.keys.dtype)
        if queries.device.type == "cpu":  # there, baddbmm first lays the norms out over its result
            return torch.bmm(queries, self.keys.mT).add_(self.norms_sq)
        return torch.baddbmm(self.norms_sq, queries, self.keys.mT)

    def of_pages(self, chosen: Tensor) -> PlainProducts:
        """Those of some of the pages."""
        return PlainProducts(self.keys[chosen], self.norms_sq[chosen])


class PackedProducts:
    """On a CPU, by oneDNN, with the keys in its own blocked layout: about twice as fast.

    torch's batched product lays its second operand out anew each time, which for a handful of
    queries costs more than the product. A convolution's weights are laid out once, and a product
    per page is a 1x1 convolution in p groups: C channels in, K out, Q places, ‖key‖² the bias.
    """

    def __init__(self, keys: Tensor, norms_sq: Tensor, num_queries: int):
        """Take keys (p, K, C) and norms (p, 1, K) as above; Q is what the layout is best for."""
        self.exact = keys.dtype == torch.float32
        self._dtype, self._width = keys.dtype, keys.shape[1]
        num_pages, _, channels = keys.shape
        self._geometry = ([0, 0], [1, 1], [1, 1], num_pages)
        self._biases = norms_sq.reshape(-1)
        self._keys = torch.ops.mkldnn._reorder_convolution_weight(
            (-2 * keys).reshape(-1, channels, 1, 1),
            *self._geometry,
            [1, num_pages * channels, 1, num_queries],
        )

    def __call__(self, queries: Tensor) -> Tensor:
        """As :class:`KeyProducts` says."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            _as_picture(queries.to(self._dtype)),
            self._keys,
            self._biases,
            *self._geometry,
            "none",
            [],
            "",
        )
        return _as_products(found, self._width)


class Int8Products:
    """The same in integers, each key and each query with a scale of its own.

    That is nearer to float32 than bfloat16 is, whose results are rounded too, and takes half the
    memory, which is what a search waits for.
    """

    exact = False

    def __init__(self, keys: Tensor, norms_sq: Tensor, num_queries: int):
        """Take keys (p, K, C) and norms (p, 1, K), float32, and Q as above."""
        self._norms_sq, self._width = norms_sq, keys.shape[1]
        num_pages, _, channels = keys.shape
        scales = keys.abs().amax(dim=2).clamp(min=_TINY) / _LEVELS
        rounded = (keys / scales.unsqueeze(2)).round().to(torch.int8)
        self._scales, self._zeros = scales.reshape(-1), torch.zeros(scales.numel()).long()
        self._geometry = ([1, 1], [0, 0], [1, 1], num_pages)
        self._keys = torch.ops.onednn.qconv_prepack(
            rounded.reshape(-1, channels, 1, 1),
            self._scales,
            1.0,
            _ZERO,
            *self._geometry,
            [1, num_pages * channels, 1, num_queries],
        )

    def __call__(self, queries: Tensor) -> Tensor:
        """As :class:`KeyProducts` says."""
        scales = queries.abs().amax(dim=2, keepdim=True).clamp_(min=_TINY).div_(_LEVELS)
        rounded = (queries / scales).add_(_ZERO + 0.5).to(torch.uint8)
        found = torch.ops.onednn.qconv2d_pointwise(
            _as_picture(rounded),
            1.0,
            _ZERO,
            self._keys,
            self._scales,
            self._zeros,
            None,
            *self._geometry,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        products = _as_products(found, self._width)
        return torch.addcmul(self._norms_sq, scales, products, value=-2)


def _as_picture(queries: Tensor) -> Tensor:
    """(1, p·C, 1, Q), channels_last, of (p, Q, C)."""
    return queries.transpose(0, 1).reshape(1, 1, queries.shape[1], -1).permute(0, 3, 1, 2)


def _as_products(found: Tensor, width: int) -> Tensor:
    """(p, Q, K) of (1, p·K, 1, Q), channels_last: (Q, p, K) in memory, as the queries came."""
    return found.permute(0, 2, 3, 1).reshape(found.shape[3], -1, width).transpose(0, 1)
