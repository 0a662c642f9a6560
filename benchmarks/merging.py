"""Compare a hundred banks that were merged, at once, as a tree or one by one, with one build.

Usage: python benchmarks/merging.py CATEGORY... [--banks 100,20] [--together 10] [--turn 0]
           [--ratio 0.25] [--metric plain] [--calibration]

The banks hold no thumbnails: with them a merge learns all pictures anew, and is that build byte for
byte. Their pictures are the category's good ones, evenly. A bank of under ten pictures has no
metric of each patch's own, and one merged of such has none; so there are two builds at once.
Of few pictures whose parts turn, a build learns turned copies, too, and of many none: --turn 0
leaves them out. With --ratio the banks that are merged keep that share of their vectors as keys; of
as many pictures as there are in all, --max-keys then limits what comes of them as it does a build.
With --calibration each merged bank is judged again, by the calibration of the build at once.
Pseudo-defects are left out: no figure here asks for a threshold. Prints keys, image and pixel
AUROC, and the largest slack and covering radius.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.presets import configure
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.evaluation.datasets import Category, read_category
from fapm_cli.evaluation.evaluate import evaluate
from fapm_cli.growing.merge import merge_banks
from fapm_cli.growing.opening import to_join
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor

Files = Sequence[tuple[Path, str]]


def as_a_tree(banks: Sequence[Bank], extractor: FeatureExtractor, together: int) -> Bank:
    """Merge some at a time, and then what came of them, until one is left."""
    while len(banks) > 1:
        some = [banks[i : i + together] for i in range(0, len(banks), together)]
        banks = [merge_banks(to_join(each), extractor) for each in some]
    return banks[0]


def report(category: Category, way: str, bank: Bank, at_once: int, took: float) -> None:
    """Print a line."""
    detector = Detector(bank, plan=make_plan(torch.device("cpu"), "fp32"))
    found = evaluate(category, detector, 16, lambda *_: None)
    keys = sum(len(m.keys) for m in bank.memories)
    slack = [float(m.key_slack.amax()) for m in bank.memories if m.key_slack is not None]
    radius = max(float(m.radius_sq.sqrt().amax()) for m in bank.memories)
    print(
        f"{category.name:14}{way:36}{keys:8}{keys / at_once:7.2f}"
        f"{100 * (found.curve.area() or 0):9.2f} / {100 * (found.figures.pixel_auroc or 0):5.2f}"
        f"{max(slack, default=0):8.3f}{radius:8.3f}{took:8.1f}",
        flush=True,
    )


def compare(category: Category, asked: argparse.Namespace) -> None:
    """A line for each way to come to a bank of all pictures."""
    files = [(Path(str(path)), f"{i:06}") for i, path in enumerate(category.train)]
    extractor = load_extractor(configure())
    learn = functools.partial(build_from_files, extractor=extractor, batch_size=16)
    learn = functools.partial(learn, thumbnails=False)
    config = configure(turn=asked.turn, metric=asked.metric)
    whole = learn(files, config)
    keys = sum(len(m.keys) for m in whole.memories)
    report(category, "at once", whole, keys, 0.0)
    if asked.metric is None:
        plain = learn(files, configure(metric="plain", turn=asked.turn))
        report(category, "at once, plain metric", plain, keys, 0.0)
    for number in map(int, asked.banks.split(",")):
        cuts = [i * len(files) // number for i in range(number + 1)]
        some_keys = replace(config, coreset_ratio=asked.ratio or config.coreset_ratio)
        banks = [learn(files[a:b], some_keys) for a, b in itertools.pairwise(cuts)]
        ways = {f"{number} banks at once": number, "one by one": 0}
        if asked.together < number:
            ways[f"a tree of {asked.together} each"] = asked.together
        for way, some in ways.items():
            begun = time.process_time()
            if some:
                merged = as_a_tree(banks, extractor, some)
            else:
                merged = functools.reduce(lambda a, b: merge_banks([a, b], extractor), banks)
            report(category, way, merged, keys, time.process_time() - begun)
            if asked.calibration:
                again = replace(merged, calibration=whole.calibration)
                report(category, f"  {way}, calibrated", again, keys, 0.0)


def main() -> None:
    """Compare in each category."""
    parser = argparse.ArgumentParser()
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--banks", default="100")
    parser.add_argument("--together", type=int, default=10)
    parser.add_argument("--turn", type=int, help="Degrees of turned copies; found by default.")
    parser.add_argument("--ratio", type=float, help="Coreset ratio of the banks that are merged.")
    parser.add_argument("--metric", choices=("own", "plain"))
    parser.add_argument("--calibration", action="store_true")
    asked = parser.parse_args()
    columns = f"{'category':14}{'way':36}{'keys':>8}{'times':>7}  image / pixel AUROC"
    print(f"{columns}   slack  radius   CPU s")
    with mock.patch("fapm_cli.learning.nominal_response.pseudo_scores", return_value=None):
        for root in asked.categories:
            compare(read_category(root), asked)


if __name__ == "__main__":
    main()
