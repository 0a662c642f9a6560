"""ResNets (He et al. 2016; ResNeXt, Xie et al. 2017; Wide ResNet, Zagoruyko & Komodakis 2016).

The same networks as torchvision's, part by part under the same names, so that its weights fit:
importing torchvision would take as long as a start with all else (docs/speed.md).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class ResNetShape:
    """What tells one ResNet from another.

    Attributes:
        depths: blocks in layer1 to layer4.
        bottleneck: whether a block is three convolutions, 1x1, 3x3 and 1x1, or two of 3x3.
        groups: of a bottleneck's 3x3 convolution.
        group_width: channels of each of its groups in layer1.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64


RESNETS = {
    "resnet18": ResNetShape((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetShape((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetShape((3, 4, 6, 3)),
    "resnet101": ResNetShape((3, 4, 23, 3)),
    "resnet152": ResNetShape((3, 8, 36, 3)),
    "resnext50_32x4d": ResNetShape((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x8d": ResNetShape((3, 4, 23, 3), groups=32, group_width=8),
    "resnext101_64x4d": ResNetShape((3, 4, 23, 3), groups=64, group_width=4),
    "wide_resnet50_2": ResNetShape((3, 4, 6, 3), group_width=128),
    "wide_resnet101_2": ResNetShape((3, 4, 23, 3), group_width=128),
}


class ResidualBlock(nn.Module):
    """Convolutions whose result is added to what they are fed, a ReLU behind each and the sum.

    Attributes:
        convs: names of the convolutions in the row.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, shape: ResNetShape):
        """Make the block of a layer that is ``channels`` wide, four times as many at its end."""
        super().__init__()
        sides = [1, 3, 1] if shape.bottleneck else [3, 3]
        inner = channels * shape.group_width // 64 * shape.groups
        out = 4 * channels if shape.bottleneck else channels
        widths = [channels_in, *[inner] * (len(sides) - 1), out]
        self.convs = tuple(f"conv{i + 1}" for i in range(len(sides)))
        for i, side in enumerate(sides):
            step = stride if i == sides.index(3) else 1
            groups = shape.groups if side == 3 else 1
            between = (widths[i], widths[i + 1])
            conv = nn.Conv2d(*between, side, step, side // 2, groups=groups, bias=False)
            self.add_module(self.convs[i], conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(widths[i + 1]))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels_in != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on (B, C, H, W)."""
        added = x if self.downsample is None else self.downsample(x)
        for i in range(1, len(self.convs) + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = self.relu(x if i < len(self.convs) else x + added)
        return x


def chains(network: nn.Module) -> list[tuple[str, str]]:
    """Pair each convolution with the one that alone is fed its output, a ReLU between them."""
    return [
        (f"{name}.{conv}", f"{name}.{after}")
        for name, part in network.named_modules()
        if isinstance(part, ResidualBlock)
        for conv, after in itertools.pairwise(part.convs)
    ]


def resnet_stages(shape: ResNetShape) -> dict[str, nn.Module]:
    """Make the stem and layer1 to layer4."""
    stem = nn.Sequential()
    stem.add_module("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
    stem.add_module("bn1", nn.BatchNorm2d(64))
    stem.add_module("relu", nn.ReLU(inplace=True))
    stem.add_module("maxpool", nn.MaxPool2d(3, 2, 1))
    stages: dict[str, nn.Module] = {"stem": stem}
    channels_in = 64
    for i, depth in enumerate(shape.depths):
        channels = 64 * 2**i
        channels_out = 4 * channels if shape.bottleneck else channels
        stages[f"layer{i + 1}"] = nn.Sequential(
            ResidualBlock(channels_in, channels, 1 if i == 0 else 2, shape),
            *(ResidualBlock(channels_out, channels, 1, shape) for _ in range(depth - 1)),
        )
        channels_in = channels_out
    return stages


def resnet_file_name(key: str) -> str:
    """Name a weight as torchvision's files do, which know no stem."""
    return key.removeprefix("stem.")
