"""Patch-local k nearest neighbours: a target vector meets the keys of its own patch only (§2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.grid import Grid, neighbor_offsets

MEMORY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class KeyGroup:
    """Patches with about the same number of keys, side by side as one dense block.

    Attributes:
        patches: (p,) int64, which patches.
        keys: (p, K, C) keys less their patch's centre; short patches are padded.
        norms_sq: (p, 1, K) their squared norms; +inf in the padding.
        first: (p,) int64, index of each patch's first key among all keys.
    """

    patches: Tensor
    keys: Tensor
    norms_sq: Tensor
    first: Tensor


@dataclass(frozen=True)
class PatchMemory:
    """The memories m_i of one layer, laid out for search.

    Attributes:
        centers: (N_p, C) mean key of each patch. Distances don't change when keys and queries are
            both taken relative to it, and the expansion ‖q‖² + ‖v‖² - 2q·v then cancels less.
        groups: every patch stands in exactly one.
        grid: rows and columns of patches.
    """

    centers: Tensor
    groups: tuple[KeyGroup, ...]
    grid: Grid


def patch_memory(keys: Tensor, key_counts: Tensor, grid: Grid) -> PatchMemory:
    """Lay a ragged memory out for search.

    Patches of equal count need no padding at all, and there are few counts (K and 2K); where
    there are many, counts are rounded up to a power of √2.

    Args:
        keys: (ΣK_i, C) keys, patch after patch.
        key_counts: (N_p,) int64, K_i, each at least 1.
        grid: rows and columns of patches.
    """
    counts = key_counts.tolist()
    ends = key_counts.cumsum(0)
    centers = torch.stack([part.mean(dim=0) for part in torch.split(keys, counts)])
    widths = {count: count for count in set(counts)}
    if len(widths) > 4:
        steps = sorted({max(counts), *(int(2 ** (i / 2)) for i in range(2, 60))})
        widths = {c: next(s for s in steps if s >= c) for c in widths}
    groups = []
    for width in sorted(set(widths.values())):
        patches = [i for i, count in enumerate(counts) if widths[count] == width]
        block = keys.new_zeros(len(patches), min(width, max(counts)), keys.shape[1])
        norms_sq = keys.new_full((len(patches), 1, block.shape[1]), torch.inf)
        for row, i in enumerate(patches):
            first = int(ends[i]) - counts[i]
            block[row, : counts[i]] = keys[first : first + counts[i]] - centers[i]
            norms_sq[row, 0, : counts[i]] = block[row, : counts[i]].square().sum(dim=1)
        which = torch.tensor(patches, device=keys.device)
        groups.append(KeyGroup(which, block, norms_sq, (ends - key_counts).to(keys.device)[which]))
    return PatchMemory(centers, tuple(groups), grid)


def search(
    queries: Tensor, memory: PatchMemory, num_neighbors: int, reach: int = 0
) -> tuple[Tensor, Tensor]:
    """Find each target vector's nearest keys.

    Args:
        queries: (N_p, Q, C) target vectors, the memory's N_p, C and dtype.
        memory: the patch memories of their layer.
        num_neighbors: k.
        reach: 0 searches the vector's own patch; 1 also the 8 around it, and so on.

    Returns:
        (N_p, Q, k) float32 Euclidean distances, nearest first, and (N_p, Q, k) int64 indices among
        all keys. Where a patch has fewer than k keys, the rest is +inf and of no key.
    """
    found_sq, found = [], []
    for offset in neighbor_offsets(reach):
        nearest_sq = queries.new_full((*queries.shape[:2], num_neighbors), torch.inf)
        nearest = torch.zeros_like(nearest_sq, dtype=torch.int64)
        for group in memory.groups:
            searching, searched = _reaching(group.patches, offset, memory.grid)
            if len(searching):
                values, indices = _search_group(
                    queries[searching], memory.centers, group, searched, num_neighbors
                )
                nearest_sq[searching, :, : values.shape[2]] = values
                nearest[searching, :, : values.shape[2]] = indices
        found_sq.append(nearest_sq)
        found.append(nearest)
    best_sq, best = found_sq[0], found[0]
    if reach > 0:
        best_sq, order = torch.cat(found_sq, 2).topk(num_neighbors, dim=2, largest=False)
        best = torch.cat(found, 2).gather(2, order)
    return best_sq.clamp(min=0).sqrt(), best


def _search_group(
    queries: Tensor, centers: Tensor, group: KeyGroup, searched: Tensor, num_neighbors: int
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, the nearest keys in the group's ``searched`` rows."""
    keys, norms_sq, first = group.keys[searched], group.norms_sq[searched], group.first[searched]
    centered = queries - centers[group.patches[searched]].unsqueeze(1)
    k = min(num_neighbors, keys.shape[1])
    at_a_time = max(1, MEMORY_BYTES // (4 * keys.shape[0] * keys.shape[1]))
    parts = [
        torch.baddbmm(norms_sq, part, keys.mT, alpha=-2).topk(k, dim=2, largest=False)
        for part in torch.split(centered, at_a_time, dim=1)
    ]
    values = torch.cat([part.values for part in parts], dim=1)
    indices = torch.cat([part.indices for part in parts], dim=1)
    return values + centered.square().sum(dim=2, keepdim=True), indices + first.view(-1, 1, 1)


def _reaching(patches: Tensor, offset: tuple[int, int], grid: Grid) -> tuple[Tensor, Tensor]:
    """Which patches search the memories of ``patches`` at that offset, and which rows those are."""
    row = patches // grid[1] - offset[0]
    column = patches % grid[1] - offset[1]
    inside = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
    searched = inside.nonzero().squeeze(1)
    return (row * grid[1] + column)[searched], searched
