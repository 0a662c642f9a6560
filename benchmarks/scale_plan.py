"""What builds of many pictures take, step by step: a model of measured constants.

The default backbone at 224 px, one thread of the machine of docs/scale.md. Memory and disk are what
``fapm build`` itself foresees, which is an upper bound. Time is CPU time: extraction, selection and
judging split over cores without loss only as far as something splits them.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass

from fapm_cli.bank.presets import default_config
from fapm_cli.learning.memory_needed import needed_with_scratch, scratch_needed
from fapm_cli.memory.coreset import num_keys
from fapm_cli.network.loading import RANDOM, load_extractor

# CPU seconds, measured while others worked, on copies of bottle: the metric and judging on 500,
# picking in the first 13 of 98 patches of 20,000 (of 500 it takes twice as long), extraction on
# 20,000; twins on 8,000 random ones. The start is a round number.
_START = 5.0  # a process, its imports, its backbone
_EXTRACT = 25.7e-3  # a picture: read, decoded, extracted, written, and its thumbnail
_TWINS = 1.9e-7  # a pair of pictures
_PICK = 6e-8  # a vector, and a key that is picked among them
_METRIC = 16.0  # a bank of 128 pictures or more
_JUDGE = 31e-3  # a picture, in plain distances and by the metric, where 51,200 keys are
_THUMBNAIL, _FIXED = 41e3, 3.4e6  # bytes: a picture, in the bank; and the backbone
_PATCHES, _MEMORIES, _VECTORS, _KEY = 49, 2, 16, 968


@dataclass(frozen=True)
class Step:
    """What a step of all banks takes: CPU seconds, and bytes of memory, disk and network."""

    name: str
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    network: float = 0.0


def plan(pictures: int, parts: int, picture_bytes: float) -> list[Step]:
    """The steps of builds of as many banks as there are parts, each of its share of pictures."""
    config = default_config()
    extractor = load_extractor(config, RANDOM)
    each = max(math.ceil(pictures / parts), 1)
    k = num_keys(each * _VECTORS, config.coreset_ratio, 4, config.max_keys)
    keys = _PATCHES * _MEMORIES * k
    memory = needed_with_scratch(config, extractor, each)
    disk = scratch_needed(config, extractor, each)
    pick = _PICK * each * _VECTORS * k * _PATCHES * _MEMORIES
    judge = each * _JUDGE
    bank = _FIXED + keys * _KEY + each * _THUMBNAIL
    return [
        Step("extract", parts * (_START + each * _EXTRACT), memory, disk, pictures * picture_bytes),
        Step("find twins", parts * _TWINS * each**2 / 2, memory),
        Step("select keys", parts * pick, memory, disk),
        Step("choose the metric", parts * _METRIC * min(each / 128, 1), memory),
        Step("judge by the others", parts * judge, memory, disk),
        Step("keep the banks", 0.0, 0.0, parts * bank, parts * bank),
    ]


def print_plan(numbers: list[int], of_parts: list[int], price: float, picture_mb: float) -> None:
    """Print a table of each number of pictures, of each number of parts."""
    for pictures in numbers:
        for parts in of_parts:
            print(f"{pictures:,} pictures, {parts:,} kinds of parts")
            print("step                   core hours   memory GB    disk GB  network GB      price")
            steps = plan(pictures, parts, picture_mb * 1e6)
            for one in [*steps, _total(steps)]:
                hours = one.seconds / 3600
                print(
                    f"{one.name:<22}{hours:11.3f}{one.memory / 1e9:12.2f}{one.disk / 1e9:11.1f}"
                    f"{one.network / 1e9:12.1f}{hours * price:11.2f}"
                )
            print()


def plot(measured: str) -> bytes:
    """Draw CPU time and memory by pictures, by lines of JSON, the model and the forecast: PNG."""
    from matplotlib.figure import Figure

    found = [json.loads(line) for line in measured.splitlines()]
    numbers = [round(10 ** (exponent / 8)) for exponent in range(16, 41)]
    totals = [_total(plan(number, 1, 0)) for number in numbers]
    figure = Figure(figsize=(8.5, 3.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(numbers, [one.seconds for one in totals], color="#3b75af", label="model")
    left.loglog(*_points(found, "cpu", 1), "o", color="#c5352c", label="measured")
    left.set_ylabel("CPU seconds, one thread")
    right.semilogx(numbers, [one.memory / 1e9 for one in totals], color="#3b75af", label="foreseen")
    right.semilogx(*_points(found, "VmHWM", 1e-3), "s", color="#777777", label="measured, VmHWM")
    right.semilogx(*_points(found, "RssAnon", 1e-3), "o", color="#c5352c", label="measured, own")
    right.set_ylabel("GB of memory, with scratch files")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("pictures of good parts")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, metadata={"Software": None})
    return drawn.getvalue()


def _points(
    found: list[dict[str, float]], name: str, times: float
) -> tuple[list[float], list[float]]:
    there = [one for one in found if name in one]
    return [one["pictures"] for one in there], [one[name] * times for one in there]


def _total(steps: list[Step]) -> Step:
    return Step(
        "in all",
        sum(one.seconds for one in steps),
        max(one.memory for one in steps),
        max(one.disk for one in steps),
        sum(one.network for one in steps),
    )
