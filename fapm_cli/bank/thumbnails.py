"""Thumbnails: the nominal pictures as the backbone saw them, small enough to travel in a bank.

Lossless WebP, 17 to 41 kB for 224×224 px of a real part: a bank calibrated anew from them is the
same as from the files. JPEG takes half of that and moves scores of good parts by up to 9 %
(docs/accuracy.md). They come from an untrusted file: nothing is decoded until it is used.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.bank.arrays import check_array
from fapm_cli.bank.pieces import InParts
from fapm_cli.errors import BankError

# A WebP file's first bytes, those at 4 to 7 left out, if it holds one lossless picture; then come
# 14 bits each for width - 1 and height - 1.
_START = b"RIFF", b"WEBPVP8L"
_HEADER_BYTES = 25
# Above what a lossless WebP of noise takes.
_MAX_BYTES_PER_PX, _MAX_BYTES_HEADER = 5, 4096

Size = tuple[int, int]


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an (H, W, 3) uint8 RGB picture; equal pixels give equal bytes.

    A fourth channel says what it shows, above 0: the rest is made up.
    """
    file = BytesIO()
    # Method 2 is next to the smallest, and several times faster; exact keeps what is made up.
    Image.fromarray(pixels).save(
        file, format="WEBP", lossless=True, method=2, quality=0, exact=pixels.shape[2] == 4
    )
    return file.getvalue()


def decode_thumbnail(data: bytes, size_px: Size) -> NDArray[np.uint8]:
    """Decode what :func:`encode_thumbnail` made.

    Args:
        data: a lossless WebP.
        size_px: the height and width that it must have.

    Returns:
        (H, W, 3) uint8 RGB, or (H, W, 4), the very pixels that were encoded.

    Raises:
        BankError: it is damaged, of another kind or of another size.
    """
    found = _size_px(data)
    if found != size_px:
        seen = "no lossless WebP" if found is None else f"{found[1]}×{found[0]} px"
        raise BankError(f"a thumbnail in the bank is wrong ({seen}); build it again")
    try:
        with Image.open(BytesIO(data), formats=("WEBP",)) as image:
            pixels = np.array(image)
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise BankError(f"a thumbnail in the bank is damaged ({error}); build it again") from error
    if pixels.shape not in ((*size_px, 3), (*size_px, 4)):
        raise BankError(f"a thumbnail in the bank is wrong ({pixels.shape}); build it again")
    return pixels


def _size_px(data: bytes) -> Size | None:
    """Read height and width from the header, without a decoder; None if it is no lossless WebP."""
    if len(data) < _HEADER_BYTES or (data[:4], data[8:16]) != _START:
        return None
    bits = int.from_bytes(data[21:25], "little")
    return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1


def pack_thumbnails(thumbnails: Sequence[bytes]) -> tuple[InParts, NDArray[np.int64]]:
    """All bytes, one thumbnail after another, and where each one ends, (N,) int64."""
    sizes = sizes_of(thumbnails)
    return InParts(thumbnails, sum(sizes)), np.cumsum(sizes, dtype=np.int64)


def sizes_of(thumbnails: Sequence[bytes]) -> list[int]:
    """Bytes of each; none is read where that is known."""
    if isinstance(thumbnails, Packed):
        return thumbnails.sizes
    return [len(one) for one in thumbnails]


class Stretch(Protocol):
    """Bytes, uint8, that may lie in a file."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, span: slice) -> NDArray[np.uint8]:
        """Some of them."""


class _Lazy(Sequence[bytes]):
    """Thumbnails of which none is read before it is asked for."""

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """One of them, or some."""
        if isinstance(index, slice):
            return [self._read(i) for i in range(len(self))[index]]
        return self._read(index)

    @abstractmethod
    def _read(self, index: int) -> bytes: ...


class Packed(_Lazy):
    """Thumbnails as they lie in a bank's file."""

    def __init__(self, data: Stretch, ends: Sequence[int]):
        """Take all bytes, and where each ends: these are rising."""
        self.data, self._spans = data, [*itertools.pairwise([0, *ends])]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._spans)

    def _read(self, index: int) -> bytes:
        first, end = self._spans[index]
        return self.data[first:end].tobytes()

    @property
    def sizes(self) -> list[int]:
        """How long each one is."""
        return [end - first for first, end in self._spans]

    def some(self, kept: Sequence[int]) -> Packed:
        """Some of them, where they lie."""
        found = Packed(self.data, [])
        found._spans = [self._spans[i] for i in kept]
        return found

    def start(self, index: int) -> bytes:
        """The first bytes of one."""
        first, end = self._spans[index]
        return self.data[first : min(first + _HEADER_BYTES, end)].tobytes()


class Joined(_Lazy):
    """Thumbnails of several banks."""

    def __init__(self, banks: Sequence[Sequence[bytes]], order: Sequence[tuple[int, int]]):
        """Take which bank's, and which of its, each one is."""
        self._banks, self._order = banks, order

    def __len__(self) -> int:
        """How many there are."""
        return len(self._order)

    def _read(self, index: int) -> bytes:
        bank, number = self._order[index]
        return self._banks[bank][number]


def some_thumbnails(thumbnails: Sequence[bytes], kept: Sequence[int]) -> Sequence[bytes]:
    """Some of them; where they lie in a file they stay there."""
    if isinstance(thumbnails, Packed):
        return thumbnails.some(kept)
    return tuple(thumbnails[i] for i in kept)


def unpack_thumbnails(data: NDArray[Any], ends: NDArray[Any], count: int, size_px: Size) -> Packed:
    """Undo :func:`pack_thumbnails`, checking everything but the pictures themselves.

    Args:
        data: all bytes.
        ends: where each thumbnail ends.
        count: how many there must be, N.
        size_px: their height and width.

    Raises:
        ValueError: types, shapes or lengths don't fit, or one is no lossless WebP of that size.
    """
    check_array("thumbnails", data, np.uint8, data.size)
    check_array("thumbnail_ends", ends, np.int64, count)
    most = _MAX_BYTES_PER_PX * size_px[0] * size_px[1] + _MAX_BYTES_HEADER
    stops = ends.tolist()
    starts = [0, *stops[:-1]]
    if stops[-1] != len(data) or not all(
        0 < stop - start <= most for start, stop in zip(starts, stops, strict=True)
    ):
        raise ValueError("thumbnail_ends don't add up")
    thumbnails = Packed(data, stops)
    if not all(_size_px(thumbnails.start(i)) == size_px for i in range(count)):
        raise ValueError("a thumbnail is no lossless WebP of the input's size")
    return thumbnails
