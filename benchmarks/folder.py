"""A folder of large pictures: decoding alone, the engine alone, and both, in turns.

python benchmarks/folder.py bank.st --pictures 200 --side 2000
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path

import torch
from PIL import Image

from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import judge
from fapm_cli.pictures.reading import Prepared, read_batches


def enlarge(sources: list[Path], folder: Path, number: int, side: int) -> list[Path]:
    """Write JPEGs of the pictures, enlarged, over and over."""
    files = []
    for i in range(number):
        with Image.open(sources[i % len(sources)]) as picture:
            files.append(folder / f"{i:03}.jpg")
            large = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            large.save(files[-1], quality=90)
    return files


def seconds(work: object) -> float:
    """Time to exhaust an iterator."""
    begun = time.perf_counter()
    deque(work, maxlen=0)  # type: ignore[call-overload]
    return time.perf_counter() - begun


def main() -> None:
    """Measure, and print medians, ranges and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bank", type=Path)
    parser.add_argument("folder", type=Path, help="Whose pictures are enlarged.")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    detector = Detector(load_bank(options.bank), plan=make_plan(torch.device("cpu")))
    settings = detector.bank.config.preprocessing
    with tempfile.TemporaryDirectory() as folder:
        sources = sorted(path for path in options.folder.iterdir() if path.is_file())
        files = enlarge(sources, Path(folder), options.pictures, options.side)
        batches = list(read_batches(files, settings, 8))
        pixels = [one.pixels for batch in batches for one in batch if isinstance(one, Prepared)]
        detector.detect(pixels[0][None])
        found: dict[str, list[float]] = {"decode": [], "engine": [], "both": []}
        for _ in range(options.rounds):
            found["decode"].append(seconds(read_batches(files, settings, 8)))
            found["engine"].append(seconds(detector.detect(p[None]) for p in pixels))
            found["both"].append(seconds(judge(detector, files, 8)))
    pairs = zip(found["decode"], found["engine"], found["both"], strict=True)
    ratios = [both / max(decode, engine) for decode, engine, both in pairs]
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {len(files)} JPEGs")
    for name, values in (*found.items(), ("both / larger", ratios)):
        print(f"{name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
