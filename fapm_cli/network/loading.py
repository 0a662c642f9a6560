"""Loading: a backbone cut after its last tapped layer, with its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fapm_cli.arrays import weights_hash
from fapm_cli.config import BankConfig
from fapm_cli.errors import OptionError, WeightsError
from fapm_cli.network.backbones import Stages, look_up
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.folding import fold_batch_norm, random_weights, take_folded
from fapm_cli.network.weights import StateDict, read_weights

RANDOM = "random"


def load_extractor(
    config: BankConfig, weights: str | StateDict | None = None, seed: int = 0
) -> FeatureExtractor:
    """Make the backbone that ``config`` names, cut after its last layer, with its weights.

    Args:
        config: what to tap, and how.
        weights: a file, ``random``, cut and folded weights as a bank holds them, or None for the
            backbone's own ImageNet weights.
        seed: for random weights.

    Raises:
        OptionError: no such backbone or layer.
        WeightsError: weights can't be had or don't fit.
    """
    extractor = FeatureExtractor(config, _cut(config))
    stages = extractor.stages
    if isinstance(weights, Mapping):
        state = take_folded(stages, weights)
    elif weights == RANDOM:
        state = random_weights(stages, seed)
    else:
        path = Path(weights) if weights is not None else look_up(config.backbone).own_weights()
        state = _load_folded(stages, config.backbone, path)
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise WeightsError(f"weights {broken[0]!r} are not finite: the file is damaged")
    stages.load_state_dict(state, strict=True, assign=True)
    extractor.weights_hash = weights_hash(state)
    if not isinstance(weights, Mapping):
        extractor.load = functools.partial(load_extractor, weights=weights, seed=seed)
    extractor.to(memory_format=torch.channels_last)
    extractor.eval().requires_grad_(False)
    extractor.cpu().find_shapes()
    return extractor


def tapping(extractor: FeatureExtractor, config: BankConfig) -> FeatureExtractor | None:
    """Make one of the same weights, on the same device, for a configuration of other layers.

    Args:
        extractor: as it was loaded.
        config: of the same backbone.

    Returns:
        None where it takes more of the network than is there, and the rest is not at hand, or
        belongs to other weights.
    """
    if config.layers == extractor.config.layers:
        return extractor
    own, device = extractor.stages.state_dict(), extractor.mean.device
    names = list(_cut(config))
    if all(name in extractor.stages for name in names):
        cut = FeatureExtractor(config, {name: extractor.stages[name] for name in names})
        cut.weights_hash = weights_hash(cut.stages.state_dict())
        cut.load = functools.partial(tapping, extractor)
        cut.to(device).find_shapes()
        return cut
    try:
        deeper = None if extractor.load is None else extractor.load(config)
    except WeightsError:  # a file may hold no more than was asked for
        deeper = None
    if deeper is None:
        return None
    theirs = deeper.to(device).stages.state_dict()
    return deeper if all(torch.equal(value, theirs[name]) for name, value in own.items()) else None


def _cut(config: BankConfig) -> Stages:
    """Keep the stages up to the last tapped layer."""
    backbone, (height, width) = look_up(config.backbone), config.preprocessing.crop_px
    if backbone.most_px is not None and height * width > backbone.most_px:
        raise OptionError(
            f"size {height}x{width}: {config.backbone} sees all of an input at once, so of at most "
            f"{backbone.most_px} px in all; take a smaller --size, or another --backbone"
        )
    stages = backbone.stages()
    unknown = [layer for layer in config.layers if layer not in stages]
    if unknown:
        raise OptionError(
            f"{config.backbone} has no layer {unknown[0]!r}; its layers are {', '.join(stages)}"
        )
    names = list(stages)
    last = max(names.index(layer) for layer in config.layers)
    return {name: stages[name] for name in names[: last + 1]}


def _load_folded(stages: nn.ModuleDict, name: str, path: Path) -> dict[str, Tensor]:
    """Read a weights file, check that it is the backbone's, and fold it into the cut stages."""
    state, backbone = read_weights(path), look_up(name)
    whole = backbone.file_names()
    foreign = [key for key in state if key not in whole and not backbone.is_head(key)]
    if foreign:
        raise WeightsError(f"weights file {path} has {foreign[0]!r}: it is not {name}'s")
    renamed = {whole[key]: value for key, value in state.items() if key in whole}
    try:
        return fold_batch_norm(stages, renamed)
    except WeightsError as error:
        raise WeightsError(f"weights file {path}: {error}") from error
