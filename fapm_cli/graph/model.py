"""The model: a bank and its backbone as one ONNX graph, from pixels to all that is found in them.

What :class:`fapm_cli.detection.engine.Engine` is in torch, node by node, without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike

from fapm_cli.arrays import host
from fapm_cli.bank.bank import Bank, common
from fapm_cli.config import Query
from fapm_cli.errors import OptionError
from fapm_cli.graph.half import as_is, store_in_half, to_half
from fapm_cli.graph.network import Network
from fapm_cli.graph.resizing import resized
from fapm_cli.graph.scoring import Scoring
from fapm_cli.graph.search import Memory, from_patches, to_patches
from fapm_cli.graph.writer import Graph, Side, Value

OUTPUTS = ("score", "layer_scores", "anomaly_map", "peak", "nearest")
OPSETS = (18, 23)
"""The first one whose operators are these, and the last that was tried."""


def engine_model(
    bank: Bank,
    backbone: Mapping[str, Any],
    query: Query | None = None,
    roi: Any | None = None,
    *,
    batch: int | None = 1,
    channels: int = 3,
    dtype: DTypeLike = np.uint8,
    opset: int = 18,
    half: bool = False,
    as_spots: bool = False,
    cut: str | None = None,
    any_size: bool = False,
) -> onnx.ModelProto:
    """Write a bank and its backbone as one graph.

    Args:
        bank: any bank.
        backbone: its weights by name, arrays or tensors, norms folded into them.
        query: how to score; None for the bank's own way.
        roi: (H, W) bool over the input, what to inspect of what the bank does; None for all.
        batch: pictures at a time, B; None for any number.
        channels: of the input; of 4, the last says what is shown, above 0.
        dtype: of the input, uint8 or float32 of 0 to 255.
        opset: the version of ONNX's operators.
        half: whether to round weights, keys and metrics to float16, and to store them so.
        as_spots: whether there is one more output, ``as_spots``: (B, 3) float32, each extent as
            the spot that would be as unusual; (B, 1) where only spots are judged.
        cut: a stage of the network, to name the values that it can be cut out by
            (:class:`fapm_cli.graph.network.Network`).
        any_size: whether pictures are of any size, and are resized and cut as
            :func:`fapm_cli.pictures.preparing.prepare` does.

    Returns:
        From ``pixels`` (B, H, W, 3) to the :data:`OUTPUTS`, in the order and the shapes of
        :class:`fapm_cli.detection.detection.Detection`. The same arguments give the same bytes.

    Raises:
        OptionError: ``opset`` is none that was tried, or ``roi`` and the bank's have nothing in
            common.
        WeightsError: the backbone's weights don't fit.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise OptionError(f"opset {opset}: wanted {OPSETS[0]} to {OPSETS[1]}")
    config, query = bank.config, query or bank.config.query
    input_px, map_sizes = config.preprocessing.crop_px, list(bank.map_sizes)
    graph, rounding = Graph(), to_half if half else as_is
    given_px: tuple[Side, ...] = ("height", "width") if any_size else input_px
    given = graph.input("pixels", dtype, (batch, *given_px, channels))
    pixels = given if np.dtype(dtype) == np.float32 else given.cast(np.float32)
    if any_size:
        resize_px = config.preprocessing.resize_px
        pixels = resized(graph, pixels, resize_px)
        for axis, (own, kept) in enumerate(zip(resize_px, input_px, strict=True), 1):
            if own != kept:
                pixels = pixels.slice((own - kept) // 2, (own - kept) // 2 + kept, axis)
    shown = None
    if channels == 4:
        lit = pixels.slice(3, 4, 3) > 0.0
        shown, pixels = lit.cast(np.float32).reshape(-1, 1, *input_px), pixels.slice(0, 3, 3)
    weights = {name: host(value) for name, value in backbone.items()}
    maps = Network(graph, config, weights, rounding, cut).maps(pixels)
    finest = map_sizes.index(max(map_sizes))
    distances: list[Value] = []
    nearest: list[Value] = []
    for number, (one, memory, size) in enumerate(zip(maps, bank.memories, map_sizes, strict=True)):
        vectors = to_patches(one, memory.keys.shape[1], size, config.grid)
        found, keys = Memory(graph, memory, config.grid, rounding).nearest(
            vectors, query.num_neighbors, query.reach, named=number == finest
        )
        distances.append(from_patches(found, query.num_neighbors, size, config.grid))
        if keys is not None:
            nearest.append(from_patches(keys, 1, size, config.grid).reshape(-1, *size))
    scoring = Scoring(
        graph,
        input_px,
        map_sizes,
        query,
        bank.calibration,
        common(*(None if one is None else host(one) for one in (bank.roi, roi))),
        extents=roi is None,  # of a part of the picture, what is usual of them is not known
    )
    scored = scoring(distances, shown)
    graph.output("score", scored.image_scores, np.float32, (batch,))
    graph.output("layer_scores", scored.layer_scores, np.float32, (batch, len(map_sizes)))
    graph.output("anomaly_map", scored.anomaly_maps, np.float32, (batch, *input_px))
    graph.output("peak", scored.peaks, np.int64, (batch, 2))
    graph.output("nearest", nearest[0], np.int64, (batch, *max(map_sizes)))
    if as_spots:
        graph.output("as_spots", scored.as_spots, np.float32, (batch, scoring.num_extents))
    model = graph.model(opset)
    if half:
        store_in_half(model)
    return model
