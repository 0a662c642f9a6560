"""Int8: a backbone's convolutions on a CPU's integer units, statically quantised.

Activations are uint8 with one scale per tensor, weights int8 with one per output channel, sums
int32. The kernels are oneDNN's, the same that PyTorch's x86 quantiser lowers to; calling them
directly needs no tracing, no compiler and no further package (docs/speed.md compares).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from fapm_cli.config import Ranges
from fapm_cli.network.packed import Convolutions, convolutions, evenly_padded, fed_sizes, watching

_LEVELS = 255


def quantizable(network: nn.Module) -> Convolutions:
    """Name the convolutions that run in int8.

    Not the one that sees the picture, nor depthwise ones: few products to gain from, and the
    former's error goes through everything behind it, the latter's are the largest (measured: half
    the error of EfficientNet-Lite0's features came from them).
    """
    convs = convolutions(network)
    return {n: m for n, m in convs.items() if m.in_channels > 3 and m.groups < m.in_channels}


def observing(network: nn.Module, ranges: Ranges) -> AbstractContextManager[None]:
    """While it lasts, widen ``ranges`` to all values that each convolution is fed."""

    def widen(name: str, fed: Tensor) -> None:
        low, high = (float(value) for value in fed.aminmax())
        before = ranges.get(name, (0.0, 0.0))  # padding is zeros: 0 always belongs to it
        ranges[name] = (min(low, before[0]), max(high, before[1]))

    return watching(quantizable(network), widen)


def join_ranges(ranges: Sequence[Ranges]) -> Ranges:
    """Ranges that hold all of several."""
    joined = dict(ranges[0])
    for one in ranges[1:]:
        for name, (low, high) in one.items():
            before = joined.get(name, (0.0, 0.0))
            joined[name] = (min(low, before[0]), max(high, before[1]))
    return joined


def quantize(
    network: nn.Module, ranges: Ranges, chains: list[tuple[str, str]], run: Callable[[], object]
) -> None:
    """Replace the convolutions of a network by int8 ones, in place.

    Args:
        network: holds float32 convolutions, batch norm folded.
        ranges: as :func:`observing` found them.
        chains: convolutions, by name, whose output another alone is fed, a ReLU between them: it
            goes from one to the other in uint8.
        run: runs the network once on one picture: kernels lay weights out for the size they meet.
    """
    convs = quantizable(network)
    sizes = fed_sizes(convs, run)
    for name, conv in convs.items():
        network.set_submodule(name, Int8Conv2d(conv, ranges[name], sizes[name]))
    for name, after in chains:
        first, second = network.get_submodule(name), network.get_submodule(after)
        if isinstance(first, Int8Conv2d) and isinstance(second, Int8Conv2d):
            first.out_scale, first.out_dtype = second.scale, torch.uint8


class Int8Conv2d(nn.Module):
    """A convolution of uint8 by int8 vectors, summed in int32.

    It takes float32, or uint8 quantised for it; it gives float32, or, in a chain, uint8 quantised
    for the next. What that is fed begins at 0, so the ReLU between them is there for free.
    """

    def __init__(self, conv: nn.Conv2d, fed: tuple[float, float], size: list[int]):
        """Quantise the weights of ``conv``, which is fed (B, C, H, W) ``size`` within ``fed``."""
        super().__init__()
        low, high = fed
        self.scale = max(high - low, 1e-12) / _LEVELS
        self.zero_point = round(-low / self.scale)
        self.out_scale, self.out_dtype = 1.0, torch.float32
        self.bias = conv.bias
        weight, padding = evenly_padded(conv, size)
        self.weight_scales = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / 127
        rounded = (weight / self.weight_scales.view(-1, 1, 1, 1)).round().to(torch.int8)
        self.weight_zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.where = (list(conv.stride), padding, list(conv.dilation), conv.groups)
        self.weight = torch.ops.onednn.qconv_prepack(
            rounded, self.weight_scales, self.scale, self.zero_point, *self.where, size
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        if x.dtype != torch.uint8:
            x = (x / self.scale).add_(self.zero_point + 0.5).clamp_(0, _LEVELS).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            x,
            self.scale,
            self.zero_point,
            self.weight,
            self.weight_scales,
            self.weight_zeros,
            self.bias,
            *self.where,
            self.out_scale,
            0,
            self.out_dtype,
            "none",
            [],
            "",
        )
        return y
