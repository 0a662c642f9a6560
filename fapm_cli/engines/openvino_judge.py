"""A bank judged by OpenVINO, on a CPU; torch is never imported."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import Array, host, weights_hash
from fapm_cli.bank.bank import Bank
from fapm_cli.compute.cores import usable_cores
from fapm_cli.compute.precision import check_on_cpu
from fapm_cli.config import BankConfig, Query
from fapm_cli.detection.detection import Detection, join
from fapm_cli.detection.judge import Judge
from fapm_cli.engines.openvino_parts import Row, in_parts, whole
from fapm_cli.engines.openvino_requests import NAME, core, said
from fapm_cli.errors import OptionError
from fapm_cli.graph.model import engine_model
from fapm_cli.network.architectures import TILE_PX, coarse_from, cut_stages


class OpenVinoJudge(Judge):
    """A bank that OpenVINO runs as one graph, each picture alone.

    Alone, a picture gets all cores; side by side, each gets one: two ways to lay the graph out, of
    which each is made when it is first asked for. Large ones are always alone, for their memory.
    """

    def __init__(
        self,
        bank: Bank,
        precision: str = "auto",
        *,
        query: Query | None = None,
        roi: Array | None = None,
        pixel_threshold: float | None = None,
    ):
        """Write the graph of a bank.

        Args:
            bank: any bank that holds its backbone.
            precision: ``auto``, which is float32, ``fp32``, or ``bf16``, which rounds the network
                behind its first stages.
            query, roi, pixel_threshold: as for :class:`Judge`.

        Raises:
            OptionError: as for :class:`Judge`; this CPU does not compute in the precision; or
                OpenVINO can't be imported.
            BankError: the backbone is not the one that the bank was built with.
            ModelError: OpenVINO can't read the graph.
        """
        super().__init__(bank, query, roi, pixel_threshold)
        self._asked["precision"] = precision
        bank.check_weights(weights_hash(bank.backbone or {}))
        check_on_cpu(precision)
        self._precision = "fp32" if precision == "auto" else precision
        cut = first_rounded(bank.config, self._precision)
        self._channels = 3 if bank.registration is None else 4
        model = engine_model(
            bank,
            bank.backbone or {},
            self.query,
            roi,
            channels=self._channels,
            dtype=np.float32,
            as_spots=True,
            cut=cut,
        )
        with said():
            self._core = core()
            read = self._core.read_model(io.BytesIO(model.SerializeToString()))
            self._parts = whole(read) if cut is None else in_parts(read, len(bank.memories))
        self._cores, self._side_by_side = usable_cores(), False
        self._requests: dict[int, SimpleQueue[Row]] = {}  # by how many there are
        self._laying_out = threading.Lock()

    @property
    def package(self) -> str:
        """The package of its engine."""
        return NAME

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self._precision

    def detect_inputs(self, inputs: Array) -> Detection:
        """Judge a batch of inputs, one after another."""
        pixels = host(inputs).astype(np.float32)
        if pixels.shape[3] < self._channels:  # all of it is shown
            pixels = np.pad(pixels, ((0, 0),) * 3 + ((0, 1),), constant_values=255)
        found = [self._run(pixels[number : number + 1]) for number in range(len(pixels))]
        return found[0] if len(found) == 1 else join(found, np.concatenate)

    @contextlib.contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Each picture gets one core."""
        self._side_by_side = True
        try:
            yield None
        finally:
            self._side_by_side = False

    def _run(self, pixels: NDArray[np.float32]) -> Detection:
        apart = self._side_by_side and max(pixels.shape[1:3]) <= TILE_PX["cpu"]
        free = self._free_requests(self._cores if apart else 1)
        request = free.get()
        try:
            with said():
                return Detection(*request(pixels))
        finally:
            free.put(request)

    def _free_requests(self, number: int) -> SimpleQueue[Row]:
        """Requests of a graph that is laid out for so many pictures at a time, over all cores."""
        with self._laying_out, said():
            if number not in self._requests:
                self._requests[number] = self._lay_out(number)
        return self._requests[number]

    def _lay_out(self, number: int) -> SimpleQueue[Row]:
        asked = {"INFERENCE_NUM_THREADS": self._cores, "NUM_STREAMS": number}
        compiled = [
            self._core.compile_model(part, "CPU", {**asked, "INFERENCE_PRECISION_HINT": precision})
            for part, precision in self._parts
        ]
        free: SimpleQueue[Row] = SimpleQueue()
        black = np.zeros((1, *self.bank.config.preprocessing.crop_px, self._channels), np.float32)
        for _ in range(number):
            row = Row([one.create_infer_request() for one in compiled])
            # Each makes itself ready when it first runs: two that do so at a time may wait for each
            # other for ever.
            row(black)
            free.put(row)
        return free


def first_rounded(config: BankConfig, precision: str) -> str | None:
    """The first of a network's stages that is rounded; None for none.

    Raises:
        OptionError: a layer is tapped before it.
    """
    first = coarse_from(config.backbone, precision)
    names = [stage.name for stage in cut_stages(config.backbone, config.layers)]
    exact = names if first not in names else names[: names.index(first)]
    early = [layer for layer in config.layers if layer in exact]
    if first is not None and early:
        raise OptionError(
            f"precision {precision} leaves {early[0]}, which is tapped, in fp32: use fp32"
        )
    return first
