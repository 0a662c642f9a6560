"""Patch-local k nearest neighbours: a target vector meets the keys of its own patch only (§2.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.grid import Grid, neighbor_offsets
from fapm_cli.products import KeyProducts, PlainProducts, key_products

MEMORY_BYTES = 256 * 2**20
PAGE_COST = 256  # keys that take as long as a page does for itself: its candidates are measured
_SPARE = 1  # candidates beyond k: a near tie may be ranked wrongly in low precision


@dataclass(frozen=True)
class PatchMemory:
    """The memories m_i of one layer, laid out for search.

    Keys lie on p pages of one size, so that one product serves all patches and widened ones don't
    make the others pay: a patch with more keys than a page holds has several.

    Attributes:
        grid: rows and columns of patches.
        keys: (ΣK_i, C) float32 keys, patch after patch.
        fewest: the smallest K_i.
        patches: (p,) int64, each page's patch.
        numbers: (p,) int64, which of its patch's pages it is, from 0.
        first: (p, 1, 1) int64, index of each page's first key among all keys.
        end: (p, 1, 1) int64, one past the index of its last.
        centers: (p, 1, C) mean key of each page's patch. Distances don't change when keys and
            queries are both taken relative to it, and ‖q‖² + ‖v‖² - 2q·v then cancels less.
        width: K, keys on a page.
        most_pages: of a patch.
        padded: whether pages have places without a key.
        choosing: products with each page's keys, which tell the nearest.
    """

    grid: Grid
    keys: Tensor
    fewest: int
    patches: Tensor
    numbers: Tensor
    first: Tensor
    end: Tensor
    centers: Tensor
    width: int
    most_pages: int
    padded: bool
    choosing: KeyProducts


def patch_memory(
    keys: Tensor,
    key_counts: Tensor,
    grid: Grid,
    dtype: torch.dtype = torch.float32,
    num_queries: int | None = None,
) -> PatchMemory:
    """Lay a ragged memory out for search.

    Args:
        keys: (ΣK_i, C) float32 keys, patch after patch.
        key_counts: (N_p,) int64, K_i, each at least 1.
        grid: rows and columns of patches.
        dtype: in which the nearest keys are chosen; their distances are float32 all the same.
        num_queries: Q that a search will mostly have, and then no ``reach``: lay the keys out for
            that where it is faster. None for any search.
    """
    key_counts = key_counts.cpu()
    parts = torch.split(keys, key_counts.tolist())
    means = torch.stack([part.mean(dim=0) for part in parts])
    width = _page_width(key_counts)
    num_pages = -(-key_counts // width)
    patches = torch.repeat_interleave(torch.arange(len(num_pages)), num_pages)
    numbers = torch.arange(len(patches)) - (num_pages.cumsum(0) - num_pages)[patches]
    ends = key_counts.cumsum(0)
    first = (ends - key_counts)[patches] + width * numbers
    places = (first.unsqueeze(1) + torch.arange(width)).to(keys.device)
    ends = ends[patches].to(keys.device)
    there = places < ends.unsqueeze(1)
    patches = patches.to(keys.device)
    centers = means[patches].unsqueeze(1)
    block = keys[places.clamp_(max=len(keys) - 1)].sub_(centers)
    block.masked_fill_(~there.unsqueeze(2), 0)
    norms_sq = block.square().sum(dim=2).masked_fill_(~there, torch.inf).unsqueeze(1)
    return PatchMemory(
        grid=grid,
        keys=keys,
        fewest=int(key_counts.min()),
        patches=patches,
        numbers=numbers.to(keys.device),
        first=first.to(keys.device).view(-1, 1, 1),
        end=ends.view(-1, 1, 1),
        centers=centers,
        width=width,
        most_pages=int(num_pages.max()),
        padded=len(keys) < places.numel(),
        choosing=key_products(block, norms_sq, dtype, num_queries),
    )


def _page_width(key_counts: Tensor) -> int:
    """Keys on a page: as many as make pages, and the padding on them, cost least."""
    widths = torch.arange(1, int(key_counts.max()) + 1)
    num_pages = -(-key_counts // widths.unsqueeze(1)).sum(dim=1)
    return int(widths[(num_pages * (widths + PAGE_COST)).argmin()])


@dataclass(frozen=True)
class LeaveOut:
    """Which keys a query must not meet: those of its own part, whichever shot they are from.

    Attributes:
        query_groups: (Q,) int64, the part that each query shows.
        key_groups: (ΣK_i,) int64, that each key shows.
    """

    query_groups: Tensor
    key_groups: Tensor


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
    offsets = neighbor_offsets(reach)
    found = [_search_at(offset, queries, memory, k, leave_out) for offset in offsets]
    distances_sq, indices = found[0]
    if len(found) > 1:
        distances_sq, indices = (torch.cat(both, dim=2) for both in zip(*found, strict=True))
        distances_sq, indices = _nearest_of(distances_sq, indices, k)
    if leave_out is not None or memory.fewest < k:
        missing = distances_sq == torch.inf
        farthest = distances_sq.masked_fill(missing, -torch.inf).amax(dim=2, keepdim=True)
        distances_sq = torch.where(missing & (farthest > -torch.inf), farthest, distances_sq)
    return distances_sq.clamp(min=0).sqrt_(), indices


def _nearest_of(distances_sq: Tensor, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of (..., n) keys."""
    nearest = distances_sq.topk(k, dim=-1, largest=False)
    return nearest.values, indices.gather(-1, nearest.indices)


