"""The backbones' architectures, as plain descriptions that networks and graphs are made of.

``efficientnet_lite0`` is Tan & Le's EfficientNet-Lite0 (2019; no squeeze-and-excitation, ReLU6).
The ResNets are torchvision's, by its state dicts' names. This file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from fapm_cli.errors import OptionError
from fapm_cli.network.vision_transformers import TRANSFORMERS, TransformerShape, stage_names

Activation = Literal["relu", "relu6"]

# Of the side of an input that is run in one, or of a tile, its rim among it. On a CPU more is
# slower: glibc maps, and clears, blocks of more than 32 MB anew each time, and caches are left.
TILE_PX = {"cpu": 640, "cuda": 2048}


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias, the batch norm behind it, and what follows.

    Attributes:
        name: of the convolution in a state dict.
        norm: of the batch norm.
        channels: in and out.
        kernel: its side in places.
        stride: in places.
        groups: of channels.
        activation: behind the norm; None for none.
        same: whether it is padded as TensorFlow's SAME is, so that a stride-2 step starts at the
            first px; else by half a kernel all around.
    """

    name: str
    norm: str
    channels: tuple[int, int]
    kernel: int
    stride: int = 1
    groups: int = 1
    activation: Activation | None = None
    same: bool = False

    def margins(self, side: int) -> tuple[int, int]:
        """Places to add before and after a side of so many."""
        if not self.same or self.stride == 1:
            return self.kernel // 2, self.kernel // 2
        missing = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        return missing // 2, missing - missing // 2


@dataclass(frozen=True)
class Block:
    """Convolutions in a row.

    Attributes:
        convs: in order.
        residual: whether what they are fed is added to what they give, a ReLU behind the sum.
        shortcut: what it goes through before; None where it is added as it is.
    """

    convs: tuple[Convolution, ...]
    residual: bool = False
    shortcut: Convolution | None = None


@dataclass(frozen=True)
class Stage:
    """A part of a network that can be tapped.

    Attributes:
        name: of the layer.
        blocks: in order; none of a transformer's.
        max_pool: whether the largest of 3×3, at stride 2, is taken of what they give.
        adds: the stage whose output is added to this one's; None for none.
    """

    name: str
    blocks: tuple[Block, ...] = ()
    max_pool: bool = False
    adds: str | None = None


# (repeats, kernel, stride of the first, expansion, channels out), EfficientNet-Lite0
_LITE0_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _lite(
    name: str,
    channels: tuple[int, int],
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = "relu6",
    adds: str | None = None,
) -> Stage:
    names = f"{name}.conv", f"{name}.bn"
    conv = Convolution(*names, channels, kernel, stride, groups, activation, same=True)
    return Stage(name, (Block((conv,)),), adds=adds)


def lite0() -> tuple[Stage, ...]:
    """Each inverted residual block is three stages: expand, depthwise, and the block's output."""
    stages = [_lite("stem", (3, 32), 3, 2)]
    before, channels, number = "stem", 32, 0
    for repeats, kernel, first_stride, ratio, out in _LITE0_BLOCKS:
        for i in range(repeats):
            name, inner = f"block{number}", channels * ratio
            stride = first_stride if i == 0 else 1
            if ratio > 1:
                stages.append(_lite(f"{name}_expand", (channels, inner)))
            stages.append(_lite(f"{name}_depthwise", (inner, inner), kernel, stride, inner))
            adds = before if i > 0 else None
            stages.append(_lite(name, (inner, out), activation=None, adds=adds))
            before, channels, number = name, out, number + 1
    return tuple(stages)


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


def residual_block(
    name: str, channels_in: int, channels: int, stride: int, shape: ResNetShape
) -> Block:
    """A block of a layer that is ``channels`` wide, four times as many at a bottleneck's end; its
    parts' names begin with ``name``.
    """
    kernels = [1, 3, 1] if shape.bottleneck else [3, 3]
    inner = channels * shape.group_width // 64 * shape.groups
    out = 4 * channels if shape.bottleneck else channels
    widths = [channels_in, *[inner] * (len(kernels) - 1), out]
    convs = [
        Convolution(
            f"{name}conv{i + 1}",
            f"{name}bn{i + 1}",
            (widths[i], widths[i + 1]),
            kernel,
            stride if i == kernels.index(3) else 1,
            shape.groups if kernel == 3 else 1,
            "relu" if i + 1 < len(kernels) else None,
        )
        for i, kernel in enumerate(kernels)
    ]
    shortcut = None
    if stride > 1 or channels_in != out:
        names = f"{name}downsample.0", f"{name}downsample.1"
        shortcut = Convolution(*names, (channels_in, out), 1, stride)
    return Block(tuple(convs), residual=True, shortcut=shortcut)


def _resnet(shape: ResNetShape) -> tuple[Stage, ...]:
    """The stem and layer1 to layer4."""
    stem = Convolution("stem.conv1", "stem.bn1", (3, 64), 7, 2, activation="relu")
    stages = [Stage("stem", (Block((stem,)),), max_pool=True)]
    channels_in = 64
    for i, depth in enumerate(shape.depths):
        channels, blocks = 64 * 2**i, []
        for j in range(depth):
            stride = 2 if i > 0 and j == 0 else 1
            name = f"layer{i + 1}.{j}."
            blocks.append(residual_block(name, channels_in, channels, stride, shape))
            channels_in = blocks[-1].convs[-1].channels[1]
        stages.append(Stage(f"layer{i + 1}", tuple(blocks)))
    return tuple(stages)


def _transformer(shape: TransformerShape) -> tuple[Stage, ...]:
    return tuple(Stage(name) for name in stage_names(shape))


ARCHITECTURES: Mapping[str, Callable[[], tuple[Stage, ...]]] = {
    "efficientnet_lite0": lite0,
    **{name: partial(_resnet, shape) for name, shape in RESNETS.items()},
    **{name: partial(_transformer, shape) for name, shape in TRANSFORMERS.items()},
}
"""Of each backbone, what makes its stages, in order."""


def cut_stages(backbone: str, layers: Sequence[str]) -> tuple[Stage, ...]:
    """A backbone's stages, up to the last of some layers.

    Raises:
        OptionError: no such backbone or layer.
    """
    if backbone not in ARCHITECTURES:
        raise OptionError(
            f"backbone {backbone!r} is unknown; use one of {', '.join(ARCHITECTURES)}"
        )
    stages = ARCHITECTURES[backbone]()
    names = [stage.name for stage in stages]
    for layer in layers:
        if layer not in names:
            raise OptionError(
                f"{backbone} has no layer {layer!r}; its layers are {', '.join(names)}"
            )
    return stages[: max(names.index(layer) for layer in layers) + 1]


def coarse_from(backbone: str, precision: str) -> str | None:
    """The first stage that half precision is enough for; None for float32 (docs/accuracy.md)."""
    if precision == "fp32":
        return None
    if backbone == "efficientnet_lite0":
        return "block4_expand" if precision == "bf16" else "block1_expand"
    if backbone in TRANSFORMERS:
        return "layer1"
    return "layer2" if precision == "bf16" else "stem"
