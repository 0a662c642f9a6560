"""What few good pictures give, with and without turned copies, and whether the promise holds.

Usage: python benchmarks/few_pictures.py CATEGORY... [--numbers 1,2,4,8,16] [--draws 3] [--limit 60]
           [--backbone NAME] [--weights FILE]

Draws so many of a category's good pictures, builds a bank by default of them and judges the test
pictures (at most so many good and so many defective, evenly taken), as often as is asked. Prints a
Markdown row for each number: image AUROC in percent, the share of good pictures above the bank's
threshold, the largest share that it promised, and in how many draws that was kept, without copies
(``--turn none``) and as the pictures ask for (``auto``). Seeds are fixed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fapm_cli as fapm
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.evaluation.metrics import image_curve
from fapm_cli.stores.stored import AnyPath


@dataclass(frozen=True)
class Draw:
    """What a bank of some pictures came to.

    Attributes:
        auroc: of test pictures.
        alarms: share of good ones above the bank's threshold.
        promised: most that it promised.
        turn: degrees by which copies were turned; 0 for none.
    """

    auroc: float
    alarms: float
    promised: float
    turn: int


def main() -> None:
    """Print a row of each category and number as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--numbers", default="1,2,4,8,16")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights")
    options = parser.parse_args()
    print("| set | pictures | without copies | by default | turned by |\n|---|---:|---|---|---:|")
    for root in options.categories:
        category = read_category(root)
        kinds = [[one for one in category.test if (one.defect is None) == good] for good in (1, 0)]
        test = [one for kind in kinds for one in kind[:: -(-len(kind) // options.limit)]]
        paths = [one.path for one in test]
        bad = np.array([one.defect is not None for one in test])
        for number in map(int, options.numbers.split(",")):
            without, default = [], []
            for draw in range(options.draws):
                chosen = np.random.default_rng([number, draw])
                some = chosen.choice(len(category.train), number, replace=False)
                good = [category.train[i] for i in some]
                build = partial(
                    fapm.build, good, backbone=options.backbone, weights=options.weights
                )
                without.append(judge(build(turn=0, thumbnails=False), paths, bad))
                default.append(without[-1])
                if (bank := build(thumbnails=False)).learnt.config.turn:
                    default[-1] = judge(bank, paths, bad)
            turned = "/".join(str(one.turn) for one in default)
            cells = " | ".join(map(cell, (without, default)))
            print(f"| {root.name} | {number} | {cells} | {turned} |", flush=True)


def judge(bank: fapm.Bank, paths: list[AnyPath], bad: NDArray[np.bool_]) -> Draw:
    """Judge by a bank."""
    results = bank.detector(precision="fp32").stream(list(paths))
    scores = np.array([one.score for one in results])
    auroc = image_curve(scores, bad).area()
    assert auroc is not None
    alarms = float((scores[~bad] > bank.thresholds.score).mean())
    return Draw(auroc, alarms, bank.thresholds.at_most, bank.learnt.config.turn)


def cell(draws: list[Draw]) -> str:
    """Means over draws, and in how many the promise was kept."""
    auroc, alarms = (np.mean([getattr(one, name) for one in draws]) for name in ("auroc", "alarms"))
    promised = np.mean([one.promised for one in draws])
    kept = sum(one.alarms <= one.promised for one in draws)
    return f"{auroc:.1%}, {alarms:.0%} of at most {promised:.0%} ({kept} of {len(draws)})"


if __name__ == "__main__":
    main()
