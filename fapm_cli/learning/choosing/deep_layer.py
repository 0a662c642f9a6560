"""The deep layer: it sees farther, and takes over where good parts ask for a strong metric.

Such parts vary at every place as a surface does, and what is wrong shows in what surrounds it: a
layer at half the resolution finds more there. Parts that lie alike, or turn, ask for a weak metric
or none, and lose by it (docs/accuracy.md). Spoiled pictures can't tell: a pasted piece shows at
once in fine layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank, MetricChoice
from fapm_cli.config import BankConfig
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.extracting import Extracted, extract
from fapm_cli.learning.held_out import HeldOut
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.selecting import select_keys
from fapm_cli.network.backbones import look_up
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import tapping

_STRONG = 0.1  # a floor; from there on, what varies little counts for several times as much
_AT_A_TIME = 16


def deepened(config: BankConfig) -> BankConfig | None:
    """The configuration with a deep layer in place of its last; None where none may be."""
    deep, scale = look_up(config.backbone).deep_layer, look_up(config.backbone).deep_layer_scale
    if deep is None or not config.layers_found:
        return None
    layers, scales = (*config.layers[:-1], deep), (*config.layer_scales[:-1], scale)
    return replace(config, layers=layers, layer_scales=scales)


def before_deepening(config: BankConfig) -> BankConfig:
    """The configuration as it was before a deep layer was found to be worth it."""
    if not config.layers_found:
        return config
    backbone = look_up(config.backbone)
    scales = (backbone.layer_scale,) * len(backbone.default_layers)
    return replace(config, layers=backbone.default_layers, layer_scales=scales)


def deep_extractor(config: BankConfig, extractor: FeatureExtractor) -> FeatureExtractor | None:
    """What taps the deep layer alone; None where none may be, or it is not at hand."""
    deeper = deepened(config)
    if deeper is None:
        return None
    alone = replace(
        deeper,
        layers=deeper.layers[-1:],
        layer_scales=deeper.layer_scales[-1:],
        query=replace(config.query, layer_weights=(1.0,)),
        metric="plain",
    )
    return tapping(extractor, alone)


def wants_deep_layer(choice: MetricChoice) -> bool:
    """Whether the metric that was chosen asks for one."""
    return choice.floor is not None and choice.floor <= _STRONG


def with_deep_layer(
    bank: Bank,
    extracted: Extracted,
    held_out: HeldOut,
    extractor: FeatureExtractor,
    on_stage: OnStage,
) -> tuple[Bank, list[Tensor], HeldOut]:
    """Extract the deep layer of a bank's pictures, and select its keys.

    Args:
        bank: with the memories of its default layers.
        extracted: of its pictures.
        held_out: how those vary.
        extractor: what they were extracted by.
        on_stage: told of progress.

    Returns:
        The bank, all vectors, and how they vary: as they were, where no deep layer may be, or it is
        not at hand.
    """
    config, features = deepened(bank.config), extracted.features
    deeper = deep_extractor(bank.config, extractor)
    if config is None or deeper is None:
        return bank, features, held_out

    def on_deeper(stage: str, done: int, total: int) -> None:
        on_stage("deepen", done, total)

    alone = deeper.config
    deep = extract(_again(extracted), len(extracted.pictures), alone, deeper, on_deeper)
    _, height, width = deeper.map_shapes[0]
    size = height, width
    judged = extracted.judged
    memory = select_keys(deep.features[0], deep.copies[0], alone, size, judged)
    (variation,) = HeldOut.of(replace(bank, map_sizes=(size,)), deep.features, judged).variations
    bank = replace(
        bank,
        config=config,
        memories=(*bank.memories[:-1], memory),
        map_sizes=(*bank.map_sizes[:-1], size),
        ranges=deeper.ranges,
        weights_hash=deeper.weights_hash,
        backbone=None if bank.backbone is None else dict(deeper.stages.state_dict()),
    )
    held_out = replace(held_out, variations=[*held_out.variations[:-1], variation])
    return bank, [*features[:-1], *deep.features], held_out


def _again(extracted: Extracted) -> Iterator[NominalBatch]:
    """The pictures once more; each a part of its own, since which are one is known."""
    for numbers in torch.split(torch.arange(len(extracted.pictures)), _AT_A_TIME):
        some = [extracted.pictures[i] for i in numbers.tolist()]
        yield NominalBatch(
            extracted.pixels[numbers],
            [one.name for one in some],
            [one.sha256 for one in some],
            [str(i) for i in numbers.tolist()],
            None if extracted.seen is None else extracted.seen[numbers],
        )
