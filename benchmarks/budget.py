r"""What a limit for keys costs: accuracy, radius and threshold by --max-keys, and what a key tells.

python benchmarks/budget.py CATEGORY... --pictures 0,2000 --keys 26,52,104,208,512 \
    --at /var/tmp/copies

Learns the category's own good pictures (0: no more), and copies of them up to a number, which are
those of benchmarks/scale.py at 448 px: shifted by up to 2 %, 0.9 to 1.1 times as bright, JPEG of
quality 75 to 95. Vectors are extracted once, and learnt from with each limit (0: none); all banks
judge the category's test pictures. Radii are means over patches. False alarms and misses are those
of the default threshold.

python benchmarks/budget.py CATEGORY... --pictures 2000 --at /var/tmp/copies --keys "" --response

How the distance of good vectors to their nearest keys falls with K, in a sixth of the patches: keys
are picked among one half of the parts, a picture and its copies, and the other half is judged. Per
layer: K; the covering radius; the mean response; how far apart good pictures' responses lie, which
are each the largest of a patch (standard deviation); and how much of that one more doubling of K
takes off.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scale import copies

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.evaluation.datasets import Category, read_category
from fapm_cli.evaluation.evaluate import evaluate
from fapm_cli.learning import build
from fapm_cli.learning.extracting import Extracted
from fapm_cli.learning.learn import learn
from fapm_cli.memory.coreset import GreedyKCenter
from fapm_cli.memory.vectors import patches_of
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor

_SIDE_PX, _SOME = 448, 6


class _Taken(Exception):  # noqa: N818
    """What was extracted, before anything is learnt from it."""


def extracted_of(files: Sequence[Path], extractor: FeatureExtractor) -> tuple[Bank, Extracted]:
    """A bank yet to be learnt, and what it would be learnt from."""

    def take(most_bytes: object, bank: Bank, extracted: Extracted, *_: object) -> None:
        raise _Taken(bank, extracted)

    named = [(file, f"{number:06}") for number, file in enumerate(files)]
    with mock.patch.object(build, "learn_within", take):
        try:
            build.build_from_files(named, extractor.config, extractor, 16, thumbnails=False)
        except _Taken as taken:
            bank, extracted = taken.args
            return bank, extracted
    raise AssertionError


def pictures_of(category: Category, number: int, at: Path | None) -> list[Path]:
    """The good pictures to learn, and copies of them, so many in all."""
    own = [Path(str(file)) for file in category.train]
    if number <= len(own):
        return own
    assert at is not None, "copies need --at"
    folder = at / f"{category.name}-{_SIDE_PX}"
    copies(own, folder, number, _SIDE_PX)
    return own + [folder / f"{i:06}.jpg" for i in range(len(own), number)]


def table(category: Category, bank: Bank, extracted: Extracted, limits: Sequence[int]) -> None:
    """A line for each limit."""
    extractor = load_extractor(bank.config)
    for limit in limits:
        begun, config = time.process_time(), replace(bank.config, max_keys=limit)
        learnt, _ = learn(replace(bank, config=config), extracted, lambda *_: None, extractor)
        took = time.process_time() - begun
        detector = Detector(learnt, plan=make_plan(torch.device("cpu"), "fp32"))
        found = evaluate(category, detector, 16, lambda *_: None)
        bad = np.array([one.defect is not None for one in found.test])
        above = found.scores > learnt.thresholds.score
        radii = [float(m.radius_sq.sqrt().mean()) for m in learnt.memories]
        wide = sum(int(m.widened.sum()) for m in learnt.memories)
        image, pixel = found.curve.area() or 0, found.figures.pixel_auroc or 0
        print(
            f"{category.name:14}{len(learnt.pictures):6}{limit:6}"
            f"{sum(len(m.keys) for m in learnt.memories):9}{wide:6}"
            f"{' / '.join(f'{r:.3f}' for r in radii):>16}{learnt.thresholds.score:10.4f}"
            f"{100 * image:8.2f} / {100 * pixel:5.2f}"
            f"{int(above[~bad].sum()):5} of {int((~bad).sum())}"
            f"{int((~above[bad]).sum()):5} of {int(bad.sum())}{took:8.0f}",
            flush=True,
        )


def responses(category: Category, extracted: Extracted, num_own: int) -> None:
    """Lines by layer and K."""
    total = len(extracted.pictures)
    halves = torch.arange(total) % num_own % 2
    for j, vectors in enumerate(extracted.features):
        lines: dict[int, list[tuple[float, ...]]] = {}
        for i in range(0, vectors.shape[0], _SOME):
            by_picture = patches_of(vectors, i, i + 1)[0].view(total, -1, vectors.shape[2])
            keys, queries = by_picture[halves == 0].flatten(0, 1), by_picture[halves == 1]
            for k, line in _falling(keys, queries):
                lines.setdefault(k, []).append(line)
        for k, found in lines.items():
            radius, usual, spread, takes = (sum(of) / len(of) for of in zip(*found, strict=True))
            below = f"{sum(one[0] < one[2] for one in found)} of {len(found)} patches"
            print(
                f"{category.name:14}{total:6}  layer {j}{k:6}{radius:9.4f}{usual:9.4f}{spread:9.4f}"
                f"{100 * takes / spread:8.1f} %   radius below spread in {below}",
                flush=True,
            )


def _falling(keys: torch.Tensor, queries: torch.Tensor) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Of K, twice as many, and so on: radius, mean response, its spread, what 2K take off it."""
    search, k = GreedyKCenter(keys.unsqueeze(0)), 16
    found = []
    while k <= min(2048, len(keys)):
        picks = search.extend(k)[0]
        distances = torch.cdist(queries, keys[picks].unsqueeze(0)).topk(4, largest=False).values
        found.append((k, float(search.radius_sq()[0].sqrt()), distances.mean(dim=2).amax(dim=1)))
        k *= 2
    for (k, radius, one), (_, _, more) in itertools.pairwise(found):
        spread = float(one.std())
        yield k, (radius, float(one.mean()), spread, float((one - more).mean()))


def main() -> None:
    """Print a table for each category and number of pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--pictures", default="0")
    parser.add_argument("--keys", default="26,52,104,208,512", help="Limits; none: no table.")
    parser.add_argument("--at", type=Path, help="Where copies are made.")
    parser.add_argument("--response", action="store_true")
    asked = parser.parse_args()
    limits = [int(limit) for limit in asked.keys.split(",") if limit]
    if limits:
        print(
            "category    pictures  K max   keys  wide          radii  threshold  "
            "image / pixel AUROC  false alarms  missed  CPU s"
        )
    for root in asked.categories:
        category = read_category(root)
        for number in map(int, asked.pictures.split(",")):
            files = pictures_of(category, number, asked.at)
            bank, extracted = extracted_of(files, load_extractor(configure()))
            if asked.response:
                responses(category, extracted, len(category.train))
            table(category, bank, extracted, limits)


if __name__ == "__main__":
    main()
