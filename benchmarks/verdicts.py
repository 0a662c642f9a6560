"""Compare a bank's own threshold with an in-sample one and the best, on labelled pictures.

Usage: python benchmarks/verdicts.py CATEGORY... [--backbone NAME] [--weights FILE]

In sample: nominal pictures scored by the bank that holds their own keys; the threshold that as
many of them exceed. Prints a row of docs/accuracy.md's table per category.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.evaluation.metrics import balanced_accuracy, image_curve
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.backbones import DEFAULT_BACKBONE
from fapm_cli.network.loading import load_extractor
from fapm_cli.stores.stored import AnyPath


def score(detector: Detector, paths: Iterable[AnyPath]) -> NDArray[np.float64]:
    """Image scores of pictures, all of which must be readable."""
    found = list(judge(detector, paths, 8))
    return np.array([float(one.found.image_scores[0]) for one in found if isinstance(one, Judged)])


def main() -> None:
    """Build a bank of each category with its thresholds, and judge its test pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    config = configure(backbone=options.backbone)
    extractor = load_extractor(config, options.weights)
    for root in options.categories:
        category = read_category(root)
        files = [(path, path.name) for path in category.train]
        built = build_from_files(files, config, extractor, 16)
        detector = Detector(built, plan=make_plan(torch.device("cpu"), "fp32"))
        own = detector.bank.thresholds
        in_sample = np.sort(score(detector, category.train))[-1 - own.num_above]
        scores = score(detector, (one.path for one in category.test))
        bad = np.array([one.defect is not None for one in category.test])
        num_good = int((~bad).sum())
        cells = [config.backbone, category.name]
        cells += [f"{100 * own.expected:.1f} (≤ {100 * own.at_most:.1f})"]
        for threshold in (own.score, float(in_sample)):
            above = scores > threshold
            alarms = int(above[~bad].sum())
            cells += [f"{threshold:.3f}", f"{100 * (balanced_accuracy(above, bad) or 0):.1f}"]
            cells += [f"{alarms} of {num_good}"]
        cells += [str(own.expected_among(num_good))]
        cells += [f"{100 * (image_curve(scores, bad).best_balanced_accuracy() or 0):.1f}"]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
