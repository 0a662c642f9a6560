"""Scoring: from distances to anomaly maps and scores, as :class:`fapm_cli.scores.scorer.Scorer`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Query
from fapm_cli.graph.image_scores import as_spots, paper_scores, spots
from fapm_cli.graph.spreading import Spread, shown_places
from fapm_cli.graph.writer import Graph, Value
from fapm_cli.scores.extents import TINY, Asked, Calibration

Size = tuple[int, int]


@dataclass(frozen=True)
class Scored:
    """What comes of a batch of B pictures.

    Attributes:
        image_scores: (B,) float32.
        layer_scores: (B, L) float32.
        anomaly_maps: (B, H, W) float32.
        peaks: (B, 2) int64, x and y.
        as_spots: (B, 3) float32, each extent as the spot that would be as unusual; (B, 1) where
            only spots are judged.
    """

    image_scores: Value
    layer_scores: Value
    anomaly_maps: Value
    peaks: Value
    as_spots: Value


class Scoring:
    """Writes what follows the search."""

    def __init__(
        self,
        graph: Graph,
        size: Size,
        map_sizes: list[Size],
        query: Query,
        calibration: Calibration,
        roi: NDArray[np.bool_] | None,
        *,
        extents: bool,
    ):
        """Prepare to score pictures of one size.

        Args:
            graph: that it is written to.
            size: H, W of the input.
            map_sizes: (h, w) of each memory's map.
            query: how to score.
            calibration: of each place.
            roi: (H, W) bool, what is inspected; None for all.
            extents: whether wide extents may be judged, if it knows what is usual of them.
        """
        self._graph, self._size, self._sizes, self._query = graph, size, map_sizes, query
        self._roi, finest = roi, max(map_sizes)
        self._asked = Asked.of(size, map_sizes, query, calibration, roi, extents=extents)
        whole = self._asked.inside[self._asked.finest]
        self._place = [
            Spread(graph, one, finest, 0.0, query.placement, part, whole) if one != finest else None
            for one, part in zip(map_sizes, self._asked.inside, strict=True)
        ]
        self._spread = Spread(graph, finest, size, query.sigma, query.placement, whole, roi)

    @property
    def num_extents(self) -> int:
        """How many extents are judged."""
        return 1 if self._asked.extents is None else len(self._asked.extents.means)

    def __call__(self, distances: list[Value], shown: Value | None = None) -> Scored:
        """Score pictures.

        Args:
            distances: of each memory (B, k, h_j, w_j) float32, nearest first.
            shown: (B, 1, H, W) float32, 1 where a picture shows something and 0 where not; None
                for everywhere.
        """
        graph, query = self._graph, self._query
        there = [
            None if shown is None else shown_places(graph, shown, self._size, one)
            for one in self._sizes
        ]
        counted = [
            self._counted(*each) for each in zip(distances, self._asked.inside, there, strict=True)
        ]
        wanted = there[self._asked.finest]
        both = [
            self._placed(*each, wanted) for each in zip(self._place, counted, there, strict=True)
        ]
        placed = graph.concat([one for one, _ in both], 1)
        weights = np.array(query.layer_shares, np.float32).reshape(1, -1, 1, 1)
        fused, told = (placed * weights).sum(1, keep=True), wanted
        if any(of is not wanted for _, of in both):  # who can't tell of a place has no part in it
            each = graph.concat([of for _, of in both if of is not None], 1)
            share = (each * weights).sum(1, keep=True)
            fused = graph.where(share > 0.0, fused / share.at_least(TINY), 0.0)
            told = graph.concat([each, (share > 0.0).cast(np.float32)], 1)
        # All is linear but the last step, so what is fused goes the layers' way, as one more.
        every = graph.concat([placed, fused], 1)
        if self._asked.factors is not None:
            every = every * self._asked.factors
        if shown is None or told is None:
            maps = self._spread(every)
        else:
            maps, _ = self._spread.of_shown(every, told, shown)
        return self._judged(maps, counted)

    def _counted(
        self, distances: Value, inside: NDArray[np.bool_] | None, there: Value | None
    ) -> Value:
        """Distances, 0 where nothing is inspected or shown."""
        if inside is not None:
            distances = self._graph.where(inside, distances, 0.0)
        return distances if there is None else distances * there

    def _placed(
        self, place: Spread | None, distances: Value, own: Value | None, wanted: Value | None
    ) -> tuple[Value, Value | None]:
        """A memory's scores on the finest map, (B, 1, h, w), and of which of the ``wanted`` places
        they tell, 1 or 0; ``own`` says so of the memory's, None for all.
        """
        one = distances
        if self._query.num_neighbors > 1:
            if self._query.image_score == "paper":
                one = distances.slice(0, 1, 1)
            else:
                one = distances.mean(1).unsqueeze(1)
        if place is None:
            return one, wanted
        if own is None or wanted is None:
            return place(one), wanted
        one, told = place.of_shown(one, own, wanted)
        return one, told.cast(np.float32)

    def _judged(self, maps: Value, distances: list[Value]) -> Scored:
        """What the layers' maps and the anomaly map behind them, (B, L + 1, H, W), tell."""
        query, num_layers = self._query, len(self._sizes)
        tops = spots(maps, self._size, self._asked.num_px, query)
        anomaly_maps = maps.slice(num_layers, num_layers + 1, 1)
        spot = tops.slice(num_layers, num_layers + 1, 1)
        if self._asked.extents is not None:
            spot = as_spots(anomaly_maps, spot, self._size, self._asked.num_px, self._asked.extents)
        if query.image_score == "paper":
            images = paper_scores(self._graph, distances, self._sizes, query)
        else:
            # By ReduceMax, OpenVINO before 2026.4 gives what goes into it.
            each = [spot.slice(number, number + 1, 1) for number in range(self.num_extents)]
            images = self._graph.node("Max", *each).reshape(-1)
        flat = anomaly_maps.reshape(-1, *self._size)
        return Scored(images, tops.slice(0, num_layers, 1), flat, self._peaks(flat), spot)

    def _peaks(self, maps: Value) -> Value:
        """Where each of (B, H, W) maps is largest, the first in reading order: x and y."""
        if self._roi is not None:  # where a map is 0 everywhere, it has a peak all the same
            maps = self._graph.where(self._roi, maps, -1.0)
        y = maps.max(2).arg_max(1).unsqueeze(1)  # by rows: all px at once take longer
        x = self._graph.node("GatherND", maps, y, batch_dims=1).arg_max(1).unsqueeze(1)
        return self._graph.concat([x, y], 1)
