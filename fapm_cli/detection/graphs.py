"""Running: the path from pixels to results as it is, compiled, or as one CUDA graph."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.compute.plan import Plan
from fapm_cli.errors import OptionError

Results = tuple[Tensor, ...]
Work = Callable[[Tensor], Results]

MAX_GRAPHS = 8
_WARM_UP = 3


def runner(work: Work, plan: Plan, *, static: bool = True) -> Work:
    """Make ``work`` run as the plan says.

    Args:
        work: from one tensor to several, on the plan's device.
        plan: whether to compile; on CUDA graphs are captured, one per input shape
            and type.
        static: whether the work never waits for the device, as capturing demands.

    Raises:
        OptionError: it is to be compiled, and there is no compiler.
    """
    if plan.compiled:
        _check_compiler(plan)
        # Freezing folds weights into the code: they are constants here.
        work = torch.compile(work, dynamic=False, options={"freezing": True})
    return _Graphs(work, plan.device) if static and plan.device.type == "cuda" else work


def _check_compiler(plan: Plan) -> None:
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl"]
    if plan.device.type == "cpu" and not any(shutil.which(name) for name in names if name):
        raise OptionError("--compile needs a C++ compiler (g++ or clang++), and found none")


@dataclass(frozen=True)
class _Graph:
    """A captured run: it reads ``fed`` and leaves what it finds in ``results``."""

    graph: torch.cuda.CUDAGraph
    fed: Tensor
    results: Results


class _Graphs:
    """Capture the work once per input shape and type, and replay it: one launch, not hundreds."""

    def __init__(self, work: Work, device: torch.device):
        self._work = work
        self._device = device
        self._graphs: dict[tuple[torch.Size, torch.dtype], _Graph] = {}

    def __call__(self, pixels: Tensor) -> Results:
        """Run on pixels of any device; what is not on this one is copied while nothing waits."""
        kind = pixels.shape, pixels.dtype
        captured = self._graphs.get(kind)
        if captured is None and len(self._graphs) == MAX_GRAPHS:
            return self._work(pixels.to(self._device))
        if captured is None:
            captured = self._graphs[kind] = self._capture(pixels.to(self._device))
        if pixels.device.type == "cpu":
            pixels = pixels.pin_memory()
        captured.fed.copy_(pixels, non_blocking=True)
        captured.graph.replay()
        return tuple(result.clone() for result in captured.results)  # the next run overwrites them

    def _capture(self, pixels: Tensor) -> _Graph:
        """Warm up beside the current stream, as capturing demands, then record one run."""
        fed = pixels.clone()
        beside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                self._work(fed)
        torch.cuda.current_stream(self._device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph):
            results = self._work(fed)
        return _Graph(graph, fed, results)
