"""Large scoring: from the distances of a large input's places to what is found in it, by numpy, as
:class:`fapm_cli.graph.scoring.Scoring` writes it for engines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Query
from fapm_cli.engines.large_maps import Largest, Map, Region, Shown, Size, Spread
from fapm_cli.engines.openvino_levels import Run
from fapm_cli.scores.extents import (
    AREA_SHARE,
    BLOCK_PX,
    MOST_LOG,
    TINY,
    TOP_SHARE,
    Asked,
    Calibration,
    Extents,
    px_of_share,
)

Scored = tuple[NDArray[np.float32], NDArray[np.float32], Map, NDArray[np.int64]]


class LargeScoring:
    """Scores pictures of one size, one at a time."""

    def __init__(
        self,
        size: Size,
        map_sizes: list[Size],
        query: Query,
        calibration: Calibration,
        roi: Region | None,
        *,
        extents: bool,
    ):
        """As :class:`fapm_cli.graph.scoring.Scoring`; not the paper's image score."""
        self._size, self._sizes, self._query, self._roi = size, map_sizes, query, roi
        self._asked = Asked.of(size, map_sizes, query, calibration, roi, extents=extents)
        finest, whole = max(map_sizes), self._asked.inside[self._asked.finest]
        self._place = [
            Spread(one, finest, 0.0, query.placement, part, whole) if one != finest else None
            for one, part in zip(map_sizes, self._asked.inside, strict=True)
        ]
        self._spread = Spread(finest, size, query.sigma, query.placement, whole, roi)

    def __call__(self, distances: list[Map], shown: Region | None, run: Run) -> Scored:
        """Score a picture.

        Args:
            distances: of each memory (k, h_j, w_j), nearest first.
            shown: (H, W) bool, what the picture shows; None for all.
            run: how several things are done.

        Returns:
            The scores of memories (L,), each extent as the spot that would be as unusual (3,) or
            (1,), the anomaly map (H, W), and its peak, x and y.
        """
        both = [self._placed(j, one, shown) for j, one in enumerate(distances)]
        placed, told = [one for one, _ in both], [of for _, of in both]
        fused = np.zeros_like(placed[0])
        for one, share in zip(placed, self._query.layer_shares, strict=True):
            fused += one * np.float32(share)
        there: list[Shown | None] = [None] * (len(placed) + 1)
        if shown is not None:
            fused, of_fused = self._of_told(fused, told)
            there = [Shown(of, shown) for of in (*told, of_fused)]
        maps, factors = [*placed, fused], self._asked.factors
        if factors is not None:
            maps = [one * factors for one in maps]
        k = 1
        if self._query.image_score != "max":
            k = px_of_share(TOP_SHARE, self._asked.num_px, self._query.spot_px)
        largest = [Largest(k) for _ in maps]
        anomaly_map = np.empty(self._size, np.float32)

        def score(number: int) -> None:
            row = self._spread.rows[number]
            for block in self._spread.blocks(row):
                for one, top, of in zip(maps[:-1], largest[:-1], there[:-1], strict=True):
                    if self._spread.highest(one, block) > top.floor:
                        top.offer(self._spread.block(one, block, of))
                part = self._spread.block(maps[-1], block, there[-1])
                anomaly_map[row.out, block[1].out] = part
                largest[-1].offer(part)

        run(score, range(len(self._spread.rows)))
        *layers, spot = [top.mean() for top in largest]
        spots = [spot]
        if self._asked.extents is not None:
            spots += self._wide(anomaly_map, self._asked.extents)
        as_spots = np.array(spots, np.float32)
        return np.array(layers, np.float32), as_spots, anomaly_map, self._peak(anomaly_map)

    def _placed(self, number: int, distances: Map, shown: Region | None) -> tuple[Map, Map]:
        """A memory's scores on the finest map, 0 where nothing is inspected or shown; and of which
        places they tell, 1 or 0.
        """
        one = distances.mean(axis=0) if len(distances) > 1 else distances[0]
        inside, place = self._asked.inside[number], self._place[number]
        if inside is not None:
            one = np.where(inside, one, np.float32(0))
        if shown is None:
            return one if place is None else place.whole(one), np.ones((1, 1), np.float32)
        seen = Shown.of(shown, one.shape, max(self._sizes))
        one = one * seen.places
        if place is None:
            return one, seen.places
        one, told = place.of_shown(one, seen)
        return one, told.astype(np.float32)

    def _of_told(self, fused: Map, told: list[Map]) -> tuple[Map, Map]:
        """What is fused, of those alone that tell of a place; and of which places any does."""
        share = np.zeros_like(fused)
        for of, weight in zip(told, self._query.layer_shares, strict=True):
            share += of * np.float32(weight)
        any_tells = share > 0
        fused = np.divide(fused, share, out=np.zeros_like(fused), where=any_tells)
        return fused, any_tells.astype(np.float32)

    def _wide(self, anomaly_map: Map, extents: Extents) -> list[np.float32]:
        """The wider extents, each as the spot that would be as unusual."""
        (height, width), block = self._size, BLOCK_PX
        down, across = np.arange(0, height, block), np.arange(0, width, block)
        rows = np.add.reduceat(anomaly_map, down, axis=0)
        sums = np.add.reduceat(rows, across, axis=1)
        tall, broad = (
            np.diff(np.append(cuts, side)) for cuts, side in ((down, height), (across, width))
        )
        means = (sums / np.outer(tall, broad)).astype(np.float32)
        area = Largest(px_of_share(AREA_SHARE, max(self._asked.num_px // block**2, 1)))
        area.offer(means)
        wide = np.array([area.mean(), anomaly_map.sum(dtype=np.float64) / self._asked.num_px])
        usual, spreads = np.array(extents.means), np.array(extents.spreads)
        unusual = (np.log(np.maximum(wide, TINY)) - usual[1:]) / spreads[1:]
        logs = (unusual - extents.behind) * spreads[0] + usual[0]
        return list(np.exp(np.minimum(logs, MOST_LOG)).astype(np.float32))

    def _peak(self, anomaly_map: Map) -> NDArray[np.int64]:
        """Where a map is largest, the first in reading order: x and y."""
        best, place = -np.inf, (0, 0)
        for row in self._spread.rows:  # where it is 0 everywhere, it has a peak all the same
            part = anomaly_map[row.out]
            if self._roi is not None:
                part = np.where(self._roi[row.out], part, np.float32(-1))
            y, x = divmod(int(part.argmax()), part.shape[1])
            if part[y, x] > best:
                best, place = float(part[y, x]), (x, row.out.start + y)
        return np.array(place, np.int64)
