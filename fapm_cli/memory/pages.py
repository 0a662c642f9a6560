"""Pages: how the keys of a layer's patches are laid out for search, as numbers alone.

Keys lie on p pages of one size, so that one product serves all patches and widened ones don't make
the others pay: a patch with more keys than a page holds has several. This file imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fapm_cli.memory.grid import Grid, neighbor_offsets

Numbers = NDArray[np.int64]

PAGE_COST = 256  # keys that take as long as a page does for itself: its candidates are measured


@dataclass(frozen=True)
class Pages:
    """Where keys lie.

    Attributes:
        width: K, keys on a page.
        most: pages of a patch, at most.
        patches: (p,) int64, each page's patch.
        numbers: (p,) int64, which of its patch's pages it is, from 0.
        first: (p,) int64, index of each page's first key among all keys.
        end: (p,) int64, one past the index of the last key of its patch.
        counts: (N_p,) int64, keys of each patch.
    """

    width: int
    most: int
    patches: Numbers
    numbers: Numbers
    first: Numbers
    end: Numbers
    counts: Numbers

    @classmethod
    def of(cls, key_counts: Numbers, width: int | None = None) -> Pages:
        """Lay out so many keys of each patch, (N_p,) int64, each at least 1.

        A page then holds ``width`` of them; None for as many as cost least.
        """
        width = width or _page_width(key_counts)
        num_pages = -(-key_counts // width)
        patches = np.repeat(np.arange(len(num_pages)), num_pages)
        numbers = np.arange(len(patches)) - (num_pages.cumsum() - num_pages)[patches]
        ends = key_counts.cumsum()
        first = (ends - key_counts)[patches] + width * numbers
        return cls(width, int(num_pages.max()), patches, numbers, first, ends[patches], key_counts)

    @property
    def places(self) -> Numbers:
        """(p, K) int64, index among all keys of what lies at each place of each page; beyond
        ``end`` nothing does.
        """
        return self.first[:, None] + np.arange(self.width)

    def reaching(self, grid: Grid, reach: int) -> Reaching:
        """Find which patches search which pages, as of :func:`fapm_cli.memory.search.search`.

        Args:
            grid: rows and columns of patches.
            reach: how many patches around its own a vector may search.
        """
        rows, columns = grid
        offsets = np.array(neighbor_offsets(reach))
        row = (self.patches // columns)[:, None] - offsets[:, 0]
        column = (self.patches % columns)[:, None] - offsets[:, 1]
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        patches = row * columns + column
        slots = np.arange(len(offsets)) * self.most + self.numbers[:, None]
        num_patches, parts, first = inside.sum(axis=1), [], 0
        places = np.full((rows * columns, len(offsets) * self.most), int(num_patches.sum()))
        for n in sorted(set(num_patches.tolist())):
            alike = np.flatnonzero(num_patches == n)
            asking = patches[alike][inside[alike]]
            places[asking, slots[alike][inside[alike]]] = np.arange(first, first + len(asking))
            first += len(asking)
            parts.append((alike, asking.reshape(-1, n)))
        return Reaching(parts, places)


@dataclass(frozen=True)
class Reaching:
    """Which patches search which pages.

    Attributes:
        parts: (p,) int64 pages that equally many patches search, n, and (p, n) int64 those patches.
        places: (N_p, s) int64, of each patch's up to s pages the number of its pair among all
            pairs of the parts, in their order; one more than there are for no page.
    """

    parts: list[tuple[Numbers, Numbers]]
    places: Numbers


def _page_width(key_counts: Numbers) -> int:
    """Keys on a page: as many as make pages, and the padding on them, cost least."""
    widths = np.arange(1, int(key_counts.max()) + 1)
    num_pages = (-(-key_counts // widths[:, None])).sum(axis=1)
    return int(widths[(num_pages * (widths + PAGE_COST)).argmin()])