def _search_at(
    offset: tuple[int, int],
    queries: Tensor,
    memory: PatchMemory,
    k: int,
    leave_out: LeaveOut | None,
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, the nearest keys of the patches at that offset.

    Returns:
        Both (N_p, Q, k); distances are +inf where there are fewer keys, or no patch.
    """
    searching, pages = _reaching(memory, offset)
    # Indexing copies: leave it out where every patch has its page, the common case.
    one_each = len(searching) == len(queries) and memory.most_pages == 1
    vectors = queries if one_each else queries[searching]
    distances_sq, indices = _search_pages(vectors, pages, min(k, memory.width), leave_out)
    if one_each and memory.width >= k:
        return distances_sq, indices
    shape = (len(queries), memory.most_pages, queries.shape[1], k)
    all_sq = distances_sq.new_full(shape, torch.inf)
    all_indices = torch.zeros(shape, dtype=torch.int64, device=queries.device)
    where = (searching, pages.numbers, slice(None), slice(distances_sq.shape[2]))
    all_sq[where], all_indices[where] = distances_sq, indices
    return _nearest_of(all_sq.transpose(1, 2).flatten(2), all_indices.transpose(1, 2).flatten(2), k)


def _reaching(memory: PatchMemory, offset: tuple[int, int]) -> tuple[Tensor, PatchMemory]:
    """Which patches search the pages at that offset, and the pages that are searched."""
    if offset == (0, 0):
        return memory.patches, memory
    grid = memory.grid
    row = memory.patches // grid[1] - offset[0]
    column = memory.patches % grid[1] - offset[1]
    inside = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
    assert isinstance(memory.choosing, PlainProducts), "laid out for a search without reach"
    part = replace(
        memory,
        patches=memory.patches[inside],
        numbers=memory.numbers[inside],
        first=memory.first[inside],
        end=memory.end[inside],
        centers=memory.centers[inside],
        choosing=memory.choosing.of_pages(inside),
    )
    return (row * grid[1] + column)[inside], part


def _search_pages(
    vectors: Tensor, pages: PatchMemory, k: int, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, each page's nearest keys: both (p, Q, k)."""
    at_a_time = max(1, MEMORY_BYTES // (4 * max(len(pages.patches) * pages.width, 1)))
    if vectors.shape[1] <= at_a_time:
        own = None if leave_out is None else _own_keys(pages, leave_out, slice(None))
        return _search_part(vectors, pages, k, own)
    parts = []
    for start in range(0, vectors.shape[1], at_a_time):
        part = slice(start, start + at_a_time)
        own = None if leave_out is None else _own_keys(pages, leave_out, part)
        parts.append(_search_part(vectors[:, part], pages, k, own))
    distances_sq, indices = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
    return distances_sq, indices


def _search_part(
    vectors: Tensor, pages: PatchMemory, k: int, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As :func:`_search_pages`; ``own`` (p, Q, K) are keys that don't count."""
    centered = vectors - pages.centers
    distances_sq = pages.choosing(centered)
    if own is not None:
        distances_sq.masked_fill_(own, torch.inf)
    exact = pages.choosing.exact
    candidates = k if exact else min(k + _SPARE, pages.width)
    chosen = distances_sq.topk(candidates, dim=2, largest=False, sorted=exact)
    indices = chosen.indices + pages.first
    there = indices.clamp(max=len(pages.keys) - 1) if pages.padded else indices
    if exact:
        return chosen.values + centered.square().sum(dim=2, keepdim=True), there
    measured = _measure(vectors, pages.keys, there)
    # What doesn't count is told by its place: in half precision what does may be infinite, too.
    if pages.padded:
        measured.masked_fill_(indices >= pages.end, torch.inf)
    if own is not None:
        measured.masked_fill_(own.gather(2, chosen.indices), torch.inf)
    return _nearest_of(measured, there, k)


def _measure(vectors: Tensor, keys: Tensor, indices: Tensor) -> Tensor:
    """Squared distances (p, Q, c) to the keys of these indices, by differences."""
    # Whole rows by one index: several times as fast as indexing by page and key.
    chosen = keys.index_select(0, indices.flatten()).view(*indices.shape, keys.shape[1])
    distances: Tensor = torch.linalg.vector_norm(chosen.sub_(vectors.unsqueeze(2)), dim=3)
    return distances.square_()


def _own_keys(pages: PatchMemory, leave_out: LeaveOut, part: slice) -> Tensor:
    """(p, Q, K) which keys show the query's own part."""
    width = torch.arange(pages.width, device=pages.first.device)
    number = (pages.first.view(-1, 1) + width).clamp(max=len(leave_out.key_groups) - 1)
    own = leave_out.query_groups[part].view(1, -1, 1)
    return leave_out.key_groups[number].unsqueeze(1) == own
