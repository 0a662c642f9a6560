"""How large a defect must be to be found: marks of known size and contrast on good pictures.

Usage: python benchmarks/smallest_defect.py CATEGORY... [--backbone NAME] [--weights FILE]

A bank of each category's nominal pictures, its own threshold; on every good test picture, a round
spot and a line (as wide as said, twelve times as long, any angle) are drawn at a random place
where the picture is not plain background, darker or lighter by a share of the full range. Prints,
per category, shape and contrast, the share of pictures judged anomalous for each size in px of the
input, and beside it the share without any mark. See docs/taking-pictures.md.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fapm_cli.bank.presets import default_config
from fapm_cli.detection.detector import Detector
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.loading import load_extractor
from fapm_cli.pictures.reading import Prepared, prepare_item

SIZES_PX = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
CONTRASTS = (0.15, 0.3, 0.6)
LENGTH = 12
DRAWS = 2
Pixels = NDArray[np.uint8]


def mark(picture: Pixels, shape: str, size: float, contrast: float, seed: int) -> Pixels:
    """Draw one mark, antialiased, at a place drawn by the seed.

    Args:
        picture: (H, W, 3) uint8.
        shape: ``spot`` or ``line``.
        size: its diameter or width, px.
        contrast: what is taken from dark to light, a share of 255; towards the farther end.
        seed: of place and angle.
    """
    generator = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    fine = 8
    y, x = place(picture, generator)
    cover = np.zeros((height * fine, width * fine), np.uint8)
    if shape == "spot":
        cv2.circle(cover, (int(x * fine), int(y * fine)), max(1, round(size * fine / 2)), 255, -1)
    else:
        angle, half = generator.uniform(0, math.pi), LENGTH * size / 2
        dx, dy = half * math.cos(angle), half * math.sin(angle)
        ends = [(int((x + s * dx) * fine), int((y + s * dy) * fine)) for s in (-1, 1)]
        cv2.line(cover, ends[0], ends[1], 255, max(1, round(size * fine)))
    alpha = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255
    sign = -1 if picture[int(y), int(x)].mean() > 127 else 1
    return np.clip(picture + sign * 255 * contrast * alpha, 0, 255).round().astype(np.uint8)


def place(picture: Pixels, generator: np.random.Generator) -> tuple[float, float]:
    """A place off the rim where something is to be seen: the more texture, the likelier."""
    grey = picture.mean(axis=2)
    busy = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_64F)), (15, 15)) + 0.1
    rim = picture.shape[0] // 10
    inner = busy[rim:-rim, rim:-rim]
    chosen = generator.choice(inner.size, p=(inner / inner.sum()).ravel())
    y, x = divmod(int(chosen), inner.shape[1])
    return y + rim + 0.5, x + rim + 0.5


def share_found(detector: Detector, pictures: list[Pixels]) -> float:
    """Share of pictures that the bank's own threshold calls anomalous."""
    scores = [
        float(detector.detect(torch.from_numpy(one).unsqueeze(0)).image_scores) for one in pictures
    ]
    return float(np.mean(np.array(scores) > detector.bank.thresholds.score))


def main() -> None:
    """Build a bank of each category and draw on its good test pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    config = default_config(options.backbone)
    extractor = load_extractor(config, options.weights)
    print("| category | mark | contrast | none |", " | ".join(map(str, SIZES_PX)), "|")
    for root in options.categories:
        category = read_category(root)
        files = [(path, path.name) for path in category.train]
        detector = Detector(build_from_files(files, config, extractor, 16))
        good = [one.path for one in category.test if one.defect is None][:40]
        ready = [prepare_item(path, config.preprocessing) for path in good]
        pictures = [one.pixels for one in ready if isinstance(one, Prepared)]
        none = share_found(detector, pictures)
        for shape in ("spot", "line"):
            for contrast in CONTRASTS:
                shares = [
                    share_found(
                        detector,
                        [
                            mark(one, shape, size, contrast, 1000 * draw + number)
                            for draw in range(DRAWS)
                            for number, one in enumerate(pictures)
                        ],
                    )
                    for size in SIZES_PX
                ]
                cells = [f"{100 * share:.0f}" for share in shares]
                head = f"| {category.name} | {shape} | {contrast:.0%} | {100 * none:.0f} |"
                print(head, " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
