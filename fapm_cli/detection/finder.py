"""Finding: from an input's px to the nearest keys of all its places, in memory that has a limit.

A large input has many patches, and so has its bank. Both are gone through in bands of whole rows of
patches, of which the features are there at a time, and those in slabs that are searched together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.compute.plan import Plan
from fapm_cli.config import Query
from fapm_cli.memory.grid import from_patches, to_patches
from fapm_cli.memory.patch_memory import PatchMemory, patch_memory
from fapm_cli.memory.search import search
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.scores.scorer import Found

_SLAB = 256  # patches
KEPT_BYTES = 256 * 2**20  # of keys laid out: of a bank with more, it is done for each picture


class Finder:
    """A bank's memories and its backbone on a device."""

    def __init__(self, bank: Bank, extractor: FeatureExtractor, plan: Plan, query: Query):
        """Cut the bank into bands, and lay them out if that is not too much to keep.

        Args:
            bank: any bank.
            extractor: its backbone, following the plan.
            plan: where and in which precision to work.
            query: how to search.
        """
        self._bank, self._extractor, self._plan, self._query = bank, extractor, plan, query
        self._bands = _bands(bank, extractor, plan, query)
        num_keys = sum(memory.keys.numel() for memory in bank.memories)
        self._kept: dict[range, list[Slab]] | None = None
        if len(self._bands) == 1 or num_keys * plan.choosing_dtype.itemsize <= KEPT_BYTES:
            slabs = (rows for band in self._bands for rows in band)
            self._kept = {rows: self._lay_out(rows) for rows in slabs}

    def __call__(self, pixels: Tensor) -> Found:
        """Find the nearest keys of (B, H, W, 3) px: per memory, distances and key indices, both
        (B, h_j, w_j, k).
        """
        slabs = [found for band in self._bands for found in self._find(pixels, band)]
        if len(slabs) == 1:
            return slabs[0]
        by_memory = zip(*slabs, strict=True)
        return [
            (torch.cat([d for d, _ in parts], dim=1), torch.cat([keys for _, keys in parts], dim=1))
            for parts in by_memory
        ]

    def _find(self, pixels: Tensor, band: Sequence[range]) -> Iterator[Found]:
        """The same of a band, slab by slab."""
        patch_px = pixels.shape[1] // self._bank.config.grid[0]
        first, end = band[0].start, band[-1].stop
        features = self._extractor(pixels, slice(first * patch_px, end * patch_px))
        for rows in band:
            slabs = self._lay_out(rows) if self._kept is None else self._kept[rows]
            found = []
            for whole, slab in zip(features, slabs, strict=True):
                cells = whole.shape[2] // (end - first)
                part = whole[:, :, (rows.start - first) * cells : (rows.stop - first) * cells]
                found.append(self._search(part, rows, slab))
            yield found

    def _search(self, feature_map: Tensor, rows: range, slab: Slab) -> tuple[Tensor, Tensor]:
        """The nearest keys of one memory's map of some rows of patches."""
        grid = len(rows), self._bank.config.grid[1]
        k, reach = self._query.num_neighbors, self._query.reach
        both = search(to_patches(feature_map, grid), slab.memory, k, reach)
        size = feature_map.shape[2], feature_map.shape[3]
        distances, indices = (from_patches(values, grid, *size) for values in both)
        return distances, indices + slab.first_key

    def _lay_out(self, rows: range) -> list[Slab]:
        """Each memory's part of some rows of patches, laid out for search."""
        columns = self._bank.config.grid[1]
        patches = slice(rows.start * columns, rows.stop * columns)
        slabs = []
        for memory, (h, w) in zip(self._bank.memories, self._bank.map_sizes, strict=True):
            counts, metrics = memory.key_counts, memory.metrics
            first = int(counts[: patches.start].sum())
            laid_out = patch_memory(
                memory.keys[first : first + int(counts[patches].sum())].to(self._plan.device),
                counts[patches],
                (len(rows), columns),
                self._plan.choosing_dtype,
                h * w // len(counts) if self._query.reach == 0 else None,
                None if metrics is None else metrics[patches].to(self._plan.device),
            )
            slabs.append(Slab(laid_out, first))
        return slabs


@dataclass(frozen=True)
class Slab:
    """A memory's part of some rows of patches.

    Attributes:
        memory: laid out for search.
        first_key: the number of its first key among all of the bank's.
    """

    memory: PatchMemory
    first_key: int


def _bands(bank: Bank, extractor: FeatureExtractor, plan: Plan, query: Query) -> list[list[range]]:
    """Cut the rows of patches into bands of a tile's height, and those into slabs that a CPU's
    cache holds; one of all on a GPU, which has room, and for a search around a patch, which goes
    beyond a slab.
    """
    (rows, columns), tile_px = bank.config.grid, extractor.tile_px(plan.device)
    if tile_px is None or plan.device.type != "cpu" or query.reach > 0:
        return [[range(rows)]]
    a_band = max(tile_px * rows // bank.config.preprocessing.crop_px[0], 1)
    a_slab = max(_SLAB // columns, 1)
    return [list(_cut(band, a_slab)) for band in _cut(range(rows), a_band)]


def _cut(rows: range, at_most: int) -> Iterator[range]:
    """Cut rows into parts of nearly one length."""
    number = -(-len(rows) // at_most)
    cuts = [rows.start + len(rows) * i // number for i in range(number + 1)]
    return (range(*both) for both in itertools.pairwise(cuts))
