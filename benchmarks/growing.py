"""Compare banks that grew, by add and by merge, with the bank of all pictures at once.

With ``--no-thumbnails`` they grow from their keys alone; else from the pictures they hold.

Usage: python benchmarks/growing.py CATEGORY... [--no-thumbnails]
           [--backbone resnet18 --weights FILE]

Prints, per category, a row for each way: keys, image and pixel AUROC, and the median of the
scores of nominal pictures.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import numpy as np
import torch

from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.evaluation.evaluate import evaluate
from fapm_cli.growing.grow import add_pictures
from fapm_cli.growing.merge import merge_banks
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.backbones import DEFAULT_BACKBONE
from fapm_cli.network.loading import load_extractor

STEPS = 4
CHAIN = 8


def main() -> None:
    """Grow a bank per category in every way, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--weights", default=None)
    parser.add_argument("--no-thumbnails", action="store_true")
    options = parser.parse_args()
    config = configure(backbone=options.backbone)
    extractor = load_extractor(config, options.weights)
    for root in options.categories:
        category = read_category(root)
        files = [(path, path.name) for path in category.train]
        quarters, eighths = (
            [files[i * len(files) // n : (i + 1) * len(files) // n] for i in range(n)]
            for n in (STEPS, CHAIN)
        )
        parts, small = (
            [
                build_from_files(some, config, extractor, 16, thumbnails=not options.no_thumbnails)
                for some in cut
            ]
            for cut in (quarters, eighths)
        )
        added = parts[0]
        for quarter in quarters[1:]:
            added = add_pictures(added, quarter, extractor, 16)
        banks = {
            "at once": build_from_files(files, config, extractor, 16),
            "a quarter": parts[0],
            "add": added,
            "merge": merge_banks(parts, extractor),
            "chain": functools.reduce(
                lambda one, other: merge_banks([one, other], extractor), small
            ),
        }
        for way, bank in banks.items():
            detector = Detector(bank, plan=make_plan(torch.device("cpu"), "fp32"))
            found = evaluate(category, detector, 16, lambda stage, done, total: None)
            median = float(np.median(bank.nominal_scores))
            print(
                f"{root.name:<8} {config.backbone:<20} {way:<10} "
                f"keys {sum(len(m.keys) for m in bank.memories):6} "
                f"widened {sum(int(m.widened.sum()) for m in bank.memories):3} "
                f"image AUROC {100 * (found.curve.area() or 0):6.2f} "
                f"pixel AUROC {100 * (found.figures.pixel_auroc or 0):6.2f} "
                f"nominal median {median:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
