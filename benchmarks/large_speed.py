"""What a px of a large picture takes, beside one of a small one, and whether seams show.

python benchmarks/large_speed.py small.st large.st [--threads 1] [--rounds 7] [--engine auto]
python benchmarks/large_speed.py large.st --seams

Each bank judges its own first picture, by the engine alone, in a process of its own; they take
turns. Of each: ns of CPU time and of the clock per px, and the most that the process had resident,
mapped pages among it. ``--seams`` judges by two cuts, of which the seams of one lie inside of the
other's tiles, and says how far maps and scores differ.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUND_PX = 10**7  # that a round judges, at least one picture


def opened(path: str, engine: str, threads: int) -> tuple[Callable[[], Any], NDArray[np.uint8]]:
    """What judges a bank's first picture, and that."""
    from fapm_cli.bank.bank import nominal_picture
    from fapm_cli.bank.file import read_bank
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.engines.opening import open_judge

    use_threads(threads)
    bank = read_bank(path)
    picture = nominal_picture(bank, 0)
    if picture is None:
        raise SystemExit(f"{path} has no thumbnails")
    judge = open_judge(bank, "cpu", engine=engine)
    return lambda: judge.detect_inputs(picture[None]), picture


def work(path: str, engine: str, threads: int) -> None:
    """Judge at each line on stdin; print ns of CPU time and of the clock per px, and bytes."""
    from fapm_cli.compute.resident import peak_resident_mb

    judge, picture = opened(path, engine, threads)
    judge()
    num_px = math.prod(picture.shape[:2])
    times = max(round(_ROUND_PX / num_px), 1)
    print("ready", flush=True)
    for _ in sys.stdin:
        cpu, clock = time.process_time(), time.perf_counter()
        for _ in range(times):
            judge()
        spent = time.process_time() - cpu, time.perf_counter() - clock
        per_px = [one / times / num_px * 1e9 for one in spent]
        print(*per_px, peak_resident_mb(), flush=True)


def take_turns(banks: list[Path], engine: str, threads: int, rounds: int) -> None:
    """Measure all, each in a process of its own, and print their medians."""
    found: list[list[list[float]]] = [[] for _ in banks]
    with ExitStack() as stack:
        asked = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, __file__, str(bank), "--work", engine, str(threads)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for bank in banks
        ]
        for number in range(-1, rounds):
            for process, figures in zip(asked, found, strict=True):
                assert process.stdin is not None
                assert process.stdout is not None
                if number >= 0:
                    process.stdin.write("\n")
                    process.stdin.flush()
                line = process.stdout.readline()
                if number >= 0:
                    figures.append([float(one) for one in line.split()])
    first = [statistics.median(one) for one in zip(*found[0], strict=True)]
    for bank, figures in zip(banks, found, strict=True):
        cpu, clock, peak = (statistics.median(one) for one in zip(*figures, strict=True))
        ratios = [a[0] / b[0] for a, b in zip(figures, found[0], strict=True)]
        print(
            f"{bank.name}: {cpu:.0f} ns of CPU a px ({cpu / first[0]:.2f} times; pairs "
            f"{min(ratios):.2f} to {max(ratios):.2f}), {clock:.0f} ns by the clock "
            f"({clock / first[1]:.2f} times), {peak:.0f} MB"
        )


def seams(path: Path, threads: int) -> None:
    """Judge by two cuts, and print how far they differ."""
    from fapm_cli.engines import openvino_tiles

    judge, _ = opened(str(path), "openvino", threads)
    one = judge()
    openvino_tiles._WORK_BYTES, openvino_tiles._LEAST_CORE = 6 * 2**20, 11
    judge, _ = opened(str(path), "openvino", threads)
    other = judge()
    apart = float(np.abs(one.anomaly_maps - other.anomaly_maps).max())
    print(f"maps differ by {apart:.1e} at most, of {other.anomaly_maps.max():.3f} at most")


def main() -> None:
    """Parse, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("banks", type=Path, nargs="+")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seams", action="store_true")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(str(options.banks[0]), options.work[0], int(options.work[1]))
    elif options.seams:
        seams(options.banks[0], options.threads)
    else:
        take_turns(options.banks, options.engine, options.threads, options.rounds)


if __name__ == "__main__":
    main()
