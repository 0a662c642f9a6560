"""Compare a precision's scores with float32's on labelled pictures, bank by bank.

Usage: python benchmarks/precision.py CATEGORY... [--precision fp16]

bf16 as OpenVINO computes it, where the CPU has it; fp16 by torch, emulated on a CPU. Prints, per
category, AUROC under both, and how far single scores moved: as a share of the gap between the
medians of good and defective pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import Plan
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.judge import Judge
from fapm_cli.engines.openvino_judge import OpenVinoJudge
from fapm_cli.evaluation.datasets import read_category, read_truth
from fapm_cli.evaluation.metrics import PixelCurves, image_curve
from fapm_cli.finding.folders import Unreadable
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.backbones import DEFAULT_BACKBONE
from fapm_cli.network.loading import load_extractor
from fapm_cli.pictures.reading import read_batches


def score(detector: Judge, root: Path) -> tuple[np.ndarray, float | None]:
    """Image scores of a category's test pictures, and pixel AUROC."""
    category = read_category(root)
    preprocessing = detector.bank.config.preprocessing
    scores: list[float] = []
    pixels = PixelCurves()
    for batch in read_batches((one.path for one in category.test), preprocessing, 16):
        for one in batch:
            assert not isinstance(one, Unreadable)
            found = detector.detect(one.pixels[None]).on_host
            mask = read_truth(category.test[len(scores)], one.picture.size_px, preprocessing)
            pixels.add(found.anomaly_maps[0], mask)
            scores.append(float(found.image_scores[0]))
    return np.array(scores), pixels.auroc()


def main() -> None:
    """Build one float32 bank per category, and score it in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    device = torch.device(options.device)
    for root in options.categories:
        config = configure(backbone=options.backbone)
        extractor = load_extractor(config, options.weights)
        files = [(path, path.name) for path in read_category(root).train]
        bank = build_from_files(files, config, extractor, 16)
        defective = np.array([one.defect is not None for one in read_category(root).test])
        results = {}
        for precision in ("fp32", options.precision):
            judge: Judge
            if precision == "bf16" and device.type == "cpu":
                judge = OpenVinoJudge(bank, precision)
            else:  # made directly: accuracy may be asked of what would be too slow to use here
                judge = Detector(bank, plan=Plan(device, precision))
            results[precision] = score(judge, root)
        (exact, exact_pixel), (rough, rough_pixel) = results.values()
        gap = float(np.median(exact[defective]) - np.median(exact[~defective]))
        moved = np.abs(rough - exact)
        print(
            f"{root.name:<10} {config.backbone:<20} image AUROC "
            f"{100 * (image_curve(exact, defective).area() or 0):.2f} -> "
            f"{100 * (image_curve(rough, defective).area() or 0):.2f}, pixel AUROC "
            f"{100 * (exact_pixel or 0):.2f} -> {100 * (rough_pixel or 0):.2f}, moved at most "
            f"{moved.max() / gap:.2%} of the gap, median {np.median(moved) / gap:.2%}; "
            f"relative at most {(moved / exact).max():.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
