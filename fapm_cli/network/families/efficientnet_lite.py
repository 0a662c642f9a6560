"""EfficientNet-Lite0 (Tan & Le 2019; the Lite form: no squeeze-and-excitation, ReLU6)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.network.architectures import lite0


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME does: a stride-2 step starts at the first px."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        margins = self.margins(input.shape)
        if margins is None:
            return super().forward(input)
        padded = F.pad(input, margins)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)

    def margins(self, size: Sequence[int]) -> tuple[int, int, int, int] | None:
        """Px to add left, right, above and below (B, C, H, W); None where padding is even."""
        if self.stride[0] == 1:
            return None
        vertical, horizontal = (self._missing(side) for side in size[-2:])
        top, left = vertical // 2, horizontal // 2
        return (left, horizontal - left, top, vertical - top)

    def _missing(self, side: int) -> int:
        stride, kernel = self.stride[0], self.kernel_size[0]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int, groups: int) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return SameConv2d(channels_in, channels_out, kernel, stride, padding, 1, groups, bias=False)


class Stage(nn.Sequential):
    """Convolution, batch norm and, unless it is linear, ReLU6.

    Attributes:
        adds: the stage whose output is added to this one's: the residual connection.
    """

    def __init__(self, conv: nn.Conv2d, *, linear: bool = False, adds: str | None = None):
        """Put the convolution and what follows it in a row."""
        super().__init__()
        self.adds = adds
        self.add_module("conv", conv)
        self.add_module("bn", nn.BatchNorm2d(conv.out_channels, eps=1e-3))
        if not linear:
            self.add_module("act", nn.ReLU6())


def lite0_stages() -> dict[str, nn.Module]:
    """The stages as modules: each inverted residual block is three."""
    stages: dict[str, nn.Module] = {}
    for stage in lite0():
        [block] = stage.blocks
        [conv] = block.convs
        shape = (*conv.channels, conv.kernel, conv.stride, conv.groups)
        stages[stage.name] = Stage(_conv(*shape), linear=conv.activation is None, adds=stage.adds)
    return stages


def lite0_file_name(key: str) -> str:
    """Name a weight as the package's file does, which numbers norms by their place in a block."""
    stage, role, kind = key.split(".")
    if stage == "stem":
        return f"_conv_stem.{kind}" if role == "conv" else f"_bn0.{kind}"
    block, _, part = stage.removeprefix("block").partition("_")
    norm = {"expand": "_bn0", "depthwise": "_bn1", "": "_bn2"}[part]
    name = f"_{part or 'project'}_conv" if role == "conv" else norm
    return f"_blocks.{block}.{name}.{kind}"
