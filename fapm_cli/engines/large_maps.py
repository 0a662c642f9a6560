"""Large maps: spread and scored a block of px at a time, as :mod:`fapm_cli.graph.scoring` writes it
for a whole input. Numpy does it: there is little to compute.

Of a layer's own map no more than its largest values are asked for, and no blurred value exceeds
what it is a mean of: most blocks of such maps need not be made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Placement
from fapm_cli.scores.geometry import LEAST_SHOWN, spreading_matrices

Map = NDArray[np.float32]
Region = NDArray[np.bool_]
Size = tuple[int, int]

_BLOCK = 256  # px of a side at a time
_ROUNDING = 1 + 1e-5


@dataclass(frozen=True)
class _Span:
    """Places of a side, and what they are made of."""

    out: slice
    fed: slice
    weights: Map


class Spread:
    """Spreads maps of h×w places over H×W: upsampling and blur, block by block."""

    def __init__(
        self,
        size: Size,
        finer: Size,
        sigma: float,
        placement: Placement,
        known: Region | None = None,
        wanted: Region | None = None,
    ):
        """As :class:`fapm_cli.graph.spreading.Spread`."""
        self.size, self.finer = size, finer
        self._known = None if known is None else known.astype(np.float32)
        self._wanted = wanted
        rows, columns = (_spans(side) for side in spreading_matrices(size, finer, sigma, placement))
        self.rows, self._columns = rows, columns

    def blocks(self, row: _Span) -> Iterator[tuple[_Span, _Span]]:
        """Those of a row of them."""
        return ((row, column) for column in self._columns)

    def highest(self, one: Map, block: tuple[_Span, _Span]) -> float:
        """What no value in a block exceeds, of a map (h, w)."""
        row, column = block
        return float(one[row.fed, column.fed].max()) * _ROUNDING

    def block(self, one: Map, block: tuple[_Span, _Span], shown: Shown | None = None) -> Map:
        """A block of what a map (h, w) is spread over; of what is shown, means over that."""
        if shown is None:
            return self._over_known(one, block)
        return self._of_shown(one, block, shown)[0]

    def whole(self, one: Map) -> Map:
        """All of it."""
        spread = np.empty(self.finer, np.float32)
        for at, block in self._everywhere():
            spread[at] = self._over_known(one, block)
        return spread

    def of_shown(self, one: Map, shown: Shown) -> tuple[Map, Region]:
        """All of it, means over what is shown: (H, W), 0 where nothing is told; and (H, W) bool,
        where something is.
        """
        spread, told = np.empty(self.finer, np.float32), np.empty(self.finer, bool)
        for at, block in self._everywhere():
            spread[at], told[at] = self._of_shown(one, block, shown)
        return spread, told

    def _everywhere(self) -> Iterator[tuple[tuple[slice, slice], tuple[_Span, _Span]]]:
        """All blocks, and where they lie."""
        for row in self.rows:
            for block in self.blocks(row):
                yield (row.out, block[1].out), block

    def _of_shown(self, one: Map, block: tuple[_Span, _Span], shown: Shown) -> tuple[Map, Region]:
        row, column = block
        places = shown.places if self._known is None else shown.places * self._known
        share = self._over_known(places, block)
        told = shown.wanted[row.out, column.out] & (share > LEAST_SHOWN)
        mean = self._over_known(one, block) / np.maximum(share, np.float32(LEAST_SHOWN))
        return np.where(told, mean, np.float32(0)), told

    def _over_known(self, one: Map, block: tuple[_Span, _Span]) -> Map:
        row, column = block
        spread = _product(one, block)
        if self._known is None or self._wanted is None:
            return spread
        share, wanted = _product(self._known, block), self._wanted[row.out, column.out]
        return np.divide(spread, share, out=np.zeros_like(spread), where=wanted)


@dataclass(frozen=True)
class Shown:
    """What a picture shows.

    Attributes:
        places: (h, w) float32 of the map that is spread, 1 for shown and 0 for not.
        wanted: (H, W) bool, where a mean is asked for.
    """

    places: Map
    wanted: Region

    @classmethod
    def of(cls, shown: Region, size: Size, finer: Size) -> Shown:
        """Places are shown that are so wholly.

        Args:
            shown: (H', W') bool over the input.
            size: of the map that is spread.
            finer: of what it is spread over.
        """
        return cls(_wholly(shown, size).astype(np.float32), _wholly(shown, finer))


class Largest:
    """The k largest of values that are offered, by several threads."""

    def __init__(self, k: int):
        """Begin with none."""
        self._k, self._held, self._count = k, [np.empty(0, np.float32)], 0
        self._lock = threading.Lock()
        self.floor = -np.inf
        """No value up to this one is among them, or is missed."""

    def offer(self, values: Map) -> None:
        """Take those that may be among them."""
        some = values[values > self.floor]
        with self._lock:
            self._held.append(some)
            self._count += some.size
            if self._count > 4 * self._k:
                self._sift()

    def _sift(self) -> None:
        values = np.concatenate(self._held)
        if values.size > self._k:
            values = np.partition(values, values.size - self._k)[values.size - self._k :]
            self.floor = float(values.min())
        self._held, self._count = [values], values.size

    def mean(self) -> np.float32:
        """Their mean, in whatever order they came."""
        self._sift()
        mean = np.sort(self._held[0]).mean(dtype=np.float64)
        return np.float32(mean)


def _product(one: Map, block: tuple[_Span, _Span]) -> Map:
    row, column = block
    down = np.matmul(row.weights, one[row.fed, column.fed])
    return np.asarray(np.matmul(down, column.weights.T))


def _spans(side: Map) -> list[_Span]:
    """Blocks of places of an (n, m) side."""
    spans = []
    for first in range(0, len(side), _BLOCK):
        out = slice(first, min(first + _BLOCK, len(side)))
        used = np.flatnonzero(side[out].any(axis=0))
        fed = slice(int(used[0]), int(used[-1]) + 1)
        spans.append(_Span(out, fed, side[out, fed].copy()))
    return spans


def _wholly(shown: Region, size: Size) -> Region:
    """(h, w) bool of (H, W): which places are shown wholly."""
    (height, width), (h, w) = shown.shape, size
    if (height, width) == size:
        return shown
    return np.asarray(shown.reshape(h, height // h, w, width // w).all(axis=(1, 3)))
