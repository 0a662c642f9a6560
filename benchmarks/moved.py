"""What shifted and turned parts do to a bank's verdicts, with and without alignment.

Usage: python benchmarks/moved.py CATEGORY... [--folder FOLDER] [--shift SHARE] [--turn DEGREES]

Cuts each category's pictures and masks anew (into FOLDER) with nothing made up at the rim: still,
and moved at random by up to so much of each side and so many degrees. For each way to align, a bank
of still pictures judges both, then one of moved pictures judges moved ones. Prints a Markdown row
for each: image AUROC, pixel AUROC and the good pictures above the bank's own threshold, all in
percent; and then how long it takes a thread to find a part.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import fapm_cli as fapm
from fapm_cli.api.evaluation import evaluate_category
from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.pictures.fitting.registration import Registration, aspect_of
from fapm_cli.pictures.picture import read_picture
from fapm_cli.pictures.preparing import prepare
from fapm_cli.stores.stored import AnyPath

_SPARE_PX = 3


def main() -> None:
    """Print the rows of each category as soon as they are known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("moved"))
    parser.add_argument("--shift", type=float, default=0.04)
    parser.add_argument("--turn", type=float, default=3.0)
    options = parser.parse_args()
    print("| set | | lie well | moved | all moved |\n|---|---|---|---|---|")
    for source in options.categories:
        folder = options.folder / source.name
        if not folder.exists():
            cut_all(source, folder, options.shift, options.turn)
        banks: dict[str, fapm.Bank] = {}
        for align in ("none", "shift", "rigid"):
            cells = []
            for learnt, judged in (("still", ("still", "moved")), ("moved", ("moved",))):
                try:
                    banks[align] = fapm.build(read_category(folder / learnt).train, align=align)
                except PictureError as error:
                    cells += [str(error)] * len(judged)
                    continue
                cells += [figures(banks[align], folder / name) for name in judged]
            print(f"| {source.name} | `--align {align}` | {' | '.join(cells)} |", flush=True)
        for align in ("shift", "rigid"):
            if align in banks:
                files = [one.path for one in read_category(folder / "moved").test[:40]]
                print(f"{source.name}, {align}: {milliseconds(banks[align], files):.1f} ms")


def cut_all(source: Path, folder: Path, most_shift: float, most_turn: float) -> None:
    """Cut the pictures and masks of a category, still and moved."""
    draw = np.random.default_rng(0)
    for path in sorted([*source.glob("train/*/*"), *source.glob("test/*/*")]):
        with Image.open(path) as image:
            size_px = image.height, image.width
        sine = math.sin(math.radians(most_turn))
        rims = tuple(
            math.ceil(most_shift * own + sine * across / 2 + _SPARE_PX)
            for own, across in zip(size_px, size_px[::-1], strict=True)
        )
        shares = draw.uniform(-most_shift, most_shift, 2)
        down, right = (
            round(share * (own - 2 * rim))
            for share, own, rim in zip(shares, size_px, rims, strict=True)
        )
        pose = Pose((down, right), float(draw.uniform(-most_turn, most_turn)))
        within = path.relative_to(source)
        mask = source / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        for name, how in (("still", UPRIGHT), ("moved", pose)):
            cut(path, folder / name / within.with_suffix(".png"), how, rims, cv2.INTER_CUBIC)
            if within.parts[0] == "test" and mask.exists():
                to = folder / name / mask.relative_to(source)
                cut(mask, to, how, rims, cv2.INTER_NEAREST)


def cut(path: Path, to: Path, pose: Pose, rims: tuple[int, ...], how: int) -> None:
    """Cut the rims of a picture; or the same of what lies so, sampled once."""
    with Image.open(path) as image:
        pixels = np.array(image if image.mode == "L" else image.convert("RGB"))
    (y, x), (height, width) = rims, (pixels.shape[0] - 2 * rims[0], pixels.shape[1] - 2 * rims[1])
    shown = pixels[y : y + height, x : x + width]
    if pose != UPRIGHT:
        back = pose.inverse((height, width))
        back[:, 2] += x, y
        flags = how | cv2.WARP_INVERSE_MAP
        shown = cv2.warpAffine(pixels, back, (width, height), flags=flags).astype(np.uint8)
    to.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shown).save(to)


def figures(bank: fapm.Bank, folder: Path) -> str:
    """Judge a category."""
    record = evaluate_category(read_category(folder), bank.detector()).record()
    pixel = record["pixel_auroc"]
    cells = f"{100 * record['image_auroc']:.2f}", "–" if pixel is None else f"{100 * pixel:.1f}"
    return f"{', '.join(cells)}, {100 * record['false_alarm_rate']:.0f}"


def milliseconds(bank: fapm.Bank, files: Iterable[AnyPath]) -> float:
    """How long it takes a thread to find a part, the median."""
    cv2.setNumThreads(1)
    known, to = bank.learnt.registration, bank.learnt.config.preprocessing
    assert isinstance(known, Registration)
    times = []
    for path in files:
        picture = read_picture(path)
        pixels = prepare(picture.image, to)
        begun = time.thread_time()
        known.find(pixels, aspect_of(picture.size_px, to))
        times.append(1000 * (time.thread_time() - begun))
    return float(np.median(times))


if __name__ == "__main__":
    main()
