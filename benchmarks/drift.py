"""Measure what fapm drift promises, on real good pictures: false alarms, defects, another exposure.

Usage: python benchmarks/drift.py CATEGORY... [--splits 3] [--pictures 300] [--streams 500]

Of each category up to so many good pictures are drawn, several times; half of them make a bank, the
others a line. Streams of the line are

* good: its pictures, each once, in a random order;
* defects: 10,000 drawn from it, 2 % of them from the defective ones of the category;
* exposure: the same pictures 15 % brighter or darker, from the first on, and after 1,000 drawn from
  the line as it is.

Prints a row for each category: streams with an alarm, of how many, and after how many pictures of
another exposure the alarm came: the median, and the latest.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fapm_cli as fapm
from fapm_cli.drift.drift import Drift, Reference
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.stores.stored import AnyPath

LONG, DEFECTS, NUM_LONG = 10_000, 0.02, 10
EXPOSURES, CALM, MOST, NUM_EXPOSED = (1.15, 0.85), (0, 1000), 200, 10
MOST_DEFECTIVE = 60

Record = dict[str, Any]
HEAD = (
    "| | parts in the bank | good: alarms | 2 % defects: alarms | 15 % brighter | darker "
    "| brighter after 1,000 | darker |\n|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Line:
    """A bank, and records of pictures that it has not learnt.

    Attributes:
        reference: what a bank of one half of the good pictures knows.
        good: records of the other.
        bad: of defective ones.
        exposed: of the good ones, by exposure.
    """

    reference: Reference
    good: list[Record]
    bad: list[Record]
    exposed: dict[float, list[Record]]

    def begun(self) -> Drift:
        """Begin a stream."""
        return Drift(self.reference)


def main() -> None:
    """Print a row for each category."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--streams", type=int, default=500)
    options = parser.parse_args()
    print(HEAD)
    for root in options.categories:
        lines = [make_line(root, options.pictures, seed) for seed in range(options.splits)]
        print(row(root.name, lines, options.streams), flush=True)


def make_line(root: Path, num_pictures: int, seed: int) -> Line:
    """Build a bank of half of some good pictures, and judge all others."""
    chance = random.Random(seed)
    category = read_category(root)
    good = [*category.train, *(one.path for one in category.test if one.defect is None)]
    bad = [one.path for one in category.defective]
    chance.shuffle(good)
    good = good[:num_pictures]
    bank = fapm.build(good[: len(good) // 2])
    line, detector = good[len(good) // 2 :], bank.detector()

    def records(pictures: Sequence[AnyPath | NDArray[np.uint8]]) -> list[Record]:
        return [result.record for result in detector.stream(pictures)]

    exposed = {by: records([exposed_by(path, by) for path in line]) for by in EXPOSURES}
    some = chance.sample(bad, min(len(bad), MOST_DEFECTIVE))
    return Line(bank.drift().reference, records(line), records(some), exposed)


def exposed_by(path: AnyPath, factor: float) -> NDArray[np.uint8]:
    """Read a picture as another exposure would have shown it."""
    levels = np.asarray(Image.open(path.open("rb")).convert("RGB"), np.float32) * factor
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def row(name: str, lines: Sequence[Line], num_streams: int) -> str:
    """Simulate all streams of a category."""
    parts = lines[0].begun().num_reference
    good = alarms(lines, num_streams, shuffled)
    defective = alarms(lines, NUM_LONG * len(lines), with_defects)
    cells = [name, str(parts), good, defective]
    cells += [noticed(lines, by, calm) for calm in CALM for by in EXPOSURES]
    return f"| {' | '.join(cells)} |"


def alarms(
    lines: Sequence[Line], number: int, stream: Callable[[Line, random.Random], Iterator[Record]]
) -> str:
    """Count streams with an alarm."""
    found = 0
    for seed in range(number):
        line = lines[seed % len(lines)]
        found += first_alarm(line.begun(), stream(line, random.Random(seed))) is not None
    return f"{found} of {number}"


def shuffled(line: Line, chance: random.Random) -> Iterator[Record]:
    """All good pictures, once."""
    yield from chance.sample(line.good, len(line.good))


def with_defects(line: Line, chance: random.Random) -> Iterator[Record]:
    """Very many good pictures, with some defective ones among them."""
    for _ in range(LONG):
        yield chance.choice(line.bad if chance.random() < DEFECTS else line.good)


def noticed(lines: Sequence[Line], exposure: float, calm: int) -> str:
    """Say after how many pictures of another exposure the alarm comes."""
    found: list[int | None] = []
    for seed in range(NUM_EXPOSED * len(lines)):
        line, chance = lines[seed % len(lines)], random.Random(seed)
        drift = line.begun()
        if first_alarm(drift, chance.choices(line.good, k=calm)) is None:
            found.append(first_alarm(drift, chance.choices(line.exposed[exposure], k=MOST)))
    seen = [number for number in found if number is not None]
    if not seen:
        return f"none of {len(found)}"
    most = f"{median(seen):.0f}, at most {max(seen)}"
    return most if len(seen) == len(found) else f"{most}; {len(seen)} of {len(found)}"


def first_alarm(drift: Drift, records: Sequence[Record] | Iterator[Record]) -> int | None:
    """After how many of these records there is an alarm."""
    for number, record in enumerate(records, start=1):
        if drift.add(record)["alarm"]:
            return number
    return None


if __name__ == "__main__":
    main()
