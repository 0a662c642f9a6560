"""One engine, alone in a process, timed.

What the engine does not need is not imported: start and memory of ONNX Runtime and OpenVINO are
those of a program that has no torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.compute.resident import peak_resident_mb
from fapm_cli.exporting.engines import open_engine

FAPM = "fapm"
"""The name of fapm's own engine, beside those of :data:`fapm_cli.exporting.engines.PRECISIONS`."""


@dataclass(frozen=True)
class Job:
    """What is to be timed.

    Attributes:
        engine: its name.
        precision: to compute in; of fapm as ``--precision`` says it.
        compiled: whether torch compiles it; of fapm alone.
        path: of what it judges by: fapm by a bank, others by an exported file.
        shape: of the pictures that it is given at a time: B, H, W, 3.
        weights: a file in place of the bank's own backbone; of fapm alone.
    """

    engine: str
    precision: str
    compiled: bool
    path: str
    shape: tuple[int, ...]
    weights: str | None = None


def be_timed(asked: dict[str, Any]) -> None:
    """Do a job in this process, and print one line of JSON: what was measured.

    Args:
        asked: ``job``, the fields of a :class:`Job`; ``threads`` to compute in; ``started``, the
            time.time() at which this process was; ``warm_up`` and ``runs``, calls that don't count,
            and that do.
    """
    job = Job(**asked["job"])
    pixels = np.random.default_rng(0).integers(0, 256, job.shape, np.uint8)
    precision, work = (_fapm if job.engine == FAPM else _other)(job, pixels, asked["threads"])
    work()
    start_up_ms = 1e3 * (time.time() - asked["started"])
    for _ in range(asked["warm_up"]):
        work()
    times_ms = []
    for _ in range(asked["runs"]):
        start = time.perf_counter()
        work()
        times_ms.append(1e3 * (time.perf_counter() - start))
    measured = {
        "precision": precision,
        "start_up_ms": start_up_ms,
        "times_ms": times_ms,
        "peak_memory_mb": peak_resident_mb(),
    }
    print(json.dumps(measured), flush=True)


def _fapm(job: Job, pixels: NDArray[np.uint8], threads: int) -> tuple[str, Callable[[], object]]:
    """What ``fapm score`` does with pictures that are read."""
    from fapm_cli.bank.backbone import bank_extractor
    from fapm_cli.bank.file import load_bank
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.compute.plan import make_plan
    from fapm_cli.detection.detector import Detector

    use_threads(threads)
    bank = load_bank(job.path)
    plan = make_plan("cpu", job.precision, compiled=job.compiled)
    detector = Detector(bank, bank_extractor(bank, job.weights), plan=plan)
    return detector.plan.precision, lambda: detector.detect(pixels)


def _other(job: Job, pixels: NDArray[np.uint8], threads: int) -> tuple[str, Callable[[], object]]:
    """What a program without fapm does with an exported file."""
    run = open_engine(job.engine, job.path, threads, job.precision)
    return job.precision, lambda: run(pixels)
