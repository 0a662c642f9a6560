"""Timing takes turns, counts what it should, and summarises by quantiles."""

from __future__ import annotations

import torch

from fapm_cli.compute.timing import Latency, alternate


def test_works_take_turns_and_neither_warm_up_nor_a_first_run_is_counted() -> None:
    calls: list[str] = []
    rounds: list[tuple[int, int]] = []
    times = alternate(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        torch.device("cpu"),
        warm_up=2,
        runs=3,
        on_round=lambda done, total: rounds.append((done, total)),
    )
    assert calls == ["a", "a", "b", "b"] * 5
    assert {name: len(spent) for name, spent in times.items()} == {"a": 3, "b": 3}
    assert rounds == [(i, 5) for i in range(1, 6)]


def test_latency_is_median_and_high_quantiles() -> None:
    latency = Latency.of([float(i) for i in range(1, 102)])
    assert (latency.median_ms, latency.p95_ms, latency.p99_ms) == (51.0, 96.0, 100.0)
