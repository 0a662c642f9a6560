"""Journals: what was written whole, line by line; and checksums of what the lines tell of."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.errors import OutputError

_AT_A_TIME = 2**23


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a scratch file into one line.

    Raises:
        OutputError: it can't be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"can't use scratch file {path}: {error.strerror}; give a --scratch with more room, "
            "or go on with --resume once there is"
        ) from error


class Journal:
    """A file of one JSON value a line, each added when what it tells of is written.

    Lines that a killed process left half written, and all behind them, are dropped.
    """

    def __init__(self, path: Path, holds: Callable[[Any], bool]):
        """Open it, or begin it.

        Args:
            path: of the file.
            holds: whether what a line tells of is there, and whole.
        """
        self._path = path
        self.entries: list[Any] = [*self._read(holds)]
        with writing(path):
            whole = path.with_suffix(".new")
            whole.write_text("".join(f"{json.dumps(one)}\n" for one in self.entries), "utf-8")
            os.replace(whole, path)

    def _read(self, holds: Callable[[Any], bool]) -> Iterator[Any]:
        if not self._path.is_file():
            return
        for line in self._path.read_bytes().splitlines(keepends=True):
            try:
                entry = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n") or not holds(entry):
                return
            yield entry

    def add(self, entry: Any) -> None:
        """Add a line.

        Raises:
            OutputError: it can't be written.
        """
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")
        self.entries.append(entry)


def checksum(parts: Iterable[bytes | NDArray[Any]]) -> int:
    """CRC-32 of bytes that come in parts."""
    found = 0
    for part in parts:
        found = zlib.crc32(part if isinstance(part, bytes) else part.data, found)
    return found


def file_checksum(path: Path) -> int:
    """CRC-32 of a file; -1 of one that is not there."""
    try:
        with path.open("rb") as file:
            return checksum(iter(lambda: file.read(_AT_A_TIME), b""))
    except OSError:
        return -1


def read_bytes(path: Path, offset: int, size: int) -> Tensor:
    """(size,) uint8 of a file, in memory as torch aligns it: products round by where numbers lie.

    Raises:
        OutputError: it is no longer there, or shorter.
    """
    data = torch.empty(size, dtype=torch.uint8)
    with writing(path), path.open("rb", buffering=0) as file:
        file.seek(offset)
        left = data.numpy().data
        while left:
            got = file.readinto(left)
            if not got:
                raise OSError(0, f"it ends before byte {offset + size}")
            left = left[got:]
    return data
