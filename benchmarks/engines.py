"""How fast fapm and other engines judge by the same bank, each alone in its process, taking turns.

Usage: python benchmarks/engines.py BANK... [--rounds 5] [--threads 2]

Exports each bank, then has each engine judge one picture (a nominal one of the bank's, prepared
beforehand) many times in a process of its own: threads that wait for work would take it from the
next engine. Of each process it takes the median time, and the first decile, which tells more on a
machine that others use, too. Per engine it prints, of both, the median over the rounds in ms, and
of the ratios to fapm's float32 in the same round the median and range.
Needs: pip install 'fapm[export]' openvino
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

WARM_UP, RUNS = 30, 150
ENGINES = (
    "fapm fp32",
    "fapm auto",
    "fapm int8",
    "onnxruntime fp32",
    "openvino fp32",
    "openvino bf16",
)


def fapm_work(bank: Path, precision: str, threads: int, pixels: Any) -> Callable[[], object]:
    """The engine of ``fapm score``, without reading pictures."""
    import torch

    from fapm_cli.bank.file import load_bank
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.compute.plan import make_plan
    from fapm_cli.detection.detector import Detector

    use_threads(threads)
    detector = Detector(load_bank(bank), plan=make_plan("cpu", precision))
    given = torch.from_numpy(pixels)
    return lambda: detector.detect(given)


def onnxruntime_work(model: Path, threads: int, pixels: Any) -> Callable[[], object]:
    """ONNX Runtime as it comes."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"pixels": pixels})


def openvino_work(model: Path, precision: str, threads: int, pixels: Any) -> Callable[[], object]:
    """OpenVINO, for latency."""
    openvino: Any = importlib.import_module("openvino")
    asked = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(str(model), "CPU", asked).create_infer_request()
    return lambda: request.infer({0: pixels})


def time_one(engine: str, bank: Path, folder: Path, threads: int) -> list[float]:
    """Median and first decile of one engine's times in ms, in this process."""
    pixels, (name, precision) = np.load(folder / "pixels.npy"), engine.split()
    model = folder / "part.onnx"
    if name == "fapm":
        work = fapm_work(bank, precision, threads, pixels)
    elif name == "onnxruntime":
        work = onnxruntime_work(model, threads, pixels)
    else:
        work = openvino_work(model, precision, threads, pixels)
    times = []
    for number in range(WARM_UP + RUNS):
        start = time.perf_counter()
        work()
        if number >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - start))
    return [median(times), sorted(times)[len(times) // 10]]


def export(bank: Path, folder: Path) -> None:
    """Write the file, and the picture that all judge."""
    from fapm_cli.api.bank import load
    from fapm_cli.exporting.parity import parity_pictures

    loaded = load(bank)
    loaded.export(folder / "part.onnx")
    np.save(folder / "pixels.npy", parity_pictures(loaded.learnt)[0][:1])


def compare(bank: Path, rounds: int, threads: int) -> None:
    """Time all engines in turns, and print."""
    with tempfile.TemporaryDirectory() as folder:
        export(bank, Path(folder))
        times: dict[str, list[list[float]]] = {engine: [] for engine in ENGINES}
        for _ in range(rounds):
            for engine in ENGINES:
                command = [sys.executable, __file__, str(bank), "--threads", str(threads)]
                command += ["--engine", engine, "--folder", folder]
                environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
                done = subprocess.run(command, capture_output=True, text=True, env=environment)
                if done.returncode:
                    sys.exit(f"{engine}: {done.stderr}")
                times[engine].append([float(word) for word in done.stdout.split()])
    print(f"{bank.name}: {rounds} rounds, {threads} threads")
    for number, kind in enumerate(("median", "decile")):
        first = [one[number] for one in times[ENGINES[0]]]
        for engine in ENGINES:
            own = [one[number] for one in times[engine]]
            ratios = [one / other for one, other in zip(own, first, strict=True)]
            print(
                f"{kind}  {engine:<18} {median(own):7.2f} ms  {median(ratios):5.2f} × "
                f"({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


def main() -> None:
    """Compare, or be one of those compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("banks", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for bank in options.banks:
        if options.engine is not None:
            print(*time_one(options.engine, bank, options.folder, options.threads))
        else:
            compare(bank, options.rounds, options.threads)


if __name__ == "__main__":
    main()
