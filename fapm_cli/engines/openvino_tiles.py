"""Tiles: the nearest keys of all places of a large input, found by OpenVINO, piece by piece.

Neither what the network gives nor the bank's keys are there at a time: those of the patches that a
tile is for are brought onto pages for it, and let go again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import host
from fapm_cli.bank.bank import Bank
from fapm_cli.config import Query
from fapm_cli.engines.openvino_levels import Cuts, Level, Made, Pixels, Run
from fapm_cli.engines.openvino_requests import Request, Requests, core
from fapm_cli.engines.paged_keys import PagedKeys
from fapm_cli.graph.tiles import (
    DISTANCES,
    FED,
    NEAREST,
    PLACES,
    Tile,
    search_model,
    segment_model,
)
from fapm_cli.network.segments import Segment, segments

_WORK_BYTES = 4 * 2**20  # of what a segment gives where that is most: caches hold it
_KEY_BYTES = 64 * 2**20  # of a tile's keys, and of their products with its vectors
_LEAST_CORE = 8  # times what lies around

Found = tuple[list[NDArray[np.float32]], NDArray[np.int64]]


class Tiles:
    """A bank laid out to be asked piece by piece."""

    def __init__(self, bank: Bank, query: Query, number: int, cores: int):
        """Write the graphs.

        Args:
            bank: that :func:`fapm_cli.engines.opening.why_torch` finds nothing about.
            query: how many keys are wanted, k, and of how many patches.
            number: tiles at a time.
            cores: that all of these have.
        """
        self._bank, self._k = bank, query.num_neighbors
        self._keys = [PagedKeys(bank, j, self._k) for j in range(len(bank.memories))]
        weights = {name: host(one) for name, one in (bank.backbone or {}).items()}
        *first, last = segments(bank.config)
        self._last, engine = last, core()
        sides = bank.config.preprocessing.crop_px
        patch_px = _patch_px(bank)
        most = math.isqrt(self._most_patches)
        self._cuts = [
            Cuts.of(side, min(_core_px(last), most * patch), last, patch)
            for side, patch in zip(sides, patch_px, strict=True)
        ]
        window_px = self._cuts[0].window_px, self._cuts[1].window_px
        grid = self._cuts[0].core_px // patch_px[0], self._cuts[1].core_px // patch_px[1]
        self._tile = Tile(window_px, grid, tuple(one.width for one in self._keys), query.reach)
        model = search_model(bank, weights, last, self._tile, self._k)
        self._requests = Requests(engine, model, number, cores)
        self._levels: list[Made] = []
        asked_px = window_px[0]
        for segment in reversed(first):
            down, across = (
                Cuts.of(side, _core_px(segment), segment, segment.unit_px) for side in sides
            )
            window_px = down.window_px, across.window_px
            model = segment_model(bank.config, weights, segment, window_px)
            requests = Requests(engine, model, number, cores)
            self._levels.insert(0, Made(segment, down, across, asked_px, requests))
            asked_px = down.window_px

    @property
    def _most_patches(self) -> int:
        """Of a tile, by what their keys and products take."""
        return max(_KEY_BYTES // max(one.bytes_of_patch for one in self._keys), 1)

    def __call__(self, pixels: NDArray[Any], run: Run) -> Found:
        """Find the nearest keys of (H, W, 3) px: of each memory (k, h_j, w_j) distances, and of the
        finest (h, w) their indices. Tiles that lie side by side are ``run`` at a time.
        """
        bank = self._bank
        distances = [np.empty((self._k, *size), np.float32) for size in bank.map_sizes]
        nearest = np.empty(max(bank.map_sizes), np.int64)
        below: Level = Pixels(pixels)
        for level in self._levels:
            level.begin(below, run)
            below = level
        for down in self._cuts[0].cores:
            self._search(below, down, distances, nearest, run)
        return distances, nearest

    def _search(
        self,
        below: Level,
        down: range,
        distances: list[NDArray[np.float32]],
        nearest: NDArray[np.int64],
        run: Run,
    ) -> None:
        """Search a row of tiles."""
        window, stride = self._cuts[0].window(down), self._last.fed_stride
        fed, finest = below.rows(window), self._bank.map_sizes.index(nearest.shape)

        def search(across: range) -> None:
            seen = self._cuts[1].window(across)
            with self._requests.one() as request:
                first, end = seen.start // stride, seen.stop // stride
                np.copyto(request.inputs[FED][0], fed[:, first:end], casting="unsafe")
                places = [
                    self._point(request, j, (window, seen), (down, across))
                    for j in range(len(distances))
                ]
                request.infer()
                for j, at in enumerate(places):
                    distances[j][:, at[0], at[1]] = request.outputs[f"{DISTANCES}.{j}"][0]
                    if j == finest:
                        nearest[at] = request.outputs[NEAREST][0]

        run(search, self._cuts[1].cores)
        for keys in self._keys:
            keys.let_go(self._patches(down, 0))

    def _patches(self, px: range, axis: int) -> range:
        """Those of a side that so many px are."""
        patch = _patch_px(self._bank)[axis]
        return range(px.start // patch, px.stop // patch)

    def _point(
        self, request: Request, j: int, windows: tuple[range, range], cores: tuple[range, range]
    ) -> tuple[slice, slice]:
        """Feed a tile's keys, and where in its window their patches lie; gives where on the map."""
        sides, map_size = self._bank.config.preprocessing.crop_px, self._bank.map_sizes[j]
        strides = [side // size for side, size in zip(sides, map_size, strict=True)]
        first, last = (
            slice(core.start // stride, core.stop // stride)
            for core, stride in zip(cores, strides, strict=True)
        )
        tops = [window.start // stride for window, stride in zip(windows, strides, strict=True)]
        rows = np.arange(first.start, first.stop) - tops[0]
        columns = np.arange(last.start, last.stop) - tops[1]
        width, (down, across) = len(windows[1]) // strides[1], self._tile.grid
        cells = (rows[:, None] * width + columns).reshape(
            down, len(rows) // down, across, len(columns) // across
        )
        request.inputs[f"{PLACES}.{j}"][:] = cells.transpose(0, 2, 1, 3).ravel()
        into = {
            name.removesuffix(f".{j}"): array
            for name, array in request.inputs.items()
            if name.endswith(f".{j}")
        }
        patches = self._patches(cores[0], 0), self._patches(cores[1], 1)
        self._keys[j].bring(*patches, self._tile.reach, into)
        return first, last


def _core_px(segment: Segment) -> int:
    """Px of a side that a segment is best run for at a time."""
    around = segment.before + segment.after
    window = math.sqrt(_WORK_BYTES / (4 * segment.widest))
    return max(int(window) - around, _LEAST_CORE * around)


def _patch_px(bank: Bank) -> tuple[int, int]:
    """Height and width of a patch."""
    (height, width), (rows, columns) = bank.config.preprocessing.crop_px, bank.config.grid
    return height // rows, width // columns
