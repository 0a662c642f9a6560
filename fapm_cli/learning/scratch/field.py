"""Fields: arrays of which each picture has a part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Field:
    """An array (lead, N·per_picture, *tail): vectors patch by patch, or rows, one a picture.

    Attributes:
        name: unique among those that are stored together.
        lead: patches, N_p; 1 for rows.
        per_picture: vectors of a picture in each, N_v; 1 for rows.
        tail: C, or a row's shape.
        dtype: of its values.
        on_device: whether it is worked with on the backbone's device: vectors are.
    """

    name: str
    lead: int
    per_picture: int
    tail: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    on_device: bool = True

    @staticmethod
    def of_rows(name: str, shape: Sequence[int], dtype: torch.dtype) -> Field:
        """Rows of a shape."""
        return Field(name, 1, 1, tuple(shape), dtype, on_device=False)

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector, or row."""
        return math.prod(self.tail) * self.dtype.itemsize

    def num_bytes(self, num_pictures: int) -> int:
        """Bytes of so many pictures."""
        return self.lead * self.per_picture * num_pictures * self.row_bytes

    def shape(self, num_pictures: int) -> tuple[int, ...]:
        """Of so many pictures."""
        return (self.lead, num_pictures * self.per_picture, *self.tail)

    def empty(self, num_pictures: int, device: torch.device | None = None) -> Tensor:
        """Memory for so many pictures."""
        return torch.empty(self.shape(num_pictures), dtype=self.dtype, device=device)


@dataclass(frozen=True)
class Reader:
    """How a stored field is read.

    Attributes:
        field: what it is.
        device: where it is wanted.
        count: how many pictures are stored.
        read_patches: (end - first, N·N_v, …) of all pictures, of patches from first to end.
        read_pictures: (lead, n·N_v, …) of pictures of these numbers.
    """

    field: Field
    device: torch.device
    count: int
    read_patches: Callable[[int, int], Tensor]
    read_pictures: Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class FieldVectors:
    """Vectors in files: a :class:`fapm_cli.memory.vectors.StoredVectors`.

    Attributes:
        reader: of the field.
        kept: numbers of the pictures that count; None for all.
    """

    reader: Reader
    kept: tuple[int, ...] | None = None

    @property
    def num_pictures(self) -> int:
        """How many pictures count."""
        return self.reader.count if self.kept is None else len(self.kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """N_p, N·N_v and C."""
        return self.reader.field.shape(self.num_pictures)

    @property
    def device(self) -> torch.device:
        """Where they are wanted."""
        return self.reader.device

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return self.reader.field.num_bytes(self.num_pictures)

    def patches(self, first: int, end: int) -> Tensor:
        """(end - first, N·N_v, C), those of some patches."""
        found = self.reader.read_patches(first, end)
        if self.kept is not None:
            by_picture = found.view(len(found), self.reader.count, -1, found.shape[2])
            found = by_picture[:, torch.tensor(self.kept)].flatten(1, 2)
        return found.to(self.reader.device)

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """(N_p, n·N_v, C), those of some pictures."""
        return self.reader.read_pictures(_numbers(pictures, self.kept)).to(self.reader.device)

    def of(self, kept: Sequence[int]) -> FieldVectors:
        """The same of some of the pictures alone."""
        return replace(self, kept=tuple(_numbers(torch.tensor(kept), self.kept)))


@dataclass(frozen=True)
class FieldRows:
    """Rows in files: a :class:`fapm_cli.memory.vectors.StoredRows`.

    Attributes:
        reader: of the field.
        kept: as of :class:`FieldVectors`.
        through: what is made of them as they are read.
    """

    reader: Reader
    kept: tuple[int, ...] | None = None
    through: Callable[[Tensor], Tensor] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """N and the shape of a row."""
        return (len(self), *self.reader.field.tail)

    def __len__(self) -> int:
        """N."""
        return self.reader.count if self.kept is None else len(self.kept)

    def __getitem__(self, pictures: Tensor) -> Tensor:
        """(n, …), those of some pictures."""
        rows = self.reader.read_pictures(_numbers(pictures, self.kept))[0]
        return rows if self.through is None else self.through(rows)

    def of(self, kept: Sequence[int]) -> FieldRows:
        """The same of some of the pictures alone."""
        return replace(self, kept=tuple(_numbers(torch.tensor(kept), self.kept)))


def _numbers(pictures: Tensor, kept: Sequence[int] | None) -> list[int]:
    numbers: list[int] = pictures.tolist()
    return numbers if kept is None else [kept[number] for number in numbers]
