"""Search: patch-local k nearest neighbours (§2.3), as :mod:`fapm_cli.memory.search` finds them in
maps that are cut into a grid of patches as :mod:`fapm_cli.memory.grid` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import host
from fapm_cli.bank.bank import LayerMemory
from fapm_cli.graph.half import Rounding
from fapm_cli.graph.writer import Graph, Operand, Value
from fapm_cli.memory.grid import Grid
from fapm_cli.memory.laying_out import lay_out
from fapm_cli.memory.pages import Pages

Array = NDArray[Any]
Size = tuple[int, int]
_FAR = 1e38  # beyond all that is a distance, squared


def to_patches(feature_map: Value, channels: int, size: Size, grid: Grid) -> Value:
    """(N_p, C, Q) of a (B, C, h, w) map: a vector is a column, which products then read as it is.

    Q = B·N_v runs over pictures first, then over the patch's cells in reading order.
    """
    (h, w), (rows, columns) = size, grid
    cells = feature_map.reshape(-1, channels, rows, h // rows, columns, w // columns)
    return cells.transpose(2, 4, 1, 0, 3, 5).reshape(rows * columns, channels, -1)


def from_patches(values: Value, k: int, size: Size, grid: Grid) -> Value:
    """Put each vector's k values back in its place: (B, k, h, w) of (N_p, k, Q)."""
    (h, w), (rows, columns) = size, grid
    cells = values.reshape(rows, columns, k, -1, h // rows, w // columns)
    return cells.transpose(3, 2, 0, 4, 1, 5).reshape(-1, k, h, w)


@dataclass(frozen=True)
class OnPages:
    """Keys on p pages, as :class:`fapm_cli.memory.laying_out.LaidOut` has them: constants of a
    graph, or what it is given. ``first`` is asked for by those that are named.
    """

    keys: Operand
    norms_sq: Operand
    first: Operand | None = None

    def nearest(
        self, graph: Graph, centered: Value, lengths_sq: Value, k: int
    ) -> tuple[Value, Value | None]:
        """Find the nearest keys on each page.

        Args:
            graph: that it is written to.
            centered: (p, C, Q), vectors less the page's center.
            lengths_sq: (p, 1, Q), their squared lengths.
            k: how many keys.

        Returns:
            Squared distances (p, k, Q), and, if there is ``first``, the nearest one's index,
            (p, 1, Q) int64.
        """
        # ‖key‖² - 2·key·query: of all that is needed to tell which keys are nearest.
        products = graph.node("MatMul", self.keys, centered) + self.norms_sq
        places = None
        if k > 1:
            nearest, places = products.top(k, 1, largest=False, ordered=True)
            places = places.slice(0, 1, 1)
        else:
            nearest = products.min(1, keep=True)
            if self.first is not None:
                places = products.arg_min(1).unsqueeze(1)
        if places is not None and self.first is not None:
            return nearest + lengths_sq, places + self.first
        return nearest + lengths_sq, None


def filled(graph: Graph, distances_sq: Value) -> Value:
    """Have the farthest key stand for those that are missing, infinitely far (p, k, Q)."""
    missing = distances_sq > _FAR
    farthest = graph.where(missing, 0.0, distances_sq).max(1, keep=True)
    return graph.where(missing, farthest, distances_sq)


def merged(
    graph: Graph, distances_sq: Value, indices: Value | None, k: int, each: int
) -> tuple[Value, Value | None]:
    """The k nearest of (p, n·each, Q), and of (p, n, Q) indices of the nearest of each n its own,
    (p, 1, Q).
    """
    nearest, order = distances_sq.top(k, 1, largest=False, ordered=True)
    if indices is None:
        return nearest, None
    slot = order.slice(0, 1, 1)
    if each > 1:
        slot = slot / np.array(each)
    return nearest, graph.node("GatherElements", indices, slot, axis=1)


class Memory:
    """A layer's keys on their pages, as constants; target vectors are columns, (N_p, C, Q)."""

    def __init__(self, graph: Graph, memory: LayerMemory, grid: Grid, rounding: Rounding):
        """Lay out a layer's memory."""
        self._graph, self._grid = graph, grid
        self._counts = host(memory.key_counts)
        self._pages = Pages.of(self._counts)
        keys, metrics = (
            None if one is None else host(one).astype(np.float32, copy=False)
            for one in (memory.keys, memory.metrics)
        )
        assert keys is not None
        self._channels = keys.shape[1]
        self._laid_out = lay_out(keys, self._pages, metrics, rounding)

    def nearest(
        self, vectors: Value, k: int, reach: int, *, named: bool
    ) -> tuple[Value, Value | None]:
        """Find the nearest keys.

        Args:
            vectors: (N_p, C, Q) float32.
            k: how many.
            reach: how many patches around its own a vector may search.
            named: whether it is asked which the nearest is.

        Returns:
            (N_p, k, Q) float32 distances, nearest first, and (N_p, 1, Q) int64 the nearest key's
            index among all keys, or None.
        """
        if reach == 0 and self._pages.most == 1 and self._pages.width >= k:  # no merging
            every = np.arange(len(self._pages.patches))
            distances_sq, indices = self._of_pages(vectors, every, k, named)
            found = k
        else:
            distances_sq, indices, found = self._around(vectors, k, reach, named)
        distances_sq = self._filled(distances_sq.at_least(0.0), k, found, reach)
        return self._graph.node("Sqrt", distances_sq), indices

    def _of_pages(
        self, vectors: Value, pages: Array, k: int, named: bool
    ) -> tuple[Value, Value | None]:
        """As :meth:`OnPages.nearest`, of columns (p, C, Q) and some pages."""
        keys, norms_sq = (
            self._graph.constant(getattr(self._laid_out, name)[pages], name)
            for name in ("keys", "norms_sq")
        )
        centers = self._graph.constant(self._laid_out.centers[pages].transpose(0, 2, 1), "centers")
        if self._laid_out.metrics is not None:  # its transpose from the left maps columns
            metrics = self._laid_out.metrics[pages].transpose(0, 2, 1)
            vectors = self._graph.constant(metrics, "metrics") @ vectors
        first = self._laid_out.first[pages] if named else None
        centered = vectors - centers
        lengths_sq = (centered * centered).sum(1, keep=True)
        return OnPages(keys, norms_sq, first).nearest(self._graph, centered, lengths_sq, k)

    def _around(
        self, vectors: Value, k: int, reach: int, named: bool
    ) -> tuple[Value, Value | None, int]:
        """Likewise of all pages in reach of each patch, and how many keys that are, at most k."""
        reaching = self._pages.reaching(self._grid, reach)
        of_pairs, of_indices, each = [], [], min(k, self._pages.width)
        for pages, patches in reaching.parts:
            asking = vectors.gather(patches.flatten())
            asking = self._side_by_side(asking, patches.shape)
            distances_sq, indices = self._of_pages(asking, pages, each, named)
            of_pairs.append(self._apart(distances_sq, each, patches.shape))
            if indices is not None:
                of_indices.append(self._apart(indices, 1, patches.shape))
        num_patches, slots = reaching.places.shape
        missing = reaching.places == sum(patches.size for _, patches in reaching.parts)
        places = np.where(missing, 0, reaching.places)

        def gathered(parts: list[Value], count: int) -> Value:
            every = self._graph.concat(parts, 0).gather(places.flatten())
            return every.reshape(num_patches, slots * count, -1)

        far = np.where(missing, np.float32(np.inf), np.float32(0))
        all_sq = gathered(of_pairs, each)
        if missing.any():
            all_sq = all_sq + self._graph.constant(np.repeat(far, each, axis=1)[..., None])
        found = min(k, slots * each)
        all_indices = gathered(of_indices, 1) if of_indices else None
        return *merged(self._graph, all_sq, all_indices, found, each), found

    def _side_by_side(self, vectors: Value, pairs: tuple[int, ...]) -> Value:
        """(p, C, n·Q) of (p·n, C, Q): all that ask a page in one."""
        num_pages, n = pairs
        if n == 1:
            return vectors
        channels = self._channels
        apart = vectors.reshape(num_pages, n, channels, -1).transpose(0, 2, 1, 3)
        return apart.reshape(num_pages, channels, -1)

    def _apart(self, found: Value, count: int, pairs: tuple[int, ...]) -> Value:
        """(p·n, k, Q) of (p, k, n·Q)."""
        num_pages, n = pairs
        if n == 1:
            return found
        apart = found.reshape(num_pages, count, n, -1).transpose(0, 2, 1, 3)
        return apart.reshape(num_pages * n, count, -1)

    def _filled(self, distances_sq: Value, k: int, found: int, reach: int) -> Value:
        """Have the farthest key stand for those that are missing, where a patch reaches fewer."""
        there = self._reached(reach)
        if (there >= k).all():
            return distances_sq
        missing = np.arange(found) >= there[:, None]
        farthest = self._graph.where(missing[..., None], 0.0, distances_sq).max(1, keep=True)
        filled = self._graph.where(missing[..., None], farthest, distances_sq)
        return self._graph.concat([filled, *[farthest] * (k - found)], 1)

    def _reached(self, reach: int) -> Array:
        """(N_p,) how many keys each patch's vectors meet."""
        rows, columns = self._grid
        counts = np.pad(self._counts.reshape(rows, columns), reach)
        window = (2 * reach + 1, 2 * reach + 1)
        windows = np.lib.stride_tricks.sliding_window_view(counts, window)
        return np.asarray(windows.sum(axis=(2, 3)).flatten())
