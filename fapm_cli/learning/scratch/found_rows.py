"""Rows of pictures in files, one a field: what a search found, to be read again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fapm_cli.learning.scratch.journal import Journal, checksum, read_bytes, writing


class FileRows:
    """A :class:`~fapm_cli.learning.scratch.workspace.FoundRows` in a folder of its own."""

    def __init__(self, folder: Path, shapes: Mapping[str, Sequence[int]]):
        """Open what is there, or begin.

        Args:
            folder: there already.
            shapes: of a row of each field.
        """
        self._folder = folder
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        for name in shapes:
            with writing(self._path(name)):
                self._path(name).touch()
        self._journal = Journal(folder / "parts.jsonl", self._holds)
        self._parts = {one["part"] for one in self._journal.entries}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.bin"

    def _holds(self, entry: Mapping[str, Any]) -> bool:
        pictures = torch.tensor(entry["pictures"])
        end = int(pictures.max()) + 1
        for name, shape in self._shapes.items():
            if self._path(name).stat().st_size < 4 * end * math.prod(shape):
                return False
        rows = (row for name in self._shapes for row in self.read(name, pictures).numpy())
        return bool(checksum(rows) == entry["checksum"])

    def known(self, part: int) -> bool:
        """Whether a part was written already."""
        return part in self._parts

    def put(self, part: int, pictures: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Write a part.

        Raises:
            OutputError: a file can't be written.
        """
        numbers, values = pictures.tolist(), {n: rows[n].cpu().contiguous() for n in self._shapes}
        for name, own in values.items():
            with writing(self._path(name)), self._path(name).open("r+b") as file:
                for number, row in zip(numbers, own.numpy(), strict=True):
                    file.seek(number * row.nbytes)
                    file.write(row)
        found = checksum(row for own in values.values() for row in own.numpy())
        self._journal.add({"part": part, "pictures": numbers, "checksum": found})
        self._parts.add(part)

    def read(self, name: str, pictures: Tensor) -> Tensor:
        """The rows of some pictures, read with those between them."""
        shape, first, last = self._shapes[name], int(pictures.min()), int(pictures.max())
        row = 4 * math.prod(shape)
        data = read_bytes(self._path(name), first * row, (last + 1 - first) * row)
        rows = data.view(torch.float32).view(-1, *shape)
        return rows if len(rows) == len(pictures) else rows[pictures - first]
