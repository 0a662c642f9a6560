"""ResNets (He et al. 2016; ResNeXt, Xie et al. 2017; Wide ResNet, Zagoruyko & Komodakis 2016).

The same networks as torchvision's, part by part under the same names, so that its weights fit:
importing torchvision would take as long as a start with all else (docs/speed.md).
"""

from __future__ import annotations

from torch import Tensor, nn

from fapm_cli.network.architectures import Convolution, ResNetShape, residual_block


def _convolution(conv: Convolution) -> nn.Conv2d:
    padding, sides = conv.kernel // 2, (conv.kernel, conv.stride)
    return nn.Conv2d(*conv.channels, *sides, padding, groups=conv.groups, bias=False)


class ResidualBlock(nn.Module):
    """Convolutions whose result is added to what they are fed, a ReLU behind each and the sum.

    Attributes:
        convs: names of the convolutions in the row.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, shape: ResNetShape):
        """Make the block of a layer that is ``channels`` wide, four times as many at its end."""
        super().__init__()
        block = residual_block("", channels_in, channels, stride, shape)
        self.convs = tuple(conv.name for conv in block.convs)
        for conv in block.convs:
            self.add_module(conv.name, _convolution(conv))
            self.add_module(conv.norm, nn.BatchNorm2d(conv.channels[1]))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if block.shortcut is not None:
            norm = nn.BatchNorm2d(block.shortcut.channels[1])
            self.downsample = nn.Sequential(_convolution(block.shortcut), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on (B, C, H, W)."""
        added = x if self.downsample is None else self.downsample(x)
        for i in range(1, len(self.convs) + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = self.relu(x if i < len(self.convs) else x + added)
        return x


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
