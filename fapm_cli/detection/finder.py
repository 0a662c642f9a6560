"""Finding: from an input's px to the nearest keys of all its places, in memory that has a limit.

A large input has many patches, and so has its bank. Both are gone through in bands of whole rows of
patches: the features of one band, and its keys laid out for search, are there at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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

KEPT_BYTES = 256 * 2**20  # of keys: a bank with more is laid out anew for each picture


class Finder:
    """A bank's memories and its backbone on a device."""

    def __init__(self, bank: Bank, extractor: FeatureExtractor, plan: Plan, query: Query):
        """Cut the bank into bands, and lay them out if they are small.

        Args:
            bank: any bank.
            extractor: its backbone, following the plan.
            plan: where and in which precision to work.
            query: how to search.
        """
        self._bank, self._extractor, self._plan, self._query = bank, extractor, plan, query
        self._bands = _bands(bank, extractor, plan, query)
        numbers = range(len(bank.memories))
        self._parts = [[_part(bank, rows, j) for j in numbers] for rows in self._bands]
        num_bytes = sum(memory.keys.nbytes for memory in bank.memories)
        self._laid_out: list[list[PatchMemory]] | None = None
        if len(self._bands) == 1 or num_bytes <= KEPT_BYTES:
            bands = range(len(self._bands))
            self._laid_out = [[self._lay_out(band, j) for j in numbers] for band in bands]

    def __call__(self, pixels: Tensor) -> Found:
        """Find the nearest keys of (B, H, W, 3) px: per memory, distances and key indices, both
        (B, h_j, w_j, k).
        """
        bands = [self._find(pixels, number) for number in range(len(self._bands))]
        if len(bands) == 1:
            return bands[0]
        by_memory = zip(*bands, strict=True)
        return [
            (torch.cat([d for d, _ in parts], dim=1), torch.cat([keys for _, keys in parts], dim=1))
            for parts in by_memory
        ]

    def _find(self, pixels: Tensor, number: int) -> Found:
        """The same of one band."""
        rows = self._bands[number]
        grid = len(rows), self._bank.config.grid[1]
        patch_px = pixels.shape[1] // self._bank.config.grid[0]
        features = self._extractor(pixels, slice(rows.start * patch_px, rows.stop * patch_px))
        found: Found = []
        while features:  # one by one: what was searched for is needed no more
            one = features.pop(0)
            j, size = len(found), (one.shape[2], one.shape[3])
            memory = self._laid_out[number][j] if self._laid_out else self._lay_out(number, j)
            k, reach = self._query.num_neighbors, self._query.reach
            both = search(to_patches(one, grid), memory, k, reach)
            distances, indices = (from_patches(values, grid, *size) for values in both)
            found.append((distances, indices + self._parts[number][j][1].start))
        return found

    def _lay_out(self, number: int, j: int) -> PatchMemory:
        """A memory's part of a band, laid out for search."""
        memory, (patches, keys) = self._bank.memories[j], self._parts[number][j]
        h, w = self._bank.map_sizes[j]
        metrics = memory.metrics
        return patch_memory(
            memory.keys[keys].to(self._plan.device),
            memory.key_counts[patches],
            (len(self._bands[number]), self._bank.config.grid[1]),
            self._plan.choosing_dtype,
            h * w // len(memory.key_counts) if self._query.reach == 0 else None,
            None if metrics is None else metrics[patches].to(self._plan.device),
        )


def _part(bank: Bank, rows: range, j: int) -> tuple[slice, slice]:
    """Which patches, and which keys, of a memory are those of some rows of the grid."""
    columns, counts = bank.config.grid[1], bank.memories[j].key_counts
    patches = slice(rows.start * columns, rows.stop * columns)
    first = int(counts[: patches.start].sum())
    return patches, slice(first, first + int(counts[patches].sum()))


def _bands(bank: Bank, extractor: FeatureExtractor, plan: Plan, query: Query) -> Sequence[range]:
    """Cut the rows of patches into bands of a tile's height; one of all on a GPU, which has room,
    and for a search around a patch, which goes beyond a band.
    """
    rows, tile_px = bank.config.grid[0], extractor.tile_px(plan.device)
    if tile_px is None or plan.device.type != "cpu" or query.reach > 0:
        return [range(rows)]
    at_a_time = max(tile_px * rows // bank.config.preprocessing.crop_px[0], 1)
    number = -(-rows // at_a_time)
    cuts = [rows * i // number for i in range(number + 1)]
    return [range(*both) for both in itertools.pairwise(cuts)]
