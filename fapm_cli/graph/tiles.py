"""Tiles: the graphs that a large input is gone through with, a piece of it at a time.

Each segment of the network is a graph of one shape, from a window of what those before it gave to
what it gives there. The last one goes on to the nearest keys: those of the patches that its window
is for are given to it, since those of a large input are too many to be part of a graph. All maps
have their channels last, so that windows are copied row by row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from fapm_cli.bank.bank import Bank
from fapm_cli.config import BankConfig
from fapm_cli.graph.half import as_is
from fapm_cli.graph.network import Network, Tapped
from fapm_cli.graph.search import OnPages, filled, from_patches, merged
from fapm_cli.graph.writer import Graph, Value
from fapm_cli.memory.grid import Grid, neighbor_offsets
from fapm_cli.network.segments import Segment

FED, GIVEN = "fed", "given"
PLACES, NEAREST, DISTANCES = "places", "nearest", "distances"
Weights = Mapping[str, NDArray[np.float32]]
Size = tuple[int, int]
_OPSET = 18


def segment_model(
    config: BankConfig, weights: Weights, segment: Segment, window_px: Size
) -> onnx.ModelProto:
    """Write a segment before the last: :data:`FED` (1, h, w, C) to :data:`GIVEN`, likewise."""
    graph = Graph()
    network = Network(graph, config, weights, as_is, size=window_px)
    x, _ = _run(graph, network, segment, window_px)[segment.stages[-1].name]
    size = (side // segment.stride for side in window_px)
    shape = (1, *size, segment.channels)
    graph.output(GIVEN, x.transpose(0, 2, 3, 1), np.float32, shape)
    return graph.model(_OPSET)


@dataclass(frozen=True)
class Tile:
    """What the last segment is run for, at a time.

    Attributes:
        window_px: height and width of what it is fed.
        grid: rows and columns of its patches.
        widths: keys on a page of each memory; a patch has one page.
        reach: how many patches around its own a vector may search.
    """

    window_px: Size
    grid: Grid
    widths: tuple[int, ...]
    reach: int = 0

    @property
    def num_patches(self) -> int:
        """How many there are."""
        return self.grid[0] * self.grid[1]

    @property
    def reached(self) -> Grid:
        """Rows and columns of those, and of the patches that they reach, there or not."""
        return self.grid[0] + 2 * self.reach, self.grid[1] + 2 * self.reach

    def map_size(self, bank: Bank, memory: int) -> Size:
        """Places of its patches on a memory's map, h and w."""
        both = zip(bank.map_sizes[memory], bank.config.grid, self.grid, strict=True)
        rows, columns = (places // patches * own for places, patches, own in both)
        return rows, columns


def search_model(
    bank: Bank, weights: Weights, segment: Segment, tile: Tile, num_neighbors: int
) -> onnx.ModelProto:
    """Write the last segment, and the search.

    What is fed, beside :data:`FED`, for each memory j: ``places.j`` (p·Q,) int64, which places of
    the window's map the vectors are of, row · w + column, patch after patch; ``keys.j`` (p, K, C),
    the keys of the patches and those that they reach, and anything for those that are missing;
    ``norms_sq.j``, ``centers.j``, ``first.j`` and ``metrics.j`` likewise, as of
    :class:`fapm_cli.memory.laying_out.LaidOut`. What is given:
    ``distances.j`` (1, k, h_j, w_j), nearest first, and of the finest memory the nearest key's
    index, ``nearest`` (1, h, w) int64.
    """
    graph, config = Graph(), bank.config
    network = Network(graph, config, weights, as_is, size=tile.window_px)
    maps = network.locally_aware(_run(graph, network, segment, tile.window_px))
    for j, one in enumerate(maps):
        size = h, w = tile.map_size(bank, j)
        places = graph.input(f"{PLACES}.{j}", np.int64, (h * w,))
        channels = bank.memories[j].keys.shape[1]
        by_place = one.transpose(0, 2, 3, 1).reshape(-1, channels).gather(places)
        vectors = by_place.reshape(tile.num_patches, -1, channels)
        found, indices = _nearest(graph, bank, tile, j, vectors, num_neighbors)
        found = graph.node("Sqrt", filled(graph, found).at_least(0.0))
        placed = from_patches(found, num_neighbors, size, tile.grid)
        graph.output(f"{DISTANCES}.{j}", placed, np.float32, (1, num_neighbors, h, w))
        if indices is not None:
            placed = from_patches(indices, 1, size, tile.grid).reshape(-1, h, w)
            graph.output(NEAREST, placed, np.int64, (1, h, w))
    return graph.model(_OPSET)


def _run(graph: Graph, network: Network, segment: Segment, window_px: Size) -> Tapped:
    """What each of a segment's stages gives."""
    size = (side // segment.fed_stride for side in window_px)
    fed = graph.input(FED, np.float32, (1, *size, segment.fed_channels))
    fed = fed.transpose(0, 3, 1, 2) if segment.fed_by else network.normalised(fed)
    return network.through(segment.stages, fed, segment.fed_by, segment.fed_stride)


def _nearest(
    graph: Graph, bank: Bank, tile: Tile, j: int, vectors: Value, k: int
) -> tuple[Value, Value | None]:
    """As :meth:`OnPages.nearest`, of vectors (p, Q, C) among keys that are given: each patch asks
    its own page, and those around that it reaches.
    """
    pages, found, indices = _given_pages(graph, bank, tile, j), [], []
    for offset in neighbor_offsets(tile.reach):
        own = {name: _shifted(value, tile, offset) for name, value in pages.items()}
        mapped = vectors @ own["metrics"] if "metrics" in own else vectors
        centered = mapped - own["centers"]
        lengths_sq = (centered * centered).sum(2).unsqueeze(1)
        asked = OnPages(own["keys"], own["norms_sq"], own.get("first"))
        # What stands right before a product is transposed by it.
        distances_sq, index = asked.nearest(graph, centered.transpose(0, 2, 1), lengths_sq, k)
        found.append(distances_sq)
        indices += [] if index is None else [index]
    if len(found) == 1:
        return found[0], indices[0] if indices else None
    every = graph.concat(indices, 1) if indices else None
    return merged(graph, graph.concat(found, 1), every, k, k)


def _given_pages(graph: Graph, bank: Bank, tile: Tile, j: int) -> dict[str, Value]:
    """What :class:`OnPages` asks for, of the tile's patches and those that they reach."""
    memory, finest = bank.memories[j], bank.map_sizes.index(max(bank.map_sizes))
    p, width, channels = math.prod(tile.reached), tile.widths[j], memory.keys.shape[1]
    keys, pages = graph.input(f"keys.{j}", np.float32, (p, width, channels)), {}
    dimensions = channels
    if memory.metrics is not None:
        dimensions = memory.metrics.shape[2]
        pages["metrics"] = graph.input(f"metrics.{j}", np.float32, (p, channels, dimensions))
        keys = keys @ pages["metrics"]
    pages["centers"] = graph.input(f"centers.{j}", np.float32, (p, 1, dimensions))
    pages["norms_sq"] = graph.input(f"norms_sq.{j}", np.float32, (p, width, 1))
    if j == finest:
        pages["first"] = graph.input(f"first.{j}", np.int64, (p, 1, 1))
    return pages | {"keys": (pages["centers"] - keys) * 2.0}


def _shifted(pages: Value, tile: Tile, offset: tuple[int, int]) -> Value:
    """Of what each page has that the tile's patches reach, theirs at an offset from each."""
    if tile.reach == 0:
        return pages
    rows, columns = (
        np.arange(own) + tile.reach + step for own, step in zip(tile.grid, offset, strict=True)
    )
    return pages.gather((rows[:, None] * tile.reached[1] + columns).ravel())
