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

FAPM, TORCH = "fapm", "torch"
"""By a bank, what ``fapm score`` does with pictures that are read, and what it does by torch."""
OF_BANKS = (FAPM, TORCH)
"""Others, :data:`fapm_cli.exporting.engines.PRECISIONS`, are given an exported file."""

Work = tuple[str, Callable[[], object]]
"""What it computes in, and what it does."""


@dataclass(frozen=True)
class Job:
    """What is to be timed.

    Attributes:
        engine: its name.
        precision: to compute in; as ``--precision`` says it of those that judge by a bank.
        compiled: whether torch compiles it; of torch alone.
        path: of what it judges by: a bank, or an exported file.
        shape: of the pictures that it is given at a time: B, H, W, 3.
        weights: a file in place of the bank's own backbone; of those that judge by a bank.
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
    prepare = _by_bank if job.engine in OF_BANKS else _by_file
    precision, work = prepare(job, pixels, asked["threads"])
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


def _by_bank(job: Job, pixels: NDArray[np.uint8], threads: int) -> Work:
    """What fapm does with pictures that are read."""
    from fapm_cli.bank.file import read_bank
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.engines.opening import open_judge

    use_threads(threads)
    judge = open_judge(
        read_bank(job.path),
        "cpu",
        job.precision,
        engine=TORCH if job.engine == TORCH else "auto",
        weights=job.weights,
        compiled=job.compiled,
    )
    return judge.precision, lambda: judge.detect(pixels)


def _by_file(job: Job, pixels: NDArray[np.uint8], threads: int) -> Work:
    """What a program without fapm does with an exported file."""
    run = open_engine(job.engine, job.path, threads, job.precision)
    return job.precision, lambda: run(pixels)
