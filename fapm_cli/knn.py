"""Patch-local k nearest neighbours: a target vector meets the keys of its own patch only (§2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.grid import Grid, neighbor_offsets
from fapm_cli.products import KeyProducts, PlainProducts, key_products

MEMORY_BYTES = 24 * 2**20  # of products at a time; glibc maps, and clears, larger blocks anew
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

    def of_pages(self, chosen: Tensor) -> PatchMemory:
        """The memory with some of its pages only."""
        assert isinstance(self.choosing, PlainProducts), "laid out for a search without reach"
        return replace(
            self,
            patches=self.patches[chosen],
            numbers=self.numbers[chosen],
            first=self.first[chosen],
            end=self.end[chosen],
            centers=self.centers[chosen],
            choosing=self.choosing.of_pages(chosen),
        )


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
    nearest = distances_sq.topk(k, dim=-1, largest=False)
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
    shape = (len(queries), (2 * reach + 1) ** 2 * memory.most_pages, queries.shape[1], k)
    all_sq = queries.new_full(shape, torch.inf)
    all_indices = torch.zeros(shape, dtype=torch.int64, device=queries.device)
    for pages, patches, slots in _reaching(memory, reach):
        distances_sq, indices = _search_pages(
            queries[patches].flatten(1, 2), pages, min(k, memory.width), leave_out
        )
        where = (patches, slots, slice(None), slice(distances_sq.shape[2]))
        by_patch = (*patches.shape, queries.shape[1], -1)
        all_sq[where], all_indices[where] = distances_sq.view(by_patch), indices.view(by_patch)
    return _nearest_of(all_sq.transpose(1, 2).flatten(2), all_indices.transpose(1, 2).flatten(2), k)


def _reaching(memory: PatchMemory, reach: int) -> Iterator[tuple[PatchMemory, Tensor, Tensor]]:
    """Which patches search which pages.

    Yields:
        Pages that equally many patches search, n; (p, n) those patches; and (p, n) the place of
        the page among all that its patch may search.
    """
    if reach == 0:
        yield memory, memory.patches.unsqueeze(1), memory.numbers.unsqueeze(1)
        return
    device, (rows, columns) = memory.patches.device, memory.grid
    offsets = torch.tensor(neighbor_offsets(reach), device=device)
    row = (memory.patches // columns).unsqueeze(1) - offsets[:, 0]
    column = (memory.patches % columns).unsqueeze(1) - offsets[:, 1]
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    patches = row * columns + column
    slots = torch.arange(len(offsets), device=device) * memory.most_pages
    slots = slots + memory.numbers.unsqueeze(1)
    num_patches = inside.sum(dim=1)
    for n in sorted(set(num_patches.tolist())):
        alike = num_patches == n
        some = inside[alike]
        part = memory if bool(alike.all()) else memory.of_pages(alike)
        yield part, patches[alike][some].view(-1, n), slots[alike][some].view(-1, n)


def _search_pages(
    vectors: Tensor, pages: PatchMemory, k: int, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor]:
    """Squared distances to, and indices of, each page's nearest keys: both (p, Q, k).

    ``vectors`` (p, Q, C) are those of one patch or, one after another, of several.
    """
    if leave_out is not None:
        times = vectors.shape[1] // len(leave_out.query_groups)
        leave_out = replace(leave_out, query_groups=leave_out.query_groups.repeat(times))
    at_a_time = max(1, MEMORY_BYTES // (4 * max(len(pages.patches) * pages.width, 1)))
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
        distances_sq[_own_keys(pages, leave_out)] = torch.inf
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
    ranked = values.topk(k, dim=-1, largest=False)
    return ranked.values, ranked.indices


def _measure(vectors: Tensor, keys: Tensor, indices: Tensor) -> Tensor:
    """Squared distances (p, Q, c) to the keys of these indices, by differences."""
    # Whole rows by one index: several times as fast as indexing by page and key.
    chosen = keys.index_select(0, indices.flatten()).view(*indices.shape, keys.shape[1])
    distances: Tensor = torch.linalg.vector_norm(chosen.sub_(vectors.unsqueeze(2)), dim=3)
    return distances.square_()


def _own_keys(pages: PatchMemory, leave_out: LeaveOut) -> tuple[Tensor, Tensor, Tensor]:
    """Where in (p, Q, K) a key shows the query's own part.

    They are few: N of a bank's parts in N·N, so each is named and none looked for.

    Returns:
        Page, query and key of each such pair.
    """
    queries = leave_out.query_groups
    groups, order = queries.sort()
    width = torch.arange(pages.width, device=queries.device)
    numbers = (pages.first.view(-1, 1) + width).clamp(max=len(leave_out.key_groups) - 1)
    of_keys = leave_out.key_groups[numbers].flatten()
    first = torch.searchsorted(groups, of_keys)
    count = torch.searchsorted(groups, of_keys, right=True) - first
    pairs = torch.repeat_interleave(count)  # each key as many times as it has queries
    nth = torch.arange(len(pairs), device=queries.device) - (count.cumsum(0) - count)[pairs]
    page = pairs // pages.width
    return page, order[first[pairs] + nth], pairs % pages.width
