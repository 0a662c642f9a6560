"""Patch memories (§2.1): those of a layer, laid out on pages for search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fapm_cli.memory.grid import Grid
from fapm_cli.memory.key_products import KeyProducts
from fapm_cli.memory.metric import map_keys
from fapm_cli.memory.pages import Pages


class PatchMemory(nn.Module):
    """The memories m_i of one layer, laid out for search.

    Attributes:
        grid: rows and columns of patches.
        layout: of all p pages of the layer.
        keys: (ΣK_i, C) float32 keys, patch after patch; with metrics (ΣK_i, D), mapped.
        fewest: the smallest K_i.
        patches: (p,) int64, each page's patch.
        first: (p, 1, 1) int64, index of each page's first key among all keys.
        end: (p, 1, 1) int64, one past the index of its last.
        centers: (p, 1, C) mean key of each page's patch. Distances don't change when keys and
            queries are both taken relative to it, and ‖q‖² + ‖v‖² - 2q·v then cancels less.
        width: K, keys on a page.
        most_pages: of a patch.
        padded: whether pages have places without a key.
        choosing: products with each page's keys, which tell the nearest.
        metrics: (p, C, D) float32, what maps queries to where each page's keys lie; None where
            they lie as they are.
    """

    keys: Tensor
    patches: Tensor
    first: Tensor
    end: Tensor
    centers: Tensor
    metrics: Tensor | None

    def __init__(
        self,
        grid: Grid,
        keys: Tensor,
        layout: Pages,
        fewest: int,
        padded: bool,
        choosing: KeyProducts,
        **pages: Tensor | None,
    ):
        """Take all of it, as above; ``pages`` is what each page has of its own."""
        super().__init__()
        self.grid = grid
        self.layout, self.fewest, self.padded = layout, fewest, padded
        self.width, self.most_pages = layout.width, layout.most
        self.choosing = choosing
        self.register_buffer("keys", keys)
        self._of_pages = [*pages]
        self._reaching: dict[int, Reaching] = {}
        for name, value in pages.items():
            self.register_buffer(name, value)

    def reaching(self, reach: int) -> Reaching:
        """Which patches search which pages, found once for each ``reach``, of
        :func:`fapm_cli.memory.search.search`.
        """
        if reach not in self._reaching:
            self._reaching[reach] = self._find_reaching(reach)
        return self._reaching[reach]

    def _find_reaching(self, reach: int) -> Reaching:
        found, device, parts = self.layout.reaching(self.grid, reach), self.patches.device, []
        for pages, patches in found.parts:
            part = self
            if len(pages) < len(self.patches):
                part = self.of_pages(torch.from_numpy(pages).to(device))
            parts.append((part, torch.from_numpy(patches).to(device)))
        return Reaching(parts, torch.from_numpy(found.places).to(device))

    def of_pages(self, chosen: Tensor) -> PatchMemory:
        """The memory with some of its pages only."""
        own = {name: getattr(self, name) for name in self._of_pages}
        return PatchMemory(
            self.grid,
            self.keys,
            self.layout,
            self.fewest,
            self.padded,
            self.choosing.of_pages(chosen),
            **{name: None if value is None else value[chosen] for name, value in own.items()},
        )


@dataclass(frozen=True)
class Reaching:
    """As :class:`fapm_cli.memory.pages.Reaching`, with the pages themselves."""

    parts: list[tuple[PatchMemory, Tensor]]
    places: Tensor


def patch_memory(
    keys: Tensor,
    key_counts: Tensor,
    grid: Grid,
    dtype: torch.dtype = torch.float32,
    metrics: Tensor | None = None,
) -> PatchMemory:
    """Lay a ragged memory out for search.

    Args:
        keys: (ΣK_i, C) float32 keys, patch after patch.
        key_counts: (N_p,) int64, K_i, each at least 1.
        grid: rows and columns of patches.
        dtype: in which the nearest keys are chosen; their distances are float32 all the same.
        metrics: (N_p, C, D) float32, each patch's own (:mod:`fapm_cli.memory.metric`); None for
            the plain one.
    """
    key_counts = key_counts.cpu()
    if metrics is not None:
        keys = map_keys(keys, key_counts, metrics)
    parts = torch.split(keys, key_counts.tolist())
    means = torch.stack([part.mean(dim=0) for part in parts])
    layout = Pages.of(key_counts.numpy())
    patches, first, ends, places = (
        torch.from_numpy(one).to(keys.device)
        for one in (layout.patches, layout.first, layout.end, layout.places)
    )
    there = places < ends.unsqueeze(1)
    centers = means[patches].unsqueeze(1)
    block = keys[places.clamp_(max=len(keys) - 1)].sub_(centers)
    block.masked_fill_(~there.unsqueeze(2), 0)
    norms_sq = block.square().sum(dim=2).masked_fill_(~there, torch.inf).unsqueeze(1)
    return PatchMemory(
        grid,
        keys,
        layout,
        fewest=int(key_counts.min()),
        padded=len(keys) < places.numel(),
        choosing=KeyProducts(block.to(dtype), norms_sq.to(dtype)),
        patches=patches,
        first=first.view(-1, 1, 1),
        end=ends.view(-1, 1, 1),
        centers=centers,
        metrics=None if metrics is None else metrics[patches],
    )


@dataclass(frozen=True)
class LeaveOut:
    """Which keys a query must not meet: those of its own part, whichever shot they are from.

    Attributes:
        query_groups: (Q,) int64, the part that each query shows.
        key_groups: (ΣK_i,) int64, that each key shows.
    """

    query_groups: Tensor
    key_groups: Tensor


def own_keys(pages: PatchMemory, leave_out: LeaveOut) -> tuple[Tensor, Tensor, Tensor]:
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
