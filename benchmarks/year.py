"""A line through a year of slow drift, kept by its operator or left alone: simulated.

Usage: python benchmarks/year.py CATEGORY... [--days 364] [--parts 12] [--size 160] [--seed 0]

Of a category's good pictures 50 make the bank, 50 are held out, and the others are the line's
parts: so many a day, drawn with replacement, 2 % of them defective ones (half of the category's;
the others are held out, too). From day to day pictures get a little darker and less sharp, until on
the last day levels are × 0.75, after a Gaussian blur whose sigma is 0.75 px of the bank's input. To
make each a picture of its own, the lamp flickers by 1 %, and there is noise of one level (standard
deviations). Exposure alone would be no test: the bank takes that back, at no cost in verdicts.

Three lines see the same parts: one without drift (*calm*), one that drifts and is *left* as it was
built, and one that is *kept*, as follows, with two files of decisions each week:

* days 1 and 2: the operator decides of every part; then `calibrate` by these, at most 5 % false
  alarms;
* days 3 to 7: the operator decides of alarms alone, "good" where the part is good; then `add`.

So no part that a threshold is set by was learnt. Drift is followed in all three, anew with each
bank. Prints for each line the false alarms of each quarter, defects missed, AUROC and false alarms
of what is held out, as it looks on the last day, and when drift was noticed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from year_parts import Decisions, Parts, Shot, shoot, split

import fapm_cli as fapm
from fapm_cli.api.bank import Bank
from fapm_cli.evaluation.metrics import image_curve
from fapm_cli.finding.labels import read_labels

DEFECTS, MOST_ALARMS = 0.02, 0.05
WEEK, DECIDING = 7, 2

HEAD = (
    "| | line | false alarms by quarter | in the year | promised at most | missed "
    "| AUROC held out, first day → last | false alarms held out | bank | drift noticed |\n"
    + "|---" * 10
    + "|"
)


@dataclass
class Line:
    """A line, and what came of it.

    Attributes:
        name: of it.
        bank: that judges.
        drifts: whether its pictures do.
        kept: whether its operator keeps it.
        alarms: of each day's good parts, how many, and how many of them were called anomalous.
        missed: how many defects, and how many of them were not.
        noticed: days of alarms of drift, and their causes.
        promised: false-alarm rates, of each day's bank.
    """

    name: str
    bank: Bank
    drifts: bool = True
    kept: bool = False
    alarms: list[tuple[int, int]] = field(default_factory=list)
    missed: list[tuple[int, int]] = field(default_factory=list)
    noticed: list[tuple[int, str]] = field(default_factory=list)
    promised: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Lay out the bank."""
        self.use(self.bank)

    def use(self, bank: Bank) -> None:
        """Judge by another bank."""
        self.bank, self.detector = bank, bank.detector()
        self.drift, self._told = bank.drift(), False

    def judge(self, day: int, shots: Sequence[Shot], bad: Sequence[bool]) -> list[str]:
        """Judge a day's parts; verdicts."""
        records = [result.record for result in self.detector.stream(shots)]
        verdicts = [record["verdict"] for record in records]
        good = [verdict for verdict, is_bad in zip(verdicts, bad, strict=True) if not is_bad]
        self.alarms.append((len(good), good.count("anomalous")))
        defects = [verdict for verdict, is_bad in zip(verdicts, bad, strict=True) if is_bad]
        self.missed.append((len(defects), len(defects) - defects.count("anomalous")))
        self.promised.append(self.bank.thresholds.rate)
        for record in records:
            state = self.drift.add(record)
            if state["alarm"] and not self._told:
                self._told = True
                self.noticed.append((day, state["cause"]))
        return verdicts


def keep(line: Line, decisions: Decisions, day: int) -> None:
    """What is done at the end of a day, where it is the day for it."""
    since = day % WEEK + 1
    if since not in (DECIDING, WEEK):
        return
    decided = read_labels(decisions.file)
    if since == DECIDING:
        line.use(
            line.bank.calibrate(
                decided.good,
                decided.defect or None,
                max_false_alarm_rate=MOST_ALARMS,
                allow_few=True,
                keep_suspects=True,
                detector=line.detector,
            )
        )
    elif decided.good:
        names = [(path, f"{day:03}-{path.name}") for path in decided.good]
        line.use(fapm.add(line.bank, names))
    decisions.empty()


