"""Thumbnails: the nominal pictures as the backbone saw them, small enough to travel in a bank.

JPEG at quality 95 without chroma subsampling: 10 to 17 kB for 224×224 px of a real part, a third of
what lossless costs. They come from an untrusted file: nothing is decoded until it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fapm_cli.errors import BankError

QUALITY = 95
_MAGIC = b"\xff\xd8"
# Above what a JPEG of noise takes at the best quality.
_MAX_BYTES_PER_PX, _MAX_BYTES_HEADER = 16, 4096

Size = tuple[int, int]


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an (H, W, 3) uint8 RGB picture; equal pixels give equal bytes."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def decode_thumbnail(data: bytes, size_px: Size) -> NDArray[np.uint8]:
    """Decode what :func:`encode_thumbnail` made.

    Args:
        data: a JPEG.
        size_px: the height and width that it must have.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BankError: it is damaged, no JPEG, or of another size.
    """
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as image:
            if (image.height, image.width, image.mode) != (*size_px, "RGB"):
                found = f"{image.width}×{image.height} px, {image.mode}"
                raise BankError(f"a thumbnail in the bank is wrong ({found}); build it again")
            return np.array(image)
    except BankError:
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise BankError(f"a thumbnail in the bank is damaged ({error}); build it again") from error


def pack_thumbnails(thumbnails: Sequence[bytes]) -> tuple[Tensor, Tensor]:
    """Join thumbnails: all bytes, uint8, and where each one ends, (N,) int64."""
    data = torch.frombuffer(bytearray(b"".join(thumbnails)), dtype=torch.uint8)
    return data, torch.tensor([len(one) for one in thumbnails]).cumsum(0)


def unpack_thumbnails(data: Tensor, ends: Tensor, count: int, size_px: Size) -> tuple[bytes, ...]:
    """Undo :func:`pack_thumbnails`, checking everything but the pictures themselves.

    Args:
        data: all bytes.
        ends: where each thumbnail ends.
        count: how many there must be, N.
        size_px: their height and width, which bounds their bytes.

    Raises:
        ValueError: types, shapes or lengths don't fit, or one does not begin as a JPEG does.
    """
    if (data.dtype, data.dim()) != (torch.uint8, 1):
        raise ValueError(f"thumbnails are {data.dtype} {tuple(data.shape)}")
    if (ends.dtype, tuple(ends.shape)) != (torch.int64, (count,)):
        raise ValueError(f"thumbnail_ends are {ends.dtype} {tuple(ends.shape)}")
    most = _MAX_BYTES_PER_PX * size_px[0] * size_px[1] + _MAX_BYTES_HEADER
    stops = ends.tolist()
    starts = [0, *stops[:-1]]
    if stops[-1] != len(data) or not all(
        0 < stop - start <= most for start, stop in zip(starts, stops, strict=True)
    ):
        raise ValueError("thumbnail_ends don't add up")
    whole = data.cpu().numpy().tobytes()
    thumbnails = tuple(whole[a:b] for a, b in zip(starts, stops, strict=True))
    if not all(one.startswith(_MAGIC) for one in thumbnails):
        raise ValueError("a thumbnail is no JPEG")
    return thumbnails
