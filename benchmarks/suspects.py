"""Smuggle defective pictures among the good ones, and see whether build finds them out.

Usage: python benchmarks/suspects.py CATEGORY [--seeds 3] [--backbone NAME] [--weights FILE]

Takes five defective pictures per seed, of as many kinds of defect as there are. Prints their places
among the suspects, and image AUROC on the rest: of the clean bank, the dirty one, and the one built
with outliers dropped.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.evaluation.datasets import TestPicture, read_category
from fapm_cli.evaluation.metrics import image_curve
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.backbones import DEFAULT_BACKBONE
from fapm_cli.network.loading import load_extractor

NUM_SMUGGLED = 5


def auroc(bank: Bank, pictures: Sequence[TestPicture]) -> float:
    """Image AUROC of labelled pictures, in percent."""
    fp32 = make_plan(torch.device("cpu"), "fp32")
    found = list(judge(Detector(bank, plan=fp32), (one.path for one in pictures), 8))
    scores = [float(one.found.image_scores[0]) for one in found if isinstance(one, Judged)]
    bad = np.array([one.defect is not None for one in pictures])
    return 100 * (image_curve(np.array(scores), bad).area() or 0)


def choose(test: Sequence[TestPicture], seed: int) -> list[TestPicture]:
    """Choose five defective pictures, kind after kind."""
    rng = random.Random(seed)
    kinds = sorted({one.defect for one in test if one.defect is not None})
    pools = [[one for one in test if one.defect == kind] for kind in kinds]
    for pool in pools:
        rng.shuffle(pool)
    return [pools[i % len(pools)].pop() for i in range(NUM_SMUGGLED)]


def main() -> None:
    """Build three banks per seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("category", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    config = configure(backbone=options.backbone)
    extractor = load_extractor(config, options.weights)
    category = read_category(options.category)
    good = [(path, path.name) for path in category.train]
    clean = build_from_files(good, config, extractor, 16)
    for seed in range(options.seeds):
        smuggled = choose(category.test, seed)
        files = good + [(one.path, f"{one.defect}/{one.path.name}") for one in smuggled]
        suspects: list[str] = []
        dirty = build_from_files(
            files,
            config,
            extractor,
            16,
            on_suspects=lambda found, _, names=suspects: names.extend(n for n, _ in found),  # type: ignore[misc]
        )
        dropped = build_from_files(files, config, extractor, 16, drop_outliers=True)
        places = [suspects.index(n) + 1 if n in suspects else None for _, n in files[len(good) :]]
        rest = [one for one in category.test if one not in smuggled]
        figures = [f"{auroc(bank, rest):.2f}" for bank in (clean, dirty, dropped)]
        lost = len(files) - len(dropped.pictures)
        names = ", ".join(
            f"{n} {place or '-'}" for (_, n), place in zip(files[len(good) :], places, strict=True)
        )
        print("|", " | ".join([config.backbone, names, str(lost), *figures]), "|", flush=True)


if __name__ == "__main__":
    main()
