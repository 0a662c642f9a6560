"""A safetensors file in pieces, as the format's own library writes it: nothing is copied whole.

Header and order are the library's (docs/bank-format.md), so that the bytes depend on no version of
it, and a bank takes hardly more memory while it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.bank.arrays import DTYPES

_ORDER = ("I64", "F64", "F32", "I32", "BF16", "U8", "BOOL")  # the widest first: all lie aligned
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNED = 8


@dataclass(frozen=True)
class InParts:
    """An array (n,) uint8 that comes in parts.

    Attributes:
        parts: its bytes, from the first to the last.
        nbytes: n.
    """

    parts: Iterable[bytes]
    nbytes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (self.nbytes,)


Part = NDArray[Any] | InParts
"""An array, of uint16 for bfloat16's bits."""


def file_pieces(
    parts: Mapping[str, Part], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """Go through a safetensors file.

    Args:
        parts: by name.
        metadata: what the file says of itself.

    Returns:
        Bytes, from the first to the last.
    """
    order = sorted(parts, key=lambda name: (_ORDER.index(_dtype(parts[name])), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        part, first = parts[name], end
        end += part.nbytes
        header[name] = {"dtype": _dtype(part), "shape": part.shape, "data_offsets": (first, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        part = parts[name]
        if isinstance(part, InParts):
            yield from part.parts
        else:
            yield np.ascontiguousarray(part).reshape(-1).view(np.uint8).data


def _dtype(part: Part) -> str:
    return "U8" if isinstance(part, InParts) else _NAMES[part.dtype]
