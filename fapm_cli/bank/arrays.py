"""The arrays of a safetensors file, read without torch: a machine that only judges needs none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Arrays = dict[str, NDArray[Any]]

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "BF16": np.dtype("<u2"),  # numpy has none: its bits, and nothing else is uint16
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_LARGE_BYTES = 256 * 2**20  # of a file
_MAPPED_BYTES, _FEW_BYTES = 16 * 2**20, 2**16  # of an array in a large one, or if it is asked for


def check_array(name: str, array: NDArray[Any], dtype: type[np.generic], *shape: int) -> None:
    """Check an array's type and shape.

    Raises:
        ValueError: they are others.
    """
    if array.dtype != dtype or array.shape != shape:
        kind = "bfloat16" if array.dtype == np.uint16 else array.dtype
        raise ValueError(f"{name}: {kind} {array.shape}")


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 that bfloat16's bits are the upper half of."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file, which is not trusted, says of itself; its header is checked whole.

    Raises:
        SafetensorError, OSError: it is no whole safetensors file.
    """
    with safe_open(path, framework="np") as file:  # offsets, sizes and types fit one another
        metadata: dict[str, str] = file.metadata() or {}
    return metadata


def read_arrays(path: Path, *, mapped: bool = False) -> Arrays:
    """Read the arrays of a file that :func:`read_metadata` has checked, by name.

    Copied, since the file may be overwritten while they are in use; of a very large file those that
    are large stay there, and are read as they are needed, and so do all but small ones if they are
    to be ``mapped``. bfloat16 comes as its bits, uint16.

    Raises:
        OSError: it can't be read.
        ValueError: it holds a type that no bank has.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        size = path.stat().st_size
        most = _FEW_BYTES if mapped else _MAPPED_BYTES if size > _LARGE_BYTES else size
        return {n: _read(path, file, 8 + length, header[n], n, most) for n in sorted(header)}


def _read(
    path: Path, file: Any, start: int, entry: Mapping[str, Any], name: str, most_bytes: int
) -> NDArray[Any]:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{name}: {entry['dtype']}, which no bank has")
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    first, end = entry["data_offsets"]
    if end - first > most_bytes and dtype != np.bool_:
        return np.memmap(path, dtype, "c", start + first, shape)
    file.seek(start + first)
    data: NDArray[Any] = np.fromfile(file, np.uint8, end - first)
    if dtype == np.bool_:
        data = (data > 0).view(np.uint8)  # any other value of a byte is none of a bool
    return data.view(dtype).reshape(shape)
