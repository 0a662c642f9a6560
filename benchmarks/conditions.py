"""What a change of light, or of the camera, does to a bank's verdicts.

Usage: python benchmarks/conditions.py CATEGORY... [--banks FOLDER] [--limit N] [--precision NAME]

Builds a bank of each category's good pictures by default (kept in FOLDER, and taken from there if
it is there), then judges the test pictures as they are and changed at their own size: other
exposures (levels times a factor, clipped as a camera does), gammas and white balances, JPEG at
quality 50, a blur of 1 px. Prints a Markdown row for each: image AUROC in percent and the share of
good pictures above the bank's own threshold, judged as they are and in the bank's light, and the
share that is told to be in another light. ``--limit`` judges at most so many good and so many
defective pictures, evenly taken.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import fapm_cli as fapm
from fapm_cli.bank.presets import default_config
from fapm_cli.evaluation.datasets import TestPicture, read_category
from fapm_cli.evaluation.metrics import image_curve
from fapm_cli.pictures.picture import image_pixels, read_picture

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]


def levels(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Change:
    """A change of grey levels of 0 to 255, clipped."""
    return lambda pixels: np.clip(np.rint(change(pixels.astype(float))), 0, 255).astype(np.uint8)


def compressed(pixels: Pixels) -> Pixels:
    """A picture as a JPEG of quality 50 has it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=50)
    return image_pixels(Image.open(file))


def blurred(pixels: Pixels) -> Pixels:
    """A picture out of focus by a standard deviation of 1 px."""
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1)))


CONDITIONS: dict[str, Change] = {
    "as it is": lambda pixels: pixels,
    "exposure × 0.6": levels(lambda v: v * 0.6),
    "exposure × 0.8": levels(lambda v: v * 0.8),
    "exposure × 1.2": levels(lambda v: v * 1.2),
    "exposure × 1.4": levels(lambda v: v * 1.4),
    "gamma 0.8": levels(lambda v: 255 * (v / 255) ** 0.8),
    "gamma 1.25": levels(lambda v: 255 * (v / 255) ** 1.25),
    "red × 1.1, blue × 0.9": levels(lambda v: v * [1.1, 1, 0.9]),
    "red × 0.9, blue × 1.1": levels(lambda v: v * [0.9, 1, 1.1]),
    "JPEG, quality 50": compressed,
    "blur, 1 px": blurred,
}


def main() -> None:
    """Print the rows of each category as soon as they are known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--banks", type=Path, default=Path("."))
    parser.add_argument("--limit", type=int, default=10**6)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    print(
        "| set | test pictures | as they are | in the bank's light | told |\n|---|---|---|---|---|"
    )
    for root in options.categories:
        path = options.banks / f"{root.name}.st"
        category = read_category(root)
        if not path.exists():
            fapm.build(category.train).save(path)
        bank = fapm.load(path)
        detectors = [
            bank.detector(precision=options.precision, light=light)
            for light in ("as-is", "corrected")
        ]
        test = _some(category.test, options.limit)
        bad = np.array([one.defect is not None for one in test])
        for name, change in CONDITIONS.items():
            cells = []
            for detector in detectors:
                results = list(detector.stream(_changed(test, change)))
                scores = np.array([one.score for one in results])
                auroc = image_curve(scores, bad).area()
                alarms = (scores[~bad] > bank.thresholds.score).mean()
                cells.append(
                    f"{100 * auroc:.2f}, {100 * alarms:.1f} %" if auroc is not None else "-"
                )
            told = np.mean(["light" in one.record["differs"] for one in results])
            print(
                f"| {root.name} | {name} | {' | '.join(cells)} | {100 * told:.0f} % |", flush=True
            )


def _some(test: Sequence[TestPicture], limit: int) -> list[TestPicture]:
    """At most so many good and so many defective ones, evenly taken."""
    kinds = [[one for one in test if (one.defect is None) == good] for good in (True, False)]
    return [one for kind in kinds for one in kind[:: -(-len(kind) // limit)]]


def _changed(test: Sequence[TestPicture], change: Change) -> Iterator[Pixels]:
    preprocessing = default_config().preprocessing
    for one in test:
        yield change(image_pixels(read_picture(one.path, preprocessing.bit_depth).image))


if __name__ == "__main__":
    main()