def simulate(root: Path, asked: argparse.Namespace) -> list[str]:
    """A year of a category; a row for each line."""
    chance, noise = random.Random(asked.seed), np.random.default_rng(asked.seed)
    parts = split(root, chance)
    shots = [(shoot(path, 0, asked.size, noise), path.name) for path in parts.bank]
    built = fapm.build(shots, size=asked.size, aim=fapm.Aim(false_alarm_rate=MOST_ALARMS))
    lines = [
        Line("calm", built, drifts=False),
        Line("drifts, left", built),
        Line("drifts, kept", built, kept=True),
    ]
    first = judge_held(lines[0], parts, 0, asked.size)[0]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        decisions = Decisions(Path(folder))
        for day in range(asked.days):
            bad = [chance.random() < DEFECTS for _ in range(asked.parts)]
            drawn = [chance.choice(parts.bad if is_bad else parts.good) for is_bad in bad]
            today = [shoot(path, day / asked.days, asked.size, noise) for path in drawn]
            calm = [shoot(path, 0, asked.size, noise) for path in drawn]
            for line in lines:
                shown = today if line.drifts else calm
                verdicts = line.judge(day, shown, bad)
                if line.kept:
                    for shot, is_bad, verdict in zip(shown, bad, verdicts, strict=True):
                        if day % WEEK < DECIDING or verdict == "anomalous":
                            decisions.decide(shot, is_bad)
                    keep(line, decisions, day)
            if day % 28 == 27:
                print(so_far(root.name, day, lines, time.monotonic() - begun), file=sys.stderr)
    return [
        row(root.name, line, first, judge_held(line, parts, float(line.drifts), asked.size))
        for line in lines
    ]


def judge_held(line: Line, parts: Parts, age: float, size: int) -> tuple[float, float]:
    """AUROC of what is held out, and the share of its good parts that are called anomalous."""
    noise = np.random.default_rng(1)
    files = [*parts.held_good, *parts.held_bad]
    found = [
        r.record for r in line.detector.stream([shoot(one, age, size, noise) for one in files])
    ]
    is_bad = np.arange(len(files)) >= len(parts.held_good)
    area = image_curve(np.array([record["score"] for record in found]), is_bad).area()
    alarms = [record["verdict"] == "anomalous" for record in found[: len(parts.held_good)]]
    return 100 * (area or 0), float(np.mean(alarms))


def share(counts: Sequence[tuple[int, int]]) -> str:
    """A share of many, in percent."""
    return f"{100 * sum(some for _, some in counts) / max(sum(all for all, _ in counts), 1):.1f} %"


def so_far(name: str, day: int, lines: Sequence[Line], seconds: float) -> str:
    """A line that says how far it is."""
    month = [f"{line.name}: {share(line.alarms[-28:])}" for line in lines]
    held = len(lines[-1].bank.learnt.pictures)
    return f"{seconds:5.0f} s  {name}, day {day + 1}: {', '.join(month)}; {held} in the bank"


def row(name: str, line: Line, first: float, held: tuple[float, float]) -> str:
    """A row of the table."""
    quarter = len(line.alarms) // 4
    quarters = [share(line.alarms[at * quarter : (at + 1) * quarter]) for at in range(4)]
    noticed = "never"
    if line.noticed:
        day, cause = line.noticed[0]
        more = f", and {len(line.noticed) - 1} times more" if len(line.noticed) > 1 else ""
        noticed = f"day {day + 1} ({cause}){more}"
    cells = [
        name,
        line.name,
        ", ".join(quarters),
        share(line.alarms),
        f"{100 * np.mean(line.promised):.1f} %",
        f"{sum(some for _, some in line.missed)} of {sum(all for all, _ in line.missed)}",
        f"{first:.1f} → {held[0]:.1f}",
        f"{100 * held[1]:.0f} %",
        f"{len(line.bank.learnt.pictures)} parts",
        noticed,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--days", type=int, default=364)
    parser.add_argument("--parts", type=int, default=12)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        found = [processes.submit(simulate, root, asked) for root in asked.categories]
        print(HEAD)
        for one in found:
            print("\n".join(one.result()), flush=True)


if __name__ == "__main__":
    main()
