"""Speed of engines by the same bank, each alone in a process of its own, taking turns.

In one process they would disturb each other: threads that wait for work keep their cores for a
while, and memory is that of all together.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from fapm_cli.compute.machine import describe_machine
from fapm_cli.compute.plan import make_plan
from fapm_cli.compute.precision import check_on_cpu
from fapm_cli.compute.timing import Latency
from fapm_cli.errors import ModelError, OptionError
from fapm_cli.evaluation.engine_process import FAPM, OF_BANKS, TORCH, Job
from fapm_cli.exporting.engines import PRECISIONS, check_installed, installed_engines
from fapm_cli.packages import version_of

_CPU = torch.device("cpu")
_PRECISIONS = {FAPM: ("fp32", "bf16"), **PRECISIONS}
_TURNS = 3  # processes of each engine: one start tells little, and a slow minute is to hit all
# The path is this process's: what can be imported here can be there, and from the same place.
_PROGRAM = """
import sys
sys.path[:] = sys.argv[2:]
import json
from fapm_cli.evaluation.engine_process import be_timed
be_timed(json.loads(sys.argv[1]))
"""


def choose_engines(wanted: str, *, exported: bool) -> list[str]:
    """Choose engines by their names, each once.

    Args:
        wanted: names with commas between, or ``all`` that are installed.
        exported: whether there is but an exported file, which fapm itself does not run.

    Raises:
        OptionError: there is no such engine, or it is not installed.
    """
    own = [] if exported else [*OF_BANKS]
    known = [*own, *PRECISIONS]
    names = [*own, *installed_engines()] if wanted == "all" else wanted.split(",")
    for name in names:
        if name not in known:
            what = "an exported file" if exported else "a bank"
            raise OptionError(f"engine {name!r}: of {what} use {', '.join(known)} or all")
        if name not in OF_BANKS:
            check_installed(name)
    if not names:
        check_installed(known[0])
    return list(dict.fromkeys(names))


def precision_of(engine: str, wanted: str, *, compiled: bool = False) -> str | None:
    """Say what a precision comes to by an engine on the CPU; None where the engine has no such.

    Args:
        engine: its name.
        wanted: as ``--precision`` says it; ``auto`` is float32.
        compiled: whether torch is to compile.

    Raises:
        OptionError: there is no such precision, or this CPU would emulate it.
    """
    check_on_cpu(wanted)
    name = "fp32" if wanted == "auto" else wanted
    if engine == TORCH:
        return make_plan("cpu", name, compiled=compiled).precision if name == "fp32" else None
    return name if name in _PRECISIONS[engine] and not compiled else None


def measure_engines(
    jobs: Sequence[Job],
    *,
    runs: int,
    warm_up: int,
    on_process: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Time engines on the CPU, all in as many threads as torch has here.

    Three processes of each take turns, or fewer for fewer runs.

    Args:
        jobs: what to time.
        runs: calls that count, over all processes of a job.
        warm_up: calls that don't, in each process.
        on_process: told (done, total) after each process.

    Returns:
        A record each: times in ms a batch, pictures per second, ms from the start of the process to
        the first verdict (median), most memory of a process, size of the file, the machine.

    Raises:
        ModelError: an engine failed.
    """
    turns = min(_TURNS, runs)
    measured: list[list[dict[str, Any]]] = [[] for _ in jobs]
    for turn in range(turns):
        share = runs // turns + (turn < runs % turns)
        for number, job in enumerate(jobs):
            measured[number].append(_alone(job, warm_up, share))
            on_process(turn * len(jobs) + number + 1, turns * len(jobs))
    return [_record(job, runs, found) for job, found in zip(jobs, measured, strict=True)]


def _alone(job: Job, warm_up: int, runs: int) -> dict[str, Any]:
    """What a process says that does the job."""
    threads = torch.get_num_threads()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    asked = {"job": dataclasses.asdict(job), "threads": threads, "warm_up": warm_up, "runs": runs}
    asked["started"] = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(asked), *sys.path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said and done.returncode > 0 else f"ended by signal {-done.returncode}"
        raise ModelError(f"engine {job.engine} failed in its process ({reason})")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _record(job: Job, runs: int, measured: list[dict[str, Any]]) -> dict[str, Any]:
    """What was measured of one engine, as plain values."""
    spent = Latency.of([one for found in measured for one in found["times_ms"]])
    machine = describe_machine(_CPU)
    if job.engine not in OF_BANKS:
        machine["versions"] = {**machine["versions"], job.engine: version_of(job.engine)}
    return {
        "engine": job.engine,
        "precision": measured[0]["precision"],
        "batch_size": job.shape[0],
        "runs": runs,
        **dataclasses.asdict(spent),
        "fps": 1000 * job.shape[0] / spent.median_ms,
        "start_up_ms": median(found["start_up_ms"] for found in measured),
        "peak_memory_mb": max(found["peak_memory_mb"] for found in measured),
        "bytes": Path(job.path).stat().st_size,
        **machine,
    }
