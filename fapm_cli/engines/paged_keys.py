"""Paged keys: those of some of a bank's patches, brought to where a graph reads them.

A large input has many patches, and so has its bank: its keys stay in its file, and what is read of
them is given back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import host, let_go
from fapm_cli.bank.bank import Bank
from fapm_cli.memory.laying_out import lay_out
from fapm_cli.memory.pages import Pages


class PagedKeys:
    """A memory's keys, brought onto pages as they are asked for; each patch has one.

    Attributes:
        width: of a page.
        bytes_of_patch: that its keys take, and their products with its vectors.
    """

    def __init__(self, bank: Bank, number: int, num_neighbors: int):
        """Look at all of them once: what products ask of them beside themselves is kept."""
        memory = bank.memories[number]
        self._keys = host(memory.keys)
        self._metrics = None if memory.metrics is None else host(memory.metrics)
        self._grid, self._counts = bank.config.grid, host(memory.key_counts)
        self._firsts = np.concatenate([[0], self._counts.cumsum()])
        self.width = max(int(self._counts.max()), num_neighbors)
        h, w = bank.map_sizes[number]
        vectors = h * w // len(self._counts)
        self.bytes_of_patch: int = 4 * self.width * (self._keys.shape[1] + vectors)
        dimensions = self._keys.shape[1] if self._metrics is None else self._metrics.shape[2]
        self._centers = np.empty((len(self._counts), 1, dimensions), np.float32)
        self._norms_sq = np.empty((len(self._counts), self.width, 1), np.float32)
        for row in range(self._grid[0]):
            self._look_at(range(row, row + 1))

    def _look_at(self, rows: range) -> None:
        patches = slice(rows.start * self._grid[1], rows.stop * self._grid[1])
        keys = self._keys[self._firsts[patches.start] : self._firsts[patches.stop]]
        metrics = None if self._metrics is None else self._metrics[patches]
        laid_out = lay_out(keys, Pages.of(self._counts[patches], self.width), metrics)
        self._centers[patches], self._norms_sq[patches] = laid_out.centers, laid_out.norms_sq
        self.let_go(rows)

    def bring(
        self, rows: range, columns: range, reach: int, into: Mapping[str, NDArray[Any]]
    ) -> None:
        """Write those of some patches, and of those around that they reach, into arrays that a
        graph is fed from.
        """
        there = []
        for some, number in zip((rows, columns), self._grid, strict=True):
            around = np.arange(some.start - reach, some.stop + reach)
            there.append((around.clip(0, number - 1), (around < 0) | (around >= number)))
        (down, above), (across, beside) = there
        patches = (down[:, None] * self._grid[1] + across).ravel()
        firsts = self._firsts[patches]
        places = firsts[:, None] + np.arange(self.width)
        self._keys.take(places, axis=0, mode="clip", out=into["keys"])
        if "first" in into:
            into["first"][:, 0, 0] = firsts
        for name, values in (("norms_sq", self._norms_sq), ("centers", self._centers)):
            values.take(patches, axis=0, mode="clip", out=into[name])
        into["norms_sq"][(above[:, None] | beside).ravel()] = np.inf  # no patch has none
        if self._metrics is not None:
            into["metrics"][...] = self._metrics[patches]

    def let_go(self, rows: range) -> None:
        """Have the system take back what it read of some rows of patches."""
        first, end = (self._firsts[row * self._grid[1]] for row in (rows.start, rows.stop))
        let_go(self._keys[first:end])
