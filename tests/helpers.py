"""What several test modules share: small configurations and a small bank made by hand."""

from __future__ import annotations

import dataclasses
import json

import torch
from safetensors.torch import save
from torch import Tensor

from fapm_cli.bank.bank import Bank, LayerMemory, MetricChoice
from fapm_cli.bank.checks import DTYPES
from fapm_cli.bank.file import FORMAT
from fapm_cli.bank.nominal_pictures import NominalPicture
from fapm_cli.bank.presets import default_config
from fapm_cli.bank.thumbnails import encode_thumbnail
from fapm_cli.config import BankConfig, Query
from fapm_cli.memory.patch_memory import patch_memory
from fapm_cli.pictures.fitting.light import Light
from fapm_cli.scores.extents import Calibration, Extents
from fapm_cli.scores.scorer import Scorer
from fapm_cli.scores.thresholds import rate_thresholds, with_review


def small_config(**changes: object) -> BankConfig:
    """Configure a bank of two resnet18 layers, 64×96 px, a 2×3 grid: maps of 8×12 and 4×6."""
    config = default_config("resnet18", size_px=(64, 96), grid=(2, 3))
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def small_bank(
    seed: int = 0,
    *,
    with_backbone: bool = True,
    with_thumbnails: bool = True,
    with_metrics: bool = False,
) -> Bank:
    """Make a bank of random keys, ragged over its patches, as :func:`small_config` describes."""
    config = small_config()
    generator = torch.Generator().manual_seed(seed)
    memories = []
    map_sizes = ((8, 12), (4, 6))
    for channels, (h, w) in zip((5, 7), map_sizes, strict=True):
        counts = torch.tensor([4, 8, 4, 4, 8, 4])
        total = int(counts.sum())
        memories.append(
            LayerMemory(
                keys=torch.randn(total, channels, generator=generator),
                key_counts=counts,
                key_pictures=torch.randint(3, (total,), generator=generator).int(),
                key_cells=torch.randint(h * w, (total,), generator=generator).int(),
                radius_sq=torch.rand(6, generator=generator),
                widened=counts == 8,
            )
        )
    if with_metrics:
        drawn = [torch.randn(6, c, c, generator=generator).bfloat16().float() for c in (5, 7)]
        memories = [
            dataclasses.replace(m, metrics=own) for m, own in zip(memories, drawn, strict=True)
        ]
    backbone = {
        "stem.conv1.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "stem.conv1.bias": torch.randn(4, generator=generator),
    }
    shown = torch.randint(256, (3, *config.preprocessing.crop_px, 3), generator=generator)
    thumbnails = tuple(encode_thumbnail(one) for one in shown.to(torch.uint8).numpy())
    pictures = tuple(
        NominalPicture(
            f"good/{i:03} ü.png", f"{i + 1:064x}", f"{i + 7:064x}", 0.1 + i / 3, 0.2 + i / 3, i
        )
        for i in range(3)
    )
    scores, peaks = zip(*((p.score, p.peak) for p in pictures), strict=True)
    thresholds = with_review(rate_thresholds(scores, peaks, 0.1), scores, 0.5)
    return Bank(
        config=config,
        memories=tuple(memories),
        map_sizes=map_sizes,
        calibration=Calibration(
            0.5 + torch.rand(8, 12, generator=generator),
            0.7,
            Extents((0.1, 0.0, -0.5), (0.1, 0.05, 0.03), 12),
        ),
        thresholds=thresholds,
        pictures=pictures,
        weights_hash="ab" * 32,
        weights="weights.pth",
        backbone=backbone if with_backbone else None,
        versions={"fapm": "0.1.0", "torch": "2.6.0"},
        thumbnails=thumbnails if with_thumbnails else None,
        metric=MetricChoice(0.3, ((None, 0.75), (0.3, 0.875))) if with_metrics else None,
        light=Light.of(shown.to(torch.uint8).numpy()),
    )


def version_1_bytes(bank: Bank) -> bytes:
    """Write a bank as format version 1 did: pictures stand in the header, without groups."""
    config = bank.config.to_json()
    del config["query"]["light"]
    header = {
        "config": config,
        "map_sizes": bank.map_sizes,
        "ranges": {"stem.conv1": (-1.0, 2.5)},
        "place_share": bank.calibration.place_share,
        "pictures": [[p.name, p.sha256, p.score, p.peak] for p in bank.pictures],
        "thresholds": bank.thresholds.to_json(),
        "version": 1,
        "versions": bank.versions,
        "weights": bank.weights,
        "weights_hash": bank.weights_hash,
    }
    tensors = {
        f"{part}.{j}": getattr(memory, part)
        for j, memory in enumerate(bank.memories)
        for part in DTYPES
    }
    tensors |= {f"backbone.{name}": value for name, value in (bank.backbone or {}).items()}
    tensors["calibration"] = bank.calibration.factors
    if bank.roi is not None:
        tensors["roi"] = bank.roi
    if bank.thumbnails is not None:
        whole = b"".join(bank.thumbnails)
        tensors["thumbnails"] = torch.frombuffer(bytearray(whole), dtype=torch.uint8)
        tensors["thumbnail_ends"] = torch.tensor([len(t) for t in bank.thumbnails]).cumsum(0)
    return save(tensors, {FORMAT: json.dumps(header, sort_keys=True, separators=(",", ":"))})


def scorer_of(bank: Bank, query: Query, roi: Tensor | None) -> Scorer:
    """Lay a bank's memories out, to be scored as the query says."""
    laid_out = [patch_memory(m.keys, m.key_counts, bank.config.grid) for m in bank.memories]
    return Scorer(
        bank.config.grid,
        bank.config.preprocessing.crop_px,
        query,
        laid_out,
        bank.map_sizes,
        bank.calibration,
        roi,
    )
