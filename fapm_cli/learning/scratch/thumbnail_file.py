"""Thumbnails in a file, as they lie in a bank's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.bank.thumbnails import Packed
from fapm_cli.errors import OptionError
from fapm_cli.learning.scratch.journal import Journal, checksum, writing


class ThumbnailFile:
    """An :class:`~fapm_cli.learning.scratch.workspace.Encoded` in a folder of its own."""

    def __init__(self, folder: Path):
        """Open what is there, or begin."""
        self._folder, self._path = folder, folder / "thumbnails.bin"
        with writing(self._path):
            self._path.touch()
        self._ends: list[int] = []
        self._digests: list[str] = []
        self._journal = Journal(folder / "thumbnails.jsonl", self._holds)
        with writing(self._path), self._path.open("r+b") as file:
            file.truncate(self._end)

    @property
    def _end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _holds(self, entry: Mapping[str, Any]) -> bool:
        sizes = entry["sizes"]
        data = np.fromfile(self._path, np.uint8, sum(sizes), offset=self._end)
        if checksum([data]) != entry["checksum"]:
            return False
        self._note(sizes, entry["pictures"])
        return True

    def _note(self, sizes: Iterable[int], digests: Iterable[str]) -> None:
        for size in sizes:
            self._ends.append(self._end + size)
        self._digests += digests

    def known(self, number: int, digest: str) -> bool:
        """Whether there is that of this picture.

        Raises:
            OptionError: there is another's.
        """
        if number >= len(self._digests):
            return False
        if self._digests[number] != digest:
            raise OptionError(
                f"--resume: {self._folder.parent} holds other pictures; leave --resume out to "
                "begin anew"
            )
        return True

    def add(self, data: Iterable[bytes], digests: Iterable[str]) -> None:
        """Add some, of pictures of these digests.

        Raises:
            OutputError: the file can't be written.
        """
        parts, names = [*data], [*digests]
        if not parts:
            return
        with writing(self._path), self._path.open("ab") as file:
            file.writelines(parts)
        sizes = [len(part) for part in parts]
        self._journal.add({"sizes": sizes, "pictures": names, "checksum": checksum(parts)})
        self._note(sizes, names)

    def finish(self) -> Packed:
        """All of them, read from the file as they are asked for, even once it has no name."""
        with writing(self._path):
            return Packed(_Unmapped(self._path, self._end), self._ends)


class _Unmapped:
    """A file's bytes, read and not mapped: what is mapped counts as the program's memory."""

    def __init__(self, path: Path, size: int):
        """Open it."""
        self._path, self._size = path, size
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        """How many there are."""
        return self._size

    def __getitem__(self, span: slice) -> NDArray[np.uint8]:
        """Some of them.

        Raises:
            OutputError: they can't be read.
        """
        first, end, _ = span.indices(self._size)
        with writing(self._path):
            self._file.seek(first)
            data = np.fromfile(self._file, np.uint8, end - first)
            if len(data) < end - first:
                raise OSError(0, f"it ends before byte {end}")
            return data
