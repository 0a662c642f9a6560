"""Running: compiled as plain, and CUDA graphs as far as a CPU can tell."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOOD, ONE_BAD, ONE_GOOD, assert_fails, build, fapm
from torch import Tensor

from fapm_cli.compute.plan import Plan
from fapm_cli.detection import graphs

CPU = torch.device("cpu")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_compiled_scores_agree_with_plain_ones(tmp_path: Path) -> None:
    small = ("--backbone", "resnet18", "--layers", "layer1", "--weights", "random", "--size", "64")
    bank = build(tmp_path / "bank.st", GOOD[:3], *small, "--grid", "4")
    arguments = ("score", bank, ONE_BAD, ONE_GOOD, "--json", "--exit-zero")
    plain, compiled = fapm(*arguments).scores, fapm(*arguments, "--compile").scores
    for path, score in compiled.items():
        assert score == pytest.approx(plain[path], rel=1e-3)


def test_compiling_without_a_compiler_says_what_is_missing(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert_fails(fapm("score", bank, ONE_GOOD, "--compile"), "C++ compiler")


# --- Graphs, with a device made of Python ---------------------------------------------------------


class Recorder:
    """Stands in for CUDA: a captured run is the work called again on the same memory."""

    def __init__(self) -> None:
        self.captured = 0
        self.calls = 0

    def work(self, pixels: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        return (pixels * 2, pixels.sum())


class FakeGraph:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.graphs: Any = None

    def replay(self) -> None:
        entry = next(e for e in self.graphs._graphs.values() if e.graph is self)
        for old, new in zip(entry.results, self.recorder.work(entry.fed), strict=True):
            old.copy_(new)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> tuple[Recorder, Any]:
    recorder = Recorder()

    class Stream:
        def __init__(self, device: object = None) -> None: ...

        def wait_stream(self, other: object) -> None: ...

    @contextlib.contextmanager
    def nothing(*_: object) -> Iterator[None]:
        recorder.captured += 1
        yield

    made = graphs._Graphs(recorder.work, CPU)

    def new_graph() -> FakeGraph:
        graph = FakeGraph(recorder)
        graph.graphs = made
        return graph

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    monkeypatch.setattr(torch.cuda, "graph", nothing)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    return recorder, made


def test_a_graph_is_captured_once_per_shape_and_gives_each_input_its_own_results(
    replayed: tuple[Recorder, Any],
) -> None:
    recorder, run = replayed
    inputs = [torch.arange(3.0), torch.ones(3), torch.ones(5)]
    results = [run(one) for one in inputs]
    for one, (doubled, total) in zip(inputs, results, strict=True):
        torch.testing.assert_close(doubled, 2 * one)
        torch.testing.assert_close(total, one.sum())
    assert recorder.captured == 2


def test_pixels_are_copied_to_a_graph_from_pinned_memory_while_nothing_waits(
    replayed: tuple[Recorder, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = replayed
    run(torch.zeros(3))
    pinned = torch.ones(3)
    copied: list[tuple[bool, bool]] = []
    copy = Tensor.copy_

    def record(to: Tensor, of: Tensor, non_blocking: bool = False) -> Tensor:
        copied.append((of is pinned, non_blocking))
        return copy(to, of, non_blocking)

    monkeypatch.setattr(Tensor, "pin_memory", lambda self: pinned)
    monkeypatch.setattr(Tensor, "copy_", record)
    doubled, _ = run(torch.zeros(3))
    assert copied[0] == (True, True)
    assert doubled.tolist() == [2.0] * 3


def test_no_more_graphs_than_memory_should_hold(replayed: tuple[Recorder, Any]) -> None:
    recorder, run = replayed
    for size in range(1, graphs.MAX_GRAPHS + 4):
        doubled, _ = run(torch.ones(size))
        assert doubled.tolist() == [2.0] * size
    assert recorder.captured == graphs.MAX_GRAPHS


def test_a_plan_that_is_neither_compiled_nor_on_cuda_runs_the_work_itself() -> None:
    recorder = Recorder()
    assert graphs.runner(recorder.work, Plan(CPU, "fp32")) == recorder.work
