"""A bank of large inputs judged by OpenVINO, on a CPU, in memory that is bounded; without torch."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fapm_cli.arrays import Array, host, weights_hash
from fapm_cli.bank.bank import Bank
from fapm_cli.compute.cores import usable_cores
from fapm_cli.config import Query
from fapm_cli.detection.detection import Detection, join
from fapm_cli.detection.judge import Judge
from fapm_cli.engines.large_scoring import LargeScoring
from fapm_cli.engines.openvino_requests import NAME, said
from fapm_cli.engines.openvino_tiles import Tiles

_AT_A_TIME = 8  # tiles: each takes some 40 MB


class OpenVinoLargeJudge(Judge):
    """A bank whose inputs are gone through tile by tile, on all cores, one picture at a time."""

    def __init__(
        self,
        bank: Bank,
        *,
        query: Query | None = None,
        roi: Array | None = None,
        pixel_threshold: float | None = None,
    ):
        """Write the graphs of a bank.

        Args:
            bank: that :func:`fapm_cli.engines.opening.why_torch` finds nothing about.
            query, roi, pixel_threshold: as for :class:`Judge`.

        Raises:
            OptionError: as for :class:`Judge`, or OpenVINO can't be imported.
            BankError: the backbone is not the one that the bank was built with.
            ModelError: OpenVINO can't read a graph.
        """
        super().__init__(bank, query, roi, pixel_threshold)
        bank.check_weights(weights_hash(bank.backbone or {}))
        cores = usable_cores()
        self._number, self._alone = min(cores, _AT_A_TIME), threading.Lock()
        with said():
            self._tiles = Tiles(bank, self.query, self._number, cores)
        self._scoring = LargeScoring(
            bank.config.preprocessing.crop_px,
            list(bank.map_sizes),
            self.query,
            bank.calibration,
            self.roi,
            extents=self.is_own_region,
        )

    @property
    def package(self) -> str:
        """The package of its engine."""
        return NAME

    @property
    def precision(self) -> str:
        """What it computes in."""
        return "fp32"

    def detect_inputs(self, inputs: Array) -> Detection:
        """Judge a batch of inputs, one after another."""
        found = [self._detect(one) for one in host(inputs)]
        return found[0] if len(found) == 1 else join(found, np.concatenate)

    def _detect(self, pixels: np.ndarray[Any, Any]) -> Detection:
        shown = pixels[..., 3] > 0 if pixels.shape[2] == 4 else None
        with self._alone, said(), ThreadPoolExecutor(self._number) as threads:
            run = functools.partial(_run, threads, self._number)
            distances, nearest = self._tiles(pixels[..., :3], run)
            layers, as_spots, anomaly_map, peak = self._scoring(distances, shown, run)
        parts = (as_spots.max(), layers, anomaly_map, peak, nearest, as_spots)
        return Detection(*(np.asarray(part)[np.newaxis] for part in parts))


def _run(
    threads: ThreadPoolExecutor, number: int, work: Callable[[Any], None], each: Iterable[Any]
) -> None:
    """Do something with each of several things, in this thread and others, ``number`` in all."""
    left, taking = iter(each), threading.Lock()

    def some() -> None:
        while True:
            with taking:
                one = next(left, None)
            if one is None:
                return
            work(one)

    others = [threads.submit(some) for _ in range(number - 1)]
    some()
    for other in others:
        other.result()
