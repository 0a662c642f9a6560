"""Timing: many runs, alternated, warm-up apart, the device waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from fapm_cli.compute.device import synchronize


@dataclass(frozen=True)
class Latency:
    """Spread of one measured thing, in milliseconds per call."""

    median_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, times_ms: list[float]) -> Latency:
        """Summarise measured times."""
        levels = torch.tensor([0.5, 0.95, 0.99], dtype=torch.float64)
        values = torch.tensor(times_ms, dtype=torch.float64).quantile(levels)
        return cls(*(float(v) for v in values))


def alternate(
    works: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    warm_up: int,
    runs: int,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[float]]:
    """Time several things run by run, so that a slow moment of the machine hits them all.

    Each runs twice in its turn, and the second time counts: then it finds in the caches what it
    left there itself, as in a stream of pictures, not what the one before it left.

    Args:
        works: what to time, by name.
        device: waited for before the clock is read.
        warm_up: rounds not counted.
        runs: rounds counted.
        on_round: told (done, total) after each round, outside what is timed.

    Returns:
        Per name, one time in ms for each counted round.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(warm_up + runs):
        for name, work in works.items():
            work()
            synchronize(device)
            start = time.perf_counter()
            work()
            synchronize(device)
            if round_number >= warm_up:
                times[name].append((time.perf_counter() - start) * 1000)
        on_round(round_number + 1, warm_up + runs)
    return times
