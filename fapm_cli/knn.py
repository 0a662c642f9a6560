"""Patch-local k nearest neighbours: a target vector meets the keys of its own patch only (§2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.grid import Grid, neighbor_offsets
from fapm_cli.products import KeyProducts, PlainProducts, key_products

MEMORY_BYTES = 256 * 2**20
_SPARE = 1  # candidates beyond k: a near tie may be ranked wrongly in low precision


@dataclass(frozen=True)
class KeyGroup:
    """Patches with about the same number of keys, side by side as one dense block.

    Attributes:
        patches: (p,) int64, which patches.
        keys: (p, K, C) keys less their patch's centre; short patches are padded.
        norms_sq: (p, 1, K) their squared norms; +inf in the padding.
        first: (p,) int64, index of each patch's first key among all keys.
        choosing: the keys once more, for the products that choose the nearest ones.
    """

    patches: Tensor
    keys: Tensor
    norms_sq: Tensor
    first: Tensor
    choosing: KeyProducts


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


def patch_memory(
    keys: Tensor,
    key_counts: Tensor,
    grid: Grid,
    dtype: torch.dtype = torch.float32,
    num_queries: int | None = None,
) -> PatchMemory:
    """Lay a ragged memory out for search.

    Patches of equal count need no padding at all, and there are few counts (K and 2K); where
    there are many, counts are rounded up to a power of √2.

    Args:
        keys: (ΣK_i, C) keys, patch after patch.
        key_counts: (N_p,) int64, K_i, each at least 1.
        grid: rows and columns of patches.
        dtype: in which the nearest keys are chosen; their distances are float32 all the same.
        num_queries: Q that a search will mostly have, and then no ``reach``: lay the keys out for
            that where it is faster. None for any search.
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
        offsets = (ends - key_counts).to(keys.device)[which]
        choosing = key_products(block, norms_sq, dtype, num_queries)
        groups.append(KeyGroup(which, block, norms_sq, offsets, choosing))
    return PatchMemory(centers, tuple(groups), grid)


@dataclass(frozen=True)
class LeaveOut:
    """Which keys a query must not meet: those of its own picture.

    Attributes:
        query_pictures: (Q,) int64, each query's picture.
        key_pictures: (ΣK_i,) int64, each key's.
    """

    query_pictures: Tensor
    key_pictures: Tensor


def search(
    queries: Tensor,
    memory: PatchMemory,
    num_neighbors: int,
    reach: int = 0,
    leave_out: LeaveOut | None = None,
) -> tuple[Tensor, Tensor]:
    """Find each target vector's nearest keys.

    Args:
        queries: (N_p, Q, C) target vectors, the memory's N_p, C and dtype.
        memory: the patch memories of their layer.
        num_neighbors: k.
        reach: 0 searches the vector's own patch; 1 also the 8 around it, and so on.
        leave_out: keys that don't count.

    Returns:
        (N_p, Q, k) float32 Euclidean distances, nearest first, and (N_p, Q, k) int64 indices among
        all keys. Where there are fewer than k keys, the farthest stands for the rest; where there
        is none, the distance is +inf.
    """
    found_sq, found = [], []
    for offset in neighbor_offsets(reach):
        nearest_sq = queries.new_full((*queries.shape[:2], num_neighbors), torch.inf)
        nearest = torch.zeros_like(nearest_sq, dtype=torch.int64)
        for whole in memory.groups:
            searching, group = _reaching(whole, offset, memory.grid)
            # Indexing copies: leave it out where one group is all there is, the common case.
            all_of_them = len(searching) == len(queries)
            vectors = queries if all_of_them else queries[searching]
            centered = vectors - memory.centers[group.patches].unsqueeze(1)
            values, indices = _search_group(centered, group, num_neighbors, leave_out)
            nearest_sq[searching, :, : values.shape[2]] = values
            nearest[searching, :, : values.shape[2]] = indices
        found_sq.append(nearest_sq)
        found.append(nearest)
    best_sq, best = found_sq[0], found[0]
    if reach > 0:
        best_sq, order = torch.cat(found_sq, 2).topk(num_neighbors, dim=2, largest=False)
        best = torch.cat(found, 2).gather(2, order)
    missing = best_sq == torch.inf
    farthest = best_sq.masked_fill(missing, -torch.inf).amax(dim=2, keepdim=True)
    best_sq = torch.where(missing & (farthest > -torch.inf), farthest, best_sq)
    return best_sq.clamp(min=0).sqrt(), best


