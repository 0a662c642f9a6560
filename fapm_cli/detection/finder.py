"""Finding: from an input's px to the nearest keys of all its places, in memory that has a limit.

A large input has many patches, and so has its bank. Both are gone through in bands of whole rows of
patches, of which the features are there at a time, and those in slabs that are searched together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

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


class Finder(nn.Module):
    """A bank's memories and its backbone on a device.

    Attributes:
        extractor: the backbone.
        bands: each the slabs that it is cut into, those the rows of patches.
    """

    def __init__(
        self,
        bank: Bank,
        extractor: FeatureExtractor,
        plan: Plan | None = None,
        query: Query | None = None,
    ):
        """Cut the bank into bands, and lay them out if that is not too much to keep.

        Args:
            bank: any bank.
            extractor: its backbone, following the plan.
            plan: where and in which precision to work; None for float32 where the extractor lies.
            query: how to search; None for the bank's own way.
        """
        super().__init__()
        self.extractor = extractor
        self._query = query or bank.config.query
        self._bank, self._device = bank, extractor.mean.device
        self._dtype = torch.float32 if plan is None else plan.dtype
        self._any_number = plan is None or self._query.reach > 0
        self.bands = _bands(bank, extractor, self._any_number)
        self._first_keys = {rows: _first_keys(bank, rows) for band in self.bands for rows in band}
        num_keys = sum(memory.keys.numel() for memory in bank.memories)
        kept = len(self._first_keys) == 1 or num_keys * self._dtype.itemsize <= KEPT_BYTES
        laid_out = [self._lay_out(rows) for rows in self._first_keys] if kept else []
        self._kept = nn.ModuleList(nn.ModuleList(memories) for memories in laid_out)

    def forward(self, pixels: Tensor) -> Found:
        """Find the nearest keys of (B, H, W, 3) px: per memory, distances and key indices, both
        (B, h_j, w_j, k).
        """
        slabs = [
            found for band in self.bands for found in self.search(self.extract(pixels, band), band)
        ]
        if len(slabs) == 1:
            return slabs[0]
        by_memory = zip(*slabs, strict=True)
        return [
            (torch.cat([d for d, _ in parts], dim=1), torch.cat([keys for _, keys in parts], dim=1))
            for parts in by_memory
        ]

    def extract(self, pixels: Tensor, band: Sequence[range]) -> list[Tensor]:
        """The maps (B, C_j, h, w_j) of a band of (B, H, W, 3) px."""
        patch_px = pixels.shape[1] // self._bank.config.grid[0]
        rows = slice(band[0].start * patch_px, band[-1].stop * patch_px)
        features: list[Tensor] = self.extractor(pixels, rows)
        return features

    def search(self, features: Sequence[Tensor], band: Sequence[range]) -> Iterator[Found]:
        """Search for what :meth:`extract` gave of a band, slab by slab."""
        first, end = band[0].start, band[-1].stop
        for rows in band:
            found = []
            for whole, memory, first_key in zip(
                features, self._memories(rows), self._first_keys[rows], strict=True
            ):
                cells = whole.shape[2] // (end - first)
                part = whole[:, :, (rows.start - first) * cells : (rows.stop - first) * cells]
                distances, keys = self._search(part, rows, memory)
                found.append((distances, keys + first_key))
            yield found

    def _search(self, part: Tensor, rows: range, memory: PatchMemory) -> tuple[Tensor, Tensor]:
        """The nearest keys of the part of a map that some rows of patches are."""
        grid, size = (len(rows), self._bank.config.grid[1]), (part.shape[2], part.shape[3])
        k, reach = self._query.num_neighbors, self._query.reach
        distances, keys = search(to_patches(part, grid), memory, k, reach)
        return from_patches(distances, grid, *size), from_patches(keys, grid, *size)

    def _memories(self, rows: range) -> Iterator[PatchMemory]:
        """Each memory's part of some rows of patches."""
        if not len(self._kept):
            yield from self._lay_out(rows)
            return
        kept = self._kept[list(self._first_keys).index(rows)]
        assert isinstance(kept, nn.ModuleList)
        for memory in kept:
            assert isinstance(memory, PatchMemory)
            yield memory

    def _lay_out(self, rows: range) -> Iterator[PatchMemory]:
        """The same, laid out for search."""
        columns = self._bank.config.grid[1]
        patches = slice(rows.start * columns, rows.stop * columns)
        for memory, first in zip(self._bank.memories, self._first_keys[rows], strict=True):
            counts, metrics = memory.key_counts, memory.metrics
            yield patch_memory(
                memory.keys[first : first + int(counts[patches].sum())].to(self._device),
                counts[patches],
                (len(rows), columns),
                self._dtype,
                None if metrics is None else metrics[patches].to(self._device),
            )


def _first_keys(bank: Bank, rows: range) -> list[int]:
    """Of each memory, the number of the first key of some rows of patches."""
    patches = rows.start * bank.config.grid[1]
    return [int(memory.key_counts[:patches].sum()) for memory in bank.memories]


def _bands(bank: Bank, extractor: FeatureExtractor, any_number: bool) -> list[list[range]]:
    """Cut the rows of patches into bands of a tile's height, and those into slabs that a CPU's
    cache holds; one of all on a GPU, which has room, and for a search of any number of vectors: one
    around a patch goes beyond a slab. Bands begin where tiles may.
    """
    rows, columns = bank.config.grid
    device = extractor.mean.device
    tile_px = extractor.tile_px(device)
    if tile_px is None or device.type != "cpu" or any_number:
        return [[range(rows)]]
    patch_px = bank.config.preprocessing.crop_px[0] // rows
    if patch_px % extractor.unit_px:
        return [[range(rows)]]
    a_band = max(tile_px // patch_px, 1)
    a_slab = max(_SLAB // columns, 1)
    return [list(_cut(band, a_slab)) for band in _cut(range(rows), a_band)]


def _cut(rows: range, at_most: int) -> Iterator[range]:
    """Cut rows into parts of nearly one length."""
    number = -(-len(rows) // at_most)
    cuts = [rows.start + len(rows) * i // number for i in range(number + 1)]
    return (range(*both) for both in itertools.pairwise(cuts))
