"""The deep layer: it sees farther, and takes over where good parts vary as surfaces do.

Such parts ask for a strong metric, and even by that many a spoiled picture is like a good one: fine
layers see too little. A layer at half the resolution then finds more, in what surrounds a place.
Where fine layers find nearly all that is pasted, or parts turn, it would lose (docs/accuracy.md).
That spoiled pictures are found more by it is not asked: a pasted piece shows in fine layers first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from fapm_cli.bank.bank import Bank, MetricChoice
from fapm_cli.config import BankConfig
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.choosing.metric import usual_response
from fapm_cli.learning.extracting import Extracted, extract
from fapm_cli.learning.held_out import HeldOut
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.selecting import select_keys
from fapm_cli.memory.vectors import Vectors
from fapm_cli.network.backbones import look_up
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import tapping

_STRONG = 0.1  # a floor; from there on, what varies little counts for several times as much
_NEARLY_ALL = 0.8  # of good pictures, that spoiled ones exceed: 0.54 and 0.66 on surfaces, else 0.9
_AT_A_TIME_PX = 2**20


def deepened(config: BankConfig) -> BankConfig | None:
    """The configuration with a deep layer in place of its first; None where none may be."""
    backbone, config = look_up(config.backbone), before_deepening(config)
    if backbone.deep_layer is None or not config.layers_found:
        return None
    layers = (*config.layers[1:], backbone.deep_layer)
    scales = (*config.layer_scales[1:], backbone.deep_layer_scale)
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
    if choice.floor is None or choice.floor > _STRONG:
        return False
    return dict(choice.found)[choice.floor] < _NEARLY_ALL


def with_deep_layer(
    bank: Bank,
    extracted: Extracted,
    held_out: HeldOut,
    extractor: FeatureExtractor,
    on_stage: OnStage,
) -> tuple[Bank, Sequence[Vectors], HeldOut]:
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
    workspace = extracted.workspace.under("deep")
    total = len(extracted.pictures)
    deep = extract(_again(extracted), total, alone, deeper, on_deeper, None, workspace)
    _, height, width = deeper.map_shapes[0]
    size = height, width
    judged = extracted.judged
    keys = workspace.under("keys")
    memory = select_keys(deep.features[0], deep.copies[0], alone, size, judged, keys)
    apart = replace(bank, config=alone, memories=(memory,), map_sizes=(size,))
    held_apart = HeldOut.of(apart, deep.features, judged, workspace)
    floor = None if bank.metric is None else bank.metric.floor
    plain, own = (
        usual_response(apart, deep.features, held_apart, f, judged, workspace.under(f"floor-{f}"))
        for f in (None, floor)
    )
    bank = replace(
        bank,
        config=config,
        memories=(*bank.memories[1:], memory),
        map_sizes=(*bank.map_sizes[1:], size),
        weights_hash=deeper.weights_hash,
        backbone=None if bank.backbone is None else dict(deeper.stages.state_dict()),
    )
    held_out = HeldOut(
        held_out.folds,
        [*held_out.variations[1:], *held_apart.variations],
        [*held_out.scales[1:], plain / own if own > 0 else 1.0],
    )
    return bank, [*features[1:], *deep.features], held_out


def _again(extracted: Extracted) -> Iterator[NominalBatch]:
    """The pictures once more; each a part of its own, since which are one is known."""
    at_a_time = max(_AT_A_TIME_PX // math.prod(extracted.pixels.shape[1:]), 1)
    for numbers in torch.split(torch.arange(len(extracted.pictures)), at_a_time):
        some = [extracted.pictures[i] for i in numbers.tolist()]
        yield NominalBatch(
            extracted.pixels[numbers],
            [one.name for one in some],
            [one.sha256 for one in some],
            [str(i) for i in numbers.tolist()],
            None if extracted.seen is None else extracted.seen[numbers],
        )