def _search_group(
    centered: Tensor, group: KeyGroup, num_neighbors: int, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, the nearest keys: both (p, Q, k), k at most K."""
    k = min(num_neighbors, group.keys.shape[1])
    at_a_time = max(1, MEMORY_BYTES // (4 * max(group.norms_sq.numel(), 1)))
    values, indices = [], []
    for start in range(0, centered.shape[1], at_a_time):
        part = centered[:, start : start + at_a_time]
        distances_sq = group.choosing(part)
        if leave_out is not None:
            distances_sq.masked_fill_(_own_keys(group, leave_out, start, at_a_time), torch.inf)
        if group.choosing.exact:
            found = distances_sq.topk(k, dim=2, largest=False)
            values.append(found.values + part.square().sum(dim=2, keepdim=True))
            indices.append(found.indices)
        else:
            candidates = min(k + _SPARE, distances_sq.shape[2])
            chosen = distances_sq.topk(candidates, dim=2, largest=False, sorted=False).indices
            measured = _measure(part, group, chosen).topk(k, dim=2, largest=False)
            values.append(measured.values)
            indices.append(chosen.gather(2, measured.indices))
    return torch.cat(values, dim=1), torch.cat(indices, dim=1) + group.first.view(-1, 1, 1)


def _measure(part: Tensor, group: KeyGroup, chosen: Tensor) -> Tensor:
    """Squared float32 distances to the chosen keys, by differences: (p, Q, c)."""
    num_patches, width, channels = group.keys.shape
    rows = chosen + width * torch.arange(num_patches, device=chosen.device).view(-1, 1, 1)
    # Whole rows by one index: several times as fast as indexing by patch and key.
    keys = group.keys.view(-1, channels).index_select(0, rows.view(-1))
    differences = keys.view(*chosen.shape, channels).sub_(part.unsqueeze(2))
    distances_sq: Tensor = torch.linalg.vector_norm(differences, dim=3).square_()
    padding = group.norms_sq.view(-1)[rows] == torch.inf
    return distances_sq.masked_fill_(padding, torch.inf)


def _own_keys(group: KeyGroup, leave_out: LeaveOut, start: int, at_a_time: int) -> Tensor:
    """(p, Q, K) which keys come from the query's own picture."""
    width = torch.arange(group.keys.shape[1], device=group.first.device)
    number = (group.first.unsqueeze(1) + width).clamp(max=len(leave_out.key_pictures) - 1)
    own = leave_out.query_pictures[start : start + at_a_time].view(1, -1, 1)
    return leave_out.key_pictures[number].unsqueeze(1) == own


def _reaching(group: KeyGroup, offset: tuple[int, int], grid: Grid) -> tuple[Tensor, KeyGroup]:
    """Which patches search the group's memories at that offset, and the part that is searched."""
    if offset == (0, 0):
        return group.patches, group
    row = group.patches // grid[1] - offset[0]
    column = group.patches % grid[1] - offset[1]
    inside = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
    assert isinstance(group.choosing, PlainProducts), "laid out for a search without reach"
    part = KeyGroup(
        group.patches[inside],
        group.keys[inside],
        group.norms_sq[inside],
        group.first[inside],
        group.choosing.of_patches(inside),
    )
    return (row * grid[1] + column)[inside], part
