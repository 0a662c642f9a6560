"""Patch-local k nearest neighbours: a target vector meets the keys of its own patch only (§2.3)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.memory.patch_memory import LeaveOut, PatchMemory, own_keys

# Of products at a time. On a CPU, glibc maps, and clears, larger blocks anew; on a GPU few large
# steps are faster than many.
MEMORY_BYTES = {"cpu": 24 * 2**20, "cuda": 256 * 2**20}
_SPARE = 1  # candidates beyond k: a near tie may be ranked wrongly in low precision


def search(
    queries: Tensor,
    memory: PatchMemory,
    num_neighbors: int,
    reach: int = 0,
    leave_out: LeaveOut | None = None,
) -> tuple[Tensor, Tensor]:
    """Find each target vector's nearest keys.

    Args:
        queries: (N_p, Q, C) float32 target vectors, N_p and C the memory's.
        memory: the patch memories of their layer.
        num_neighbors: k.
        reach: 0 searches the vector's own patch; 1 also the 8 around it, and so on.
        leave_out: keys that don't count.

    Returns:
        (N_p, Q, k) float32 Euclidean distances, nearest first, and (N_p, Q, k) int64 indices among
        all keys. Where there are fewer than k keys, the farthest stands for the rest; where there
        is none, the distance is +inf.
    """
    k = num_neighbors
    if reach == 0 and memory.most_pages == 1 and memory.width >= k:  # the common case: no merging
        distances_sq, indices = _search_pages(queries, memory, k, leave_out)
    else:
        distances_sq, indices = _search_around(queries, memory, k, reach, leave_out)
    if leave_out is not None or memory.fewest < k:
        missing = distances_sq == torch.inf
        farthest = distances_sq.masked_fill(missing, -torch.inf).amax(dim=2, keepdim=True)
        distances_sq = torch.where(missing & (farthest > -torch.inf), farthest, distances_sq)
    return distances_sq.clamp(min=0).sqrt_(), indices


def _nearest_of(distances_sq: Tensor, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of (..., n) keys."""
    nearest = distances_sq.topk(k, largest=False)
    return nearest.values, indices.gather(-1, nearest.indices)


def _search_around(
    queries: Tensor, memory: PatchMemory, k: int, reach: int, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, the nearest keys on all pages in reach of a patch.

    Each page is asked once, for the vectors of all patches that reach it: its keys are read once,
    and one large product is faster than several small ones.

    Returns:
        Both (N_p, Q, k); distances are +inf where there are fewer keys.
    """
    reaching, num_queries = memory.reaching(reach), queries.shape[1]
    of_pairs, of_indices = [], []
    for pages, patches in reaching.parts:
        asking = queries.index_select(0, patches.flatten()).view(len(patches), -1, queries.shape[2])
        both = _search_pages(asking, pages, min(k, memory.width), leave_out)
        distances_sq, indices = (one.reshape(patches.numel(), num_queries, -1) for one in both)
        missing = (0, k - distances_sq.shape[2])
        of_pairs.append(F.pad(distances_sq, missing, value=torch.inf))
        of_indices.append(F.pad(indices, missing))
    none = of_pairs[0].new_full((1, num_queries, k), torch.inf)
    shape = (*reaching.places.shape, num_queries, k)
    all_sq, all_indices = (
        torch.cat([*parts, last]).index_select(0, reaching.places.flatten()).view(shape)
        for parts, last in ((of_pairs, none), (of_indices, torch.zeros_like(none).long()))
    )
    return _nearest_of(all_sq.transpose(1, 2).flatten(2), all_indices.transpose(1, 2).flatten(2), k)


def _search_pages(
    vectors: Tensor, pages: PatchMemory, k: int, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, each page's nearest keys: both (p, Q, k).

    ``vectors`` (p, Q, C) are those of one patch or, one after another, of several.
    """
    if pages.metrics is not None:
        vectors = torch.bmm(vectors, pages.metrics)
    if leave_out is not None:
        times = vectors.shape[1] // len(leave_out.query_groups)
        leave_out = replace(leave_out, query_groups=leave_out.query_groups.repeat(times))
    at_a_time = max(
        1, MEMORY_BYTES[vectors.device.type] // (4 * max(len(pages.patches) * pages.width, 1))
    )
    if vectors.shape[1] <= at_a_time:
        return _search_part(vectors, pages, k, leave_out)
    parts = []
    for start in range(0, vectors.shape[1], at_a_time):
        part = slice(start, start + at_a_time)
        rest = leave_out
        if leave_out is not None:
            rest = replace(leave_out, query_groups=leave_out.query_groups[part])
        parts.append(_search_part(vectors[:, part], pages, k, rest))
    distances_sq, indices = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
    return distances_sq, indices


def _search_part(
    vectors: Tensor, pages: PatchMemory, k: int, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor]:
    """As :func:`_search_pages`."""
    centered = vectors - pages.centers
    distances_sq = pages.choosing(centered)
    if leave_out is not None:
        distances_sq[own_keys(pages, leave_out)] = torch.inf
    exact = pages.choosing.exact
    chosen, places = _smallest(distances_sq, k if exact else min(k + _SPARE, pages.width))
    indices = places + pages.first
    there = indices.clamp(max=len(pages.keys) - 1) if pages.padded else indices
    if exact:
        norms = torch.linalg.vector_norm(centered, dim=2, keepdim=True)
        return chosen + norms.square_(), there
    measured = _measure(vectors, pages.keys, there)
    # What doesn't count is told by its place: in half precision what does may be infinite, too.
    if pages.padded:
        measured.masked_fill_(indices >= pages.end, torch.inf)
    if leave_out is not None:
        own = leave_out.key_groups[there] == leave_out.query_groups.view(1, -1, 1)
        measured.masked_fill_(own, torch.inf)
    return _nearest_of(measured, there, k)


def _smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of (..., n) values, smallest first, and where they are."""
    if k == 1:  # needs no ranking
        smallest = values.min(dim=-1, keepdim=True)
        return smallest.values, smallest.indices
    ranked = values.topk(k, largest=False)
    return ranked.values, ranked.indices


def _measure(vectors: Tensor, keys: Tensor, indices: Tensor) -> Tensor:
    """Squared distances (p, Q, c) to the keys of these indices, by differences."""
    # Whole rows by one index: several times as fast as indexing by page and key.
    chosen = keys.index_select(0, indices.flatten()).view(*indices.shape, keys.shape[1])
    distances: Tensor = torch.linalg.vector_norm(chosen.sub_(vectors.unsqueeze(2)), dim=3)
    return distances.square_()
