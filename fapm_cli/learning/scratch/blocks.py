"""Blocks: fields of pictures in files, some pictures a file.

A file holds a few pictures' fields one after another, and vectors patch by patch. So a picture's
are read with its neighbours', in one go, and those of a patch in one go a file: both are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fapm_cli.errors import OptionError
from fapm_cli.learning.scratch.field import Field, FieldRows, FieldVectors, Reader
from fapm_cli.learning.scratch.journal import (
    Journal,
    checksum,
    file_checksum,
    read_bytes,
    writing,
)
from fapm_cli.learning.scratch.workspace import Job, Tensors

BLOCK_BYTES, _MOST = 32 * 2**20, 64


class Blocks:
    """A :class:`~fapm_cli.learning.scratch.workspace.Store` in a folder of its own."""

    def __init__(self, folder: Path, fields: Sequence[Field], device: torch.device):
        """Open what is there, or begin.

        Args:
            folder: there already.
            fields: what is stored of each picture.
            device: where vectors are wanted.
        """
        self._folder, self._fields, self._device = folder, {f.name: f for f in fields}, device
        per_picture = sum(field.num_bytes(1) for field in fields)
        self.per_block = min(max(BLOCK_BYTES // per_picture, 1), _MOST)
        self._counts: list[int] = []
        self._journal = Journal(folder / "blocks.jsonl", self._holds)
        self._digests: list[str] = [d for one in self._journal.entries for d in one["pictures"]]
        self._waiting: dict[str, Tensor] = {}
        self._new: list[str] = []
        self._last: dict[str, tuple[int, Tensor]] = {}

    def _path(self, block: int) -> Path:
        return self._folder / f"{block:06}.bin"

    def _holds(self, entry: dict[str, object]) -> bool:
        block, pictures = len(self._counts), entry["pictures"]
        assert isinstance(pictures, list)
        whole = file_checksum(self._path(block)) == entry["checksum"]
        if whole:
            self._counts.append(len(pictures))
        return whole

    # --- Writing -------------------------------------------------------------------------------

    def known(self, first: int, digests: Sequence[str]) -> int:
        """How many of these pictures are stored.

        Raises:
            OptionError: others are.
        """
        there = self._digests[first : first + len(digests)]
        if there != list(digests[: len(there)]):
            raise OptionError(
                f"--resume: {self._folder.parent} holds vectors of other pictures; leave --resume "
                "out to begin anew"
            )
        return len(there)

    def put(
        self,
        first: int,
        digests: Sequence[str],
        parts: Mapping[str, Tensor],
        job: Job[Tensor, Tensors] | None = None,
    ) -> None:
        """Store pictures, of which the numbers begin at ``first``; what is stored already stays.

        Raises:
            OutputError: a file can't be written.
        """
        stored = len(self._digests)
        parts = {**parts, **(job() if job else {})}
        if not self._waiting:
            self._waiting = {name: f.empty(self.per_block) for name, f in self._fields.items()}
        for number, digest in enumerate(digests):
            if first + number < stored:
                continue
            at = len(self._new)
            for name, part in parts.items():
                n = self._fields[name].per_picture
                own = part[:, number * n : (number + 1) * n]
                self._waiting[name][:, at * n : (at + 1) * n] = own
            self._new.append(digest)
            if len(self._new) == self.per_block:
                self._write()
                stored = len(self._digests)

    def finish(self, total: int) -> None:
        """All pictures came.

        Raises:
            OptionError: more are stored.
            OutputError: a file can't be written.
        """
        if self._new:
            self._write()
        self._waiting = {}
        if len(self._digests) != total:
            raise OptionError(
                f"--resume: {self._folder.parent} holds vectors of {len(self._digests)} pictures, "
                f"and {total} came; leave --resume out to begin anew"
            )

    def _write(self) -> None:
        block, count = len(self._counts), len(self._new)
        arrays = [
            self._waiting[name][:, : count * field.per_picture].contiguous().numpy().reshape(-1)
            for name, field in self._fields.items()
        ]
        path = self._path(block)
        with writing(path):
            whole = path.with_suffix(".new")
            with whole.open("wb") as file:
                for array in arrays:
                    file.write(array.data)
            os.replace(whole, path)
        entry = {"pictures": self._new, "checksum": checksum(arrays)}
        self._journal.add(entry)
        self._counts.append(count)
        self._digests += self._new
        self._new = []

    # --- Reading -------------------------------------------------------------------------------

    def vectors(self, name: str) -> FieldVectors:
        """A field of all pictures."""
        return FieldVectors(self._reader(name))

    def rows(self, name: str) -> FieldRows:
        """A field of rows."""
        return FieldRows(self._reader(name))

    def _reader(self, name: str) -> Reader:
        return Reader(
            self._fields[name],
            self._device,
            len(self._digests),
            lambda first, end: self._read_patches(name, first, end),
            lambda pictures: self._read_pictures(name, pictures),
        )

    def _read(self, name: str, block: int, first: int, end: int) -> Tensor:
        """(end - first, n·N_v, …) of a block's n pictures."""
        field, count, before = self._fields[name], self._counts[block], 0
        for other, one in self._fields.items():
            if other == name:
                break
            before += one.num_bytes(count)
        of_patch = field.per_picture * count * field.row_bytes
        data = read_bytes(self._path(block), before + first * of_patch, (end - first) * of_patch)
        return data.view(field.dtype).view(end - first, count * field.per_picture, *field.tail)

    def _read_patches(self, name: str, first: int, end: int) -> Tensor:
        field = self._fields[name]
        whole = torch.empty((end - first, *field.shape(len(self._digests))[1:]), dtype=field.dtype)
        at = 0
        for block in range(len(self._counts)):
            part = self._read(name, block, first, end)
            whole[:, at : at + part.shape[1]] = part
            at += part.shape[1]
        return whole

    def _read_pictures(self, name: str, pictures: Sequence[int]) -> Tensor:
        field = self._fields[name]
        whole, n = field.empty(len(pictures)), field.per_picture
        for at, picture in enumerate(pictures):
            block, number = divmod(picture, self.per_block)
            held = self._last.get(name)
            if held is None or held[0] != block:
                held = self._last[name] = block, self._read(name, block, 0, field.lead)
            whole[:, at * n : (at + 1) * n] = held[1][:, number * n : (number + 1) * n]
        return whole
