"""Hold other methods against fapm: the same pictures, network and figures.

Usage: python benchmarks/peers.py CATEGORY... --weights resnet18.pth --environment FOLDER
           [--methods PaDiM,PatchCore-1%] [--limit SECONDS] [--json FILE]

FOLDER is a virtual environment for the peers, made with pip if it is not there (anomalib and
pyimgano with a torch of their own: some 6 GB; delete it afterwards). The weights are torchvision's
ResNet-18, for all alike; no model hub is asked. Every method sees the very px that fapm's backbone
does (the whole picture at 224×224), on the CPU in float32, and its scores and maps are judged by
``fapm eval``'s own figures. What takes longer than --limit is given up. How each is run stands in
peer.py.

Prints, as Markdown, image AUROC, pixel AUROC and AUPRO in percent, seconds to learn, ms a picture
(one at a time), and the MB that are learnt beside the backbone; a method that can't be had says
why.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fapm_cli.api.evaluation import evaluate_category
from fapm_cli.api.learning import build
from fapm_cli.api.speed import frames_per_second
from fapm_cli.bank.presets import default_config
from fapm_cli.evaluation.datasets import Category, read_category, read_truth
from fapm_cli.evaluation.evaluation import Figures
from fapm_cli.evaluation.metrics import PixelCurves, image_curve
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.reading import Prepared, prepare_item
from fapm_cli.stores.stored import AnyPath

PACKAGES = ("anomalib==2.7.0", "pyimgano==0.9.1")
METHODS = [
    *("fapm", "PaDiM", "PatchCore-1%", "PatchCore-10%", "CFlow", "SPADE", "DifferNet", "PatchSVDD"),
]
NOT_TO_BE_HAD = {
    "DifferNet": "pyimgano's is another method: differences of neighbours, no normalizing flow",
    "PatchSVDD": "neither anomalib nor pyimgano has it",
}
CONFIG = default_config("resnet18")
# Each column's name in the record, its factor and its decimals.
COLUMNS = {
    "image AUROC": ("image_auroc", 100, 2),
    "pixel AUROC": ("pixel_auroc", 100, 2),
    "AUPRO": ("aupro", 100, 2),
    "learns in s": ("build_seconds", 1, 1),
    "ms a picture": ("ms", 1, 1),
    "MB": ("megabytes", 1, 1),
}
Record = dict[str, Any]


def main() -> None:
    """Print a row for each category and method as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--environment", required=True, type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--limit", default=3600.0, type=float)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"no method {', '.join(sorted(unknown))}; use some of {','.join(METHODS)}")
    python = environment(options.environment)
    records = []
    print(f"| category | method | {' | '.join(COLUMNS)} |\n|---|---{'|---:' * len(COLUMNS)}|")
    for root in options.categories:
        for record in measure(read_category(root), methods, python, options):
            print(row(record), flush=True)
            records.append(record)
    if options.json is not None:
        options.json.write_text(json.dumps(records, indent=1))


def environment(folder: Path) -> Path:
    """Make the peers' environment, as far as it is not there, and name its Python."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
    subprocess.run(install, check=True, stdout=sys.stderr)
    return python


def measure(
    category: Category, methods: list[str], python: Path, options: argparse.Namespace
) -> Iterator[Record]:
    """Let each method learn and judge a category."""
    test = prepared([one.path for one in category.test])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "train.npy", [one.pixels for one in prepared(category.train)])
        np.save(folder / "test.npy", [one.pixels for one in test])
        for method in methods:
            measured: Record
            if method in NOT_TO_BE_HAD:
                measured = {"why": NOT_TO_BE_HAD[method]}
            elif method == "fapm":
                measured = ours(category, options.weights)
            else:
                script = Path(__file__).with_name("peer.py")
                command = [python, "-W", "ignore", script, method, folder, options.weights]
                measured = run(command, options.limit) or theirs(category, test, folder)
            yield {"category": category.name, "method": method, **measured}


def prepared(paths: Iterable[AnyPath]) -> list[Prepared]:
    """Read pictures as fapm's backbone sees them.

    Raises:
        PictureError: one can't be read.
    """
    found = []
    for path in paths:
        one = prepare_item(path, CONFIG.preprocessing)
        if isinstance(one, Unreadable):
            raise one.error
        found.append(one)
    return found


def run(command: Sequence[str | Path], limit: float) -> Record | None:
    """Run a peer, and say why, if nothing comes of it."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"why": f"given up after {limit:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {"why": (error.stderr.strip() or str(error)).splitlines()[-1]}
    return None


def theirs(category: Category, test: list[Prepared], folder: Path) -> Record:
    """Judge what peer.py wrote: scores and maps of the test pictures."""
    pixels = PixelCurves()
    scores, maps = np.load(folder / "scores.npy"), np.load(folder / "maps.npy")
    maps -= min(0.0, float(maps.min()))  # the curves are of maps from 0 on; ranks are what counts
    has_masks = any(one.masks for one in category.test)
    for labelled, picture, anomaly_map in zip(category.test, test, maps, strict=True):
        if has_masks and (labelled.defect is None or labelled.masks):
            size_px = picture.picture.size_px
            pixels.add(anomaly_map, read_truth(labelled, size_px, CONFIG.preprocessing))
    defective = np.array([one.defect is not None for one in category.test])
    measured: Record = json.loads((folder / "peer.json").read_text())
    figures = Figures(image_curve(scores, defective), pixels.auroc(), pixels.aupro())
    return figures.record() | measured


def ours(category: Category, weights: Path) -> Record:
    """The same of fapm, its options all default."""
    started = time.perf_counter()
    bank = build(category.train, CONFIG, weights=weights, thumbnails=False, device="cpu")
    build_seconds = time.perf_counter() - started
    detector = bank.detector("cpu", "fp32")
    evaluation = evaluate_category(category, detector, build_seconds=build_seconds)
    record = evaluation.record()
    fps = frames_per_second([detector])[0]
    return {**record, "ms": 1000 / fps, "megabytes": record["bank_mb"]}


def row(record: Record) -> str:
    """A line of the table."""
    if "why" in record:
        cells = [f"({record['why']})", *[""] * (len(COLUMNS) - 1)]
    else:
        values = [(record[key], factor, digits) for key, factor, digits in COLUMNS.values()]
        cells = ["-" if v is None else f"{v * factor:.{digits}f}" for v, factor, digits in values]
    return f"| {' | '.join((record['category'], record['method'], *cells))} |"


if __name__ == "__main__":
    main()
