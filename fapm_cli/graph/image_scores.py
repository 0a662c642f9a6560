"""Scores of whole pictures, from their maps: as :mod:`fapm_cli.scores.image_score` and
:mod:`fapm_cli.scores.extents` tell them.
"""

from __future__ import annotations

import numpy as np

from fapm_cli.config import Query
from fapm_cli.graph.writer import Graph, Value
from fapm_cli.scores.extents import (
    AREA_SHARE,
    BLOCK_PX,
    MOST_LOG,
    TINY,
    TOP_SHARE,
    Extents,
    px_of_share,
)
from fapm_cli.scores.geometry import mean_matrix, repeat_matrix

Size = tuple[int, int]

_COLUMN = 16  # px that are ranked by the largest of them first


def spots(maps: Value, size: Size, num_px: int, query: Query) -> Value:
    """(B, n) of (B, n, H, W) maps: the mean of the largest values of each, or the largest.

    Args:
        maps: what to score.
        size: H, W.
        num_px: that are inspected; the others are 0.
        query: how pictures are scored.
    """
    if query.image_score == "max":
        return maps.max(2, 3)
    return _mean_of_top(maps, size, px_of_share(TOP_SHARE, num_px, query.spot_px))


def _mean_of_top(maps: Value, size: Size, k: int) -> Value:
    """(B, n) means of the k largest of (B, n, H, W).

    They lie in the k columns whose largest are largest: of fewer px, ranking takes less time.
    """
    (height, width), n = size, -1
    num_px = height * width
    num_columns = num_px // _COLUMN
    if num_columns < 2 * k or num_px % _COLUMN:
        flat = maps.reshape(0, 0, num_px)
        return flat.top(k, 2, largest=True, ordered=False)[0].mean(2)
    columns = maps.reshape(0, 0, _COLUMN, num_columns)
    best = columns.max(2).top(k, 2, largest=True, ordered=False)[1]
    graph = maps.graph
    places = best.unsqueeze(2) + graph.constant(np.zeros((1, 1, _COLUMN, 1), np.int64))
    left = graph.node("GatherElements", columns, places, axis=3).reshape(0, 0, n)
    return left.top(k, 2, largest=True, ordered=False)[0].mean(2)


def as_spots(maps: Value, spot: Value, size: Size, num_px: int, extents: Extents) -> Value:
    """(B, 3): each extent as the spot that would be as unusual.

    Args:
        maps: (B, 1, H, W).
        spot: (B, 1) the score of a spot.
        size: H, W.
        num_px: that are inspected.
        extents: what is usual of them.
    """
    graph = maps.graph
    rows, columns = (mean_matrix(side, BLOCK_PX).astype(np.float32) for side in size)
    blocks = graph.constant(rows) @ maps @ graph.constant(columns.T)
    k = px_of_share(AREA_SHARE, max(num_px // BLOCK_PX**2, 1))
    area = _mean_of_top(blocks, (len(rows), len(columns)), k)
    whole = maps.sum(2, 3) / float(num_px)
    wide = graph.concat([area, whole], 1)
    means, spreads = (np.array([one], np.float32) for one in (extents.means, extents.spreads))
    unusual = (graph.node("Log", wide.at_least(TINY)) - means[:, 1:]) / spreads[:, 1:]
    logs = (unusual - float(extents.behind)) * spreads[:, :1] + means[:, :1]
    return graph.concat([spot, graph.node("Exp", logs.at_most(MOST_LOG))], 1)


def paper_scores(graph: Graph, neighbors: list[Value], sizes: list[Size], query: Query) -> Value:
    """(B,) of each memory's distances (B, k, h_j, w_j): w·s*, as the official code has it."""
    height, width = max(sizes)
    repeated = []
    for distances, (h, w), weight in zip(neighbors, sizes, query.layer_weights, strict=True):
        if (h, w) != (height, width):
            rows, columns = repeat_matrix(height, h), repeat_matrix(width, w)
            both = (one.astype(np.float32) for one in (rows, columns.T))
            left, right = map(graph.constant, both)
            distances = left @ distances @ right
        repeated.append(distances * float(weight))
    k = query.num_neighbors
    places = repeated[0]
    for one in repeated[1:]:
        places = places + one
    places = places.reshape(0, k, height * width)
    nearest = places.slice(0, 1, 1)
    where = nearest.arg_max(2).unsqueeze(2) + graph.constant(np.zeros((1, k, 1), np.int64))
    at_peak = graph.node("GatherElements", places, where, axis=2)
    shares = graph.node("Softmax", at_peak, axis=1).max(1, 2)
    return (graph.constant(1.0) - shares) * nearest.max(1, 2)
