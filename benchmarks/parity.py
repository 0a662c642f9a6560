"""Whether exported files, and OpenVINO, find what torch does: the table of docs/deployment.md.

python benchmarks/parity.py CATEGORY... --resnet18 resnet18.pth [--pictures 12] [--judged 8]

Of each category banks of variants A to E, with plain distances, and one by default are built with
each backbone; of the first one also with each option that changes a graph, and with dinov2_small,
whose weights a package has. Each bank is exported; the file, run by ONNX Runtime and by OpenVINO,
is compared with ``--engine torch`` and with ``--engine openvino``, and these two with each other,
over test pictures. Prints a Markdown row for each: the largest difference of image and layer scores
as a share of themselves, of maps as a share of their maximum, and how many peaks are the same px.
What each bank gave goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import fapm_cli as fapm
from fapm_cli.bank.bank import Bank
from fapm_cli.detection.judge import Judge
from fapm_cli.engines.opening import open_judge
from fapm_cli.errors import FapmError
from fapm_cli.evaluation.datasets import read_category
from fapm_cli.exporting.engines import Outputs, open_engines
from fapm_cli.exporting.export import export_bank
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.picture import image_pixels, read_picture
from fapm_cli.pictures.preparing import prepare
from fapm_cli.pictures.reading import prepare_item

PAIRS = ("file, torch", "file, openvino", "openvino, torch")
"""What is compared with what; the file by the worse of the engines that run it."""


@dataclass(frozen=True)
class Case:
    """A bank to be built, and how its file is made."""

    name: str
    build: dict[str, Any]
    export: dict[str, Any] = field(default_factory=dict)


@dataclass
class Differences:
    """The largest of a pair, over all that was counted."""

    score: float = 0.0
    layers: float = 0.0
    maps: float = 0.0
    pictures: int = 0
    peaks: int = 0

    def count(self, found: Outputs, wanted: Outputs) -> None:
        """Count what was found in one picture."""
        (score, layers, one, peak), (own_score, own_layers, other, own_peak) = found, wanted
        self.score = max(self.score, float(np.abs(score / own_score - 1).max()))
        self.layers = max(self.layers, float(np.abs(layers / own_layers - 1).max()))
        self.maps = max(self.maps, float(np.abs(one - other).max() / other.max()))
        self.pictures += 1
        self.peaks += int((peak == own_peak).all())

    def join(self, other: Differences) -> None:
        """The larger of both."""
        for name in _FIGURES:
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.pictures += other.pictures
        self.peaks += other.peaks


Found = dict[str, Differences]
_FIGURES = ("score", "layers", "maps")


def of_options(given: dict[str, Any], roi: Path) -> list[Case]:
    """Banks of all that changes a graph, but the variant."""
    given = {**given, "metric": "plain"}
    return [
        Case("`--roi`", {**given, "roi": roi}),
        Case("`--preset paper`, which crops", {**given, "preset": "paper"}),
        Case("reach 1", {**given, "query": {"reach": 1}}),
        Case("reach 1, 5 neighbours", {**given, "query": {"reach": 1, "num_neighbors": 5}}),
        Case("`--turn 90`", {**given, "turn": 90}),
        Case("`--align shift`", {**given, "align": "shift"}, {"as_is": True}),
        Case("`--align rigid`", {**given, "align": "rigid"}, {"as_is": True}),
        Case("`--any-size`", given, {"any_size": True}),
        Case("`--batch 4`", given, {"batch": 4}),
        Case("`--half`", given, {"half": True}),
    ]


def evenly(many: Sequence[Any], number: int) -> list[Any]:
    """So many of them, from the first to the last."""
    places = np.linspace(0, len(many) - 1, min(number, len(many))).round().astype(int)
    return [many[place] for place in places]


def judged_by(judge: Judge, pixels: NDArray[Any]) -> Outputs:
    """What an engine of the bank finds in one input."""
    return list(judge.detect_inputs(pixels[np.newaxis]).on_host.parts[:4])


def compared(bank: Bank, file: Path, export: dict[str, Any], pictures: Sequence[Path]) -> Found:
    """Judge pictures by all engines, and compare."""
    judges = {one: open_judge(bank, "cpu", "fp32", engine=one) for one in ("torch", "openvino")}
    runs = open_engines(file.read_bytes(), 1)
    preprocessing = bank.config.preprocessing
    found: Found = {pair: Differences() for pair in PAIRS}
    for path in pictures:
        image = read_picture(path, preprocessing.bit_depth).image
        prepared = prepare(image, preprocessing)
        given = image_pixels(image) if export.get("any_size") else prepared
        batch = np.repeat(given[np.newaxis], export.get("batch", 1), axis=0)
        for name, judge in judges.items():
            wanted = judged_by(judge, prepared)
            for run in runs.values():
                found[f"file, {name}"].count([one[:1] for one in run(batch)[:4]], wanted)
        # As they are judged: in the bank's light, and where its parts lie.
        fitted = prepare_item(path, preprocessing, judges["torch"].fitting)
        assert not isinstance(fitted, Unreadable)
        found["openvino, torch"].count(
            judged_by(judges["openvino"], fitted.input), judged_by(judges["torch"], fitted.input)
        )
    return found


def row(name: str, found: Found, note: str = "") -> str:
    """A row of the table: each cell has the figures of the pairs, in their order."""
    cells = [
        " / ".join(f"{getattr(one, what):.0e}".replace("e-0", "e-") for one in found.values())
        for what in _FIGURES
    ]
    peaks = " / ".join(f"{one.peaks} of {one.pictures}" for one in found.values())
    return f"| {name} | {note} | {' | '.join(cells)} | {peaks} |"


class Table:
    """Rows, measured one after another."""

    def __init__(self, folder: Path, pictures: int, judged: int):
        """Begin; banks and files go to a folder."""
        self._folder, self._pictures, self._judged = folder, pictures, judged

    def measure(self, name: str, root: Path, cases: Sequence[Case]) -> None:
        """Print a row for some banks of a category."""
        category, joined = read_category(root), {pair: Differences() for pair in PAIRS}
        good, bad = ([one for one in category.test if (one.defect is None) == is_good]
                     for is_good in (True, False))  # fmt: skip
        test = [*evenly(good, self._judged // 2), *evenly(bad, self._judged - self._judged // 2)]
        train, own = evenly(category.train, self._pictures), 0
        for case in cases:
            begin, file = time.perf_counter(), self._folder / "part.onnx"
            try:
                bank = fapm.build(train, **case.build).learnt
                export_bank(bank, file, **case.export)
                found = compared(bank, file, case.export, [Path(one.path) for one in test])
            except FapmError as error:
                print(f"| {name}, {case.name} | {error} |", flush=True)
                continue
            own += any(one.metrics is not None for one in bank.memories)
            for pair, one in found.items():
                joined[pair].join(one)
            took = f"{time.perf_counter() - begin:.0f} s"
            print(row(f"{name}, {case.name}", found, took), file=sys.stderr, flush=True)
        print(row(name, joined, f"{own} of {len(cases)}"), flush=True)


def main() -> None:
    """Print each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--resnet18", type=Path, help="its weights; left out without")
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--judged", type=int, default=8)
    options = parser.parse_args()
    backbones: list[dict[str, Any]] = [{"backbone": "efficientnet_lite0"}]
    if options.resnet18:
        backbones.append({"backbone": "resnet18", "weights": options.resnet18})
    print(
        "| banks | own metric | score | layer scores | anomaly map | peaks the same |\n"
        "|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table, roi = Table(folder, options.pictures, options.judged), folder / "roi.png"
        mask = Image.new("L", (400, 400))
        ImageDraw.Draw(mask).ellipse((40, 40, 300, 360), fill=255)
        mask.save(roi)
        for root in options.categories:
            for given in backbones:
                name, plain = f"{root.name}, {given['backbone']}", {**given, "metric": "plain"}
                variants = [Case(f"variant {one}", {**plain, "variant": one}) for one in "ABCDE"]
                table.measure(f"{name}, A to E", root, variants)
                table.measure(f"{name}, default", root, [Case("default", given)])
        first = options.categories[0]
        for given in backbones:
            for case in of_options(given, roi):
                table.measure(f"{first.name}, {given['backbone']}, {case.name}", first, [case])
        vit = Case("dinov2_small", {"backbone": "dinov2_small"})
        table.measure(f"{first.name}, dinov2_small", first, [vit])


if __name__ == "__main__":
    main()
