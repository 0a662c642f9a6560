"""Synthetic banks, for speed measurements."""

from __future__ import annotations

import torch

from fapm_cli.bank.bank import Bank, LayerMemory
from fapm_cli.bank.nominal_pictures import NominalPicture
from fapm_cli.bank.presets import default_config, paper_config
from fapm_cli.compute.plan import Plan
from fapm_cli.config import BankConfig
from fapm_cli.detection.detector import Detector
from fapm_cli.learning.learn import program_versions
from fapm_cli.learning.selecting import MIN_KEYS
from fapm_cli.memory.coreset import num_keys
from fapm_cli.network.backbones import PAPER_BACKBONE
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import RANDOM, load_extractor
from fapm_cli.scores.extents import Calibration
from fapm_cli.scores.thresholds import UNSET


def synthetic_detector(
    backbone: str = PAPER_BACKBONE, variant: str = "E", num_pictures: int = 209, *, plan: Plan
) -> Detector:
    """Lay a bank of random keys, and a backbone of random weights, out for speed measurements.

    Args:
        backbone: its name; the paper's is used to the paper's letter.
        variant: A to E of the paper's Table 2.
        num_pictures: nominal pictures that a bank of this size would come from.
        plan: where and how to compute.

    Raises:
        OptionError: there is no such backbone or variant.
    """
    make_config = paper_config if backbone == PAPER_BACKBONE else default_config
    config = make_config(backbone, variant=variant).with_query(light="as-is")
    extractor = load_extractor(config, RANDOM)
    return Detector(synthetic_bank(config, extractor, num_pictures), extractor, plan=plan)


def synthetic_bank(config: BankConfig, extractor: FeatureExtractor, num_pictures: int) -> Bank:
    """Make a bank of random keys, for speed measurements: the size of a real one, no knowledge.

    Args:
        config: adaptive ones get every patch widened, the costliest case.
        extractor: gives the shapes.
        num_pictures: nominal pictures that a bank of this size would come from.
    """
    generator = torch.Generator().manual_seed(0)
    num_patches = config.grid[0] * config.grid[1]
    memories = []
    for channels, h, w in extractor.map_shapes:
        n = num_pictures * (h * w // num_patches)
        k = num_keys(n, config.coreset_ratio, MIN_KEYS, config.max_keys)
        k = min(2 * k, n) if config.adaptive else k
        counts = torch.full((num_patches,), k)
        memories.append(
            LayerMemory(
                keys=torch.randn(num_patches * k, channels, generator=generator),
                key_counts=counts,
                key_pictures=torch.zeros(num_patches * k, dtype=torch.int32),
                key_cells=torch.zeros(num_patches * k, dtype=torch.int32),
                radius_sq=torch.ones(num_patches),
                widened=torch.full((num_patches,), config.adaptive),
            )
        )
    sizes = tuple((h, w) for _, h, w in extractor.map_shapes)
    pictures = tuple(
        NominalPicture("synthetic", "", "", 1.0, 1.0, number) for number in range(num_pictures)
    )
    none = Calibration(torch.ones(max(sizes)), 0.0)
    return Bank(
        config=config,
        memories=tuple(memories),
        map_sizes=sizes,
        calibration=none,
        thresholds=UNSET,
        pictures=pictures,
        weights_hash=extractor.weights_hash,
        weights="random",
        backbone=None,
        versions=program_versions(),
    )
