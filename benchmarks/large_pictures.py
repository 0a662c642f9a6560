"""Large pictures: what a 20 MP picture costs, and what is found in it, by the size of the input.

python benchmarks/large_pictures.py [--pictures 6] [--judged 10] [--sizes 448,912,1824,3648]

A made part, 5472×3648 px: tracks, pads and print on a board that is the same in every picture, but
for a shift of up to 1 px, light and noise. Defects are spots 3 to 40 px wide, of half the contrast.
For each size: what is found at the bank's own threshold, good ones called defective, seconds by the
clock and of CPU time, and bytes of the process at its peak, each size in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 3648, 5472
SPOTS_PX = (3, 5, 10, 20, 40)
Pixels = NDArray[np.uint8]


def board() -> Pixels:
    """Draw the part: (HEIGHT, WIDTH, 3) uint8."""
    draw = np.random.default_rng(0)
    part = np.full((HEIGHT, WIDTH, 3), (60, 110, 50), np.uint8)
    for _ in range(900):
        x, y = (int(draw.integers(side)) for side in (WIDTH, HEIGHT))
        across, down = int(draw.integers(-600, 600)), int(draw.integers(-400, 400))
        ends = (x, y), (x + across, y), (x + across, y + down)
        colour = [int(c) for c in draw.integers(90, 160, 3)]
        cv2.polylines(part, [np.array(ends, np.int32)], False, colour, int(draw.integers(4, 14)))
    for _ in range(1500):
        x, y, side = (int(draw.integers(most)) for most in (WIDTH, HEIGHT, 60))
        colour = [int(c) for c in draw.integers(120, 220, 3)]
        if draw.random() < 0.5:
            cv2.circle(part, (x, y), side // 2, colour, -1)
        else:
            cv2.rectangle(part, (x, y), (x + side, y + side // 2), colour, -1)
    return np.asarray(cv2.GaussianBlur(part, (0, 0), 1.2), np.uint8)


def shot(part: Pixels, number: int, spots: int = 0, spot_px: int = 0) -> Pixels:
    """One picture of the part: moved by up to 1 px, 2 % brighter or darker, noisy, with spots."""
    draw = np.random.default_rng(number)
    moved = np.array([[1, 0, draw.uniform(-1, 1)], [0, 1, draw.uniform(-1, 1)]])
    seen = cv2.warpAffine(part, moved, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    for _ in range(spots):
        x, y = int(draw.integers(200, WIDTH - 200)), int(draw.integers(200, HEIGHT - 200))
        middle = seen[y, x].astype(int)
        colour = np.where(middle > 127, middle - 60, middle + 60).tolist()
        cv2.circle(seen, (x, y), 0, colour, spot_px)
    noise = draw.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.float32)
    lit = np.float32(draw.uniform(0.98, 1.02)) * seen + noise
    return np.asarray(np.clip(lit, 0, 255).round(), np.uint8)


def write(folder: Path, pictures: int, judged: int) -> None:
    """Write nominal pictures, others as good, and defective ones by the width of their spot."""
    part = board()
    kinds = [("train", pictures, 0), ("good", judged, 0)]
    kinds += [(f"spot{px:02}", judged, px) for px in SPOTS_PX]
    for number, (kind, count, spot_px) in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            picture = shot(part, 1000 * number + i, int(spot_px > 0), spot_px)
            cv2.imwrite(str(folder / kind / f"{i:03}.png"), picture[..., ::-1])


def measure(folder: Path, size: str) -> None:
    """Build and judge at one size, in this process; prints figures as JSON."""
    import fapm_cli as fapm
    from fapm_cli.compute.resident import peak_resident_mb

    bank = folder / f"{size}.st"
    command = [sys.executable, "-m", "fapm_cli", "build", str(folder / "train"), "-o", str(bank)]
    begin = time.perf_counter()
    plainly = ["--size", size, "--metric", "plain", "--turn", "none"]
    subprocess.run([*command, *plainly], check=True)
    built = time.perf_counter() - begin
    detector = fapm.load(bank).detector(precision="fp32")
    found: dict[str, float] = {}
    times, cpu_times = list[float](), list[float]()
    for kind in ("good", *(f"spot{px:02}" for px in SPOTS_PX)):
        verdicts = []
        for path in sorted((folder / kind).glob("*.png")):
            begin, cpu = time.perf_counter(), time.process_time()
            verdicts.append(detector(path).verdict == "anomalous")
            times.append(time.perf_counter() - begin)
            cpu_times.append(time.process_time() - cpu)
        found[kind] = float(np.mean(verdicts))
    peak = peak_resident_mb() * 10**6
    figures = {"size": size, "build_s": built, "bank": bank.stat().st_size, "peak": peak}
    took = {"s": float(np.median(times[1:])), "cpu_s": float(np.median(cpu_times[1:]))}
    print(json.dumps({**figures, **took, **found}))


def main() -> None:
    """Write the pictures, and measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--judged", type=int, default=10)
    parser.add_argument("--sizes", default="224,448,896,1824,3648")
    parser.add_argument("--folder", type=Path, help="where the pictures are, or are to be")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.measure)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "pictures"
        if not folder.exists():
            write(folder, options.pictures, options.judged)
        for size in options.sizes.split(","):
            command = [sys.executable, __file__, "--folder", str(folder), "--measure", size]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
