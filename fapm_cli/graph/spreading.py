"""Spreading: maps brought to finer ones and blurred by two matrices, as
:class:`fapm_cli.scores.spreader.Spreader` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Placement
from fapm_cli.graph.writer import Graph, Value
from fapm_cli.scores.geometry import LEAST_SHOWN, spreading_matrices

Region = NDArray[np.bool_]
Size = tuple[int, int]


class Spread:
    """Spreads maps of h×w places over H×W."""

    def __init__(
        self,
        graph: Graph,
        size: Size,
        finer: Size,
        sigma: float,
        placement: Placement,
        known: Region | None = None,
        wanted: Region | None = None,
    ):
        """Make the matrices.

        Args:
            graph: that it is written to.
            size: h, w.
            finer: H, W.
            sigma: Gaussian's standard deviation in places of the finer map.
            placement: bilinear, or the nearest place's value.
            known: (h, w) bool: what is spread are means over these; None for all.
            wanted: (H, W) bool, places that a known one reaches; the result is 0 elsewhere.
        """
        self._graph = graph
        self._known = None if known is None else known.astype(np.float32)
        rows, columns = spreading_matrices(size, finer, sigma, placement)
        self._rows, self._columns = (
            graph.constant(rows, "rows"),
            graph.constant(columns.T, "columns"),
        )
        self._gain: Value | None = None
        if known is not None and wanted is not None:
            share = rows @ known.astype(np.float32) @ columns.T
            gain = np.divide(1, share, out=np.zeros_like(share), where=wanted)
            self._gain = graph.constant(gain, "gain")

    def __call__(self, maps: Value) -> Value:
        """Spread (..., h, w) to (..., H, W)."""
        spread = self._rows @ maps @ self._columns
        return spread if self._gain is None else spread * self._gain

    def of_shown(self, maps: Value, shown: Value, wanted: Value) -> tuple[Value, Value]:
        """Spread means over what is shown.

        Args:
            maps: (B, n, h, w), 0 where nothing is shown.
            shown: (B, n or 1, h, w) float32, 1 for shown and 0 for not.
            wanted: (B, 1, H, W) likewise, where a mean is asked for.

        Returns:
            (B, n, H, W), 0 where nothing is told; and (B, n or 1, H, W) bool, where something is.
        """
        share = self(shown if self._known is None else shown * self._known)
        told = (wanted > 0.0) & (share > LEAST_SHOWN)
        return self._graph.where(told, self(maps) / share.at_least(LEAST_SHOWN), 0.0), told


def shown_places(graph: Graph, shown: Value, size: Size, places: Size) -> Value:
    """Which places of a coarser map are wholly shown: (B, 1, H, W) to (B, 1, h, w), 1 and 0."""
    sides = [side // num for side, num in zip(size, places, strict=True)]
    hidden = graph.constant(1.0) - shown
    coarse = graph.node("MaxPool", hidden, kernel_shape=sides, strides=sides)
    return graph.constant(1.0) - coarse
