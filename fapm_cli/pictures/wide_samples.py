"""Samples of more than 8 bits: how many a file says are used, and all of them."""

from __future__ import annotations

import re
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fapm_cli.errors import PictureError
from fapm_cli.pictures.upright import load_upright
from fapm_cli.stores.stored import AnyPath

ALL_BITS = 16

Wide: TypeAlias = NDArray[np.uint16]
NETPBM = re.compile(rb"P[56]" + 3 * rb"(?:\s|#[^\n]*\n)+(\d+)" + rb"\s")
_BITS_PER_SAMPLE, _MAX_SAMPLE = 258, 341
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def largest_value(wide: Wide) -> int:
    """The largest value of grey or colour; alpha doesn't count."""
    return int((wide if wide.ndim == 2 else wide[..., :3]).max())


# --- Samples of more than 8 bits ---------------------------------------------------------------


def sample_bits(image: ImageFile.ImageFile, data: bytes) -> int:
    """Bits of a stored sample; 8 also where Pillow brings more to 8, by the file's own range."""
    if image.format == "PNG":
        return data[24]
    if image.format == "PPM" and (header := NETPBM.match(data)):
        return int(header[3]).bit_length()
    if isinstance(image, TiffImageFile) and image.mode not in ("I", "F"):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    return 16 if image.mode.startswith("I;16") else 8


def used_bits(image: ImageFile.ImageFile, data: bytes) -> int:
    """How many bits of a wide sample are used, as its file says; all where it does not say."""
    bits = sample_bits(image, data)
    if image.format == "PNG" and (said := _significant_bits(data)):
        bits = min(bits, max(said))
    if isinstance(image, TiffImageFile) and (most := image.tag_v2.get(_MAX_SAMPLE)):
        largest = max(most) if isinstance(most, tuple) else most
        bits = min(bits, int(largest).bit_length())
    return max(bits, 8)


def _significant_bits(data: bytes) -> bytes:
    """What a PNG's sBIT chunk says of each colour; nothing where there is none."""
    at = 8
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT":
            said = data[at + 8 : at + 8 + length]
            return said[:1] if length < 3 else said[:3]
        if kind == b"IDAT":
            break
        at += 12 + length
    return b""


def raw_bytes(image: ImageFile.ImageFile, header: re.Match[bytes]) -> int:
    """Bytes of a raw netpbm's samples."""
    width, height = image.size
    return width * height * len(image.getbands()) * (2 if int(header[3]) > 255 else 1)


def wide_pixels(image: ImageFile.ImageFile, data: bytes, path: AnyPath) -> Wide:
    """All bits of a picture's samples, upright: Pillow keeps those of grey, OpenCV of colour."""
    if image.format == "PPM" and (header := NETPBM.match(data)):
        samples = np.frombuffer(data, ">u2", raw_bytes(image, header) // 2, header.end())
        shape = (*image.size[::-1], 3)[: 1 + len(image.getbands()) // 3 + 1]
        return samples.reshape(shape).astype(np.uint16)
    white_is_zero = (
        isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    )
    top = (1 << used_bits(image, data)) - 1
    load_upright(image)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16)
        return top - grey if white_is_zero else grey
    return _wide_colour(image, data, path)


def _wide_colour(image: Image.Image, data: bytes, path: AnyPath) -> Wide:
    """16-bit colour; checked against the upper halves that Pillow keeps.

    Raises:
        PictureError: the two decoders don't agree.
    """
    import cv2

    halves = np.asarray(image)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is not None and read.dtype == np.uint16 and read.shape[:2] == halves.shape[:2]:
        wide: Wide = read[..., [2, 1, 0, 3][: read.shape[2]]].astype(np.uint16, copy=False)
        if np.array_equal(wide[..., : halves.shape[2]] >> 8, halves):
            return wide
    raise PictureError(
        f"picture {path} has 16-bit {image.mode} of a kind that can't be read whole; "
        "save it as 16-bit RGB PNG, upright, or with 8 bits"
    )
