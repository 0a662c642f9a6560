"""Vectors of all pictures, in memory or elsewhere: asked for by patches, or by pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from fapm_cli.memory import grid


class StoredVectors(Protocol):
    """(N_p, N·N_v, C) vectors that lie elsewhere than in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N_p, N·N_v and C."""

    @property
    def nbytes(self) -> int:
        """Bytes of all."""

    @property
    def device(self) -> torch.device:
        """Where they are wanted."""

    def patches(self, first: int, end: int) -> Tensor:
        """(end - first, N·N_v, C), those of some patches."""

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """(N_p, n·N_v, C), those of some pictures."""

    def of(self, kept: Sequence[int]) -> StoredVectors:
        """The same of some of the pictures alone."""


class StoredRows(Protocol):
    """(N, …), one row a picture, that lie elsewhere than in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N and the shape of a row."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, pictures: Tensor) -> Tensor:
        """(n, …), those of some pictures."""

    def of(self, kept: Sequence[int]) -> StoredRows:
        """The same of some of the pictures alone."""


Vectors: TypeAlias = Tensor | StoredVectors
Rows: TypeAlias = Tensor | StoredRows


def patches_of(vectors: Vectors, first: int, end: int) -> Tensor:
    """(end - first, N·N_v, C), the vectors of some patches; a view where they are in memory."""
    if isinstance(vectors, Tensor):
        return vectors[first:end]
    return vectors.patches(first, end)


def of_pictures(vectors: Vectors, pictures: Tensor, num_pictures: int) -> Tensor:
    """(N_p, n·N_v, C), the vectors of some of so many pictures."""
    if isinstance(vectors, Tensor):
        return grid.of_pictures(vectors, pictures, num_pictures)
    return vectors.of_pictures(pictures)


def only(vectors: Vectors, kept: Sequence[int], num_pictures: int) -> Vectors:
    """The vectors of some of so many pictures, for good."""
    if isinstance(vectors, Tensor):
        return grid.of_pictures(vectors, torch.tensor(kept), num_pictures)
    return vectors.of(kept)


def rows_of(rows: Rows, kept: Sequence[int]) -> Rows:
    """Some of the rows, for good."""
    return rows[torch.tensor(kept)] if isinstance(rows, Tensor) else rows.of(kept)


class Gathered:
    """Rows that come in parts, in memory that is taken once.

    Were each part kept where it came, it would lie between what else is taken and given back, and
    memory in pieces is not used again.
    """

    def __init__(self, most: int):
        """Take so many rows at most."""
        self._most, self._count = most, 0
        self._whole: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Add rows, (n, ...); all are alike but for n."""
        if self._whole is None:
            self._whole = rows.new_empty(self._most, *rows.shape[1:])
        end = self._count + len(rows)
        self._whole[self._count : end] = rows
        self._count = end

    def all(self) -> Tensor:
        """All of them so far.

        Raises:
            ValueError: there was none.
        """
        if self._whole is None:
            raise ValueError("no rows were added")
        return self._whole[: self._count]
