"""Decoding: what a file's bytes hold, upright, the one way for pictures and masks.

What a file is, its content tells. No other format than those that a search knows is ever decoded:
none of them starts another program.
"""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from fapm_cli.errors import PictureError
from fapm_cli.finding import FORMATS, SUFFIXES

MAX_PIXELS = 200_000_000
ALL_BITS = 16

# What matters of what Pillow says of a picture is said here, as an error of that picture.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")

Wide: TypeAlias = NDArray[np.uint16]

_READ = [  # Pillow has AVIF from 11.3 on
    name for name in FORMATS if name != "AVIF" or importlib.util.find_spec("PIL.AvifImagePlugin")
]
_COEFFICIENT_BYTES = 6  # per px of a progressive JPEG, which is whole before any px is
_BUFFER_BYTES = {"WEBP": 4, "AVIF": 8, "JPEG2000": 16, "GIF": 8}  # per px, a decoder's own
_HEADER_BYTES = 4096  # that hold what a PNG and a PGM say of their samples
_LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
_NETPBM = re.compile(rb"P[56]" + 3 * rb"(?:\s|#[^\n]*\n)+(\d+)" + rb"\s")
# TIFF's tags, and values of them.
_NEW_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 1 | 4
_SUBFILE_TYPE, _REDUCED = 255, 2
_BITS_PER_SAMPLE, _MAX_SAMPLE = 258, 341
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


@dataclass(frozen=True)
class Decoded:
    """What a file holds.

    Attributes:
        pixels: upright: an image in the file's own mode or, where samples have more than 8 bits,
            (H, W) or (H, W, 3 or 4) uint16, grey, RGB or RGBA.
        bits: of a wide sample, how many the file says are used; all 16 where it does not say.
        size_px: own height and width, upright; a draft has fewer px.
        lossy: whether compression may have changed values.
    """

    pixels: Image.Image | Wide
    bits: int
    size_px: tuple[int, int]
    lossy: bool


def decode(data: bytes, path: Path, draft_px: int | None = None) -> Decoded:
    """Decode the one picture that a file holds.

    Args:
        data: the file.
        path: for messages.
        draft_px: a JPEG may come smaller, with sides of at least this; None for its own size.

    Raises:
        PictureError: it is empty, damaged, too large, of a format that isn't read, or holds
            several pictures.
    """
    if not data:
        raise PictureError(f"picture {path} is empty (0 bytes); copy it again")
    with _damage_told(path):
        image = _open(data, path)
        bits, lossy = _used_bits(image, data), _is_lossy(image, data)
        if _sample_bits(image, data) > 8:
            wide = _wide_pixels(image, data, path)
            return Decoded(wide, bits, wide.shape[:2], lossy)
        size_px = _draft(image, draft_px)
        _load_upright(image)
        return Decoded(image, bits, size_px or image.size[::-1], lossy)


def used_range(path: Path) -> tuple[int, int] | None:
    """Say how many bits a file says its samples use, and their largest value.

    Returns:
        None where they have 8 bits at most, which the header tells, or the file can't be read.
    """
    try:
        with path.open("rb") as file:
            with Image.open(file, formats=_READ) as image:
                file.seek(0)
                if _sample_bits(image, file.read(_HEADER_BYTES)) <= 8:
                    return None
            file.seek(0)
            decoded = decode(file.read(), path)
    except Exception:  # reading it will tell
        return None
    assert not isinstance(decoded.pixels, Image.Image)
    return decoded.bits, largest_value(decoded.pixels)


def reading_bytes(path: Path, draft_px: int | None = None) -> int:
    """Say by a picture's header how many bytes reading it takes at most, its RGB included.

    Args:
        path: the file.
        draft_px: as for :func:`decode`.

    Returns:
        0 where the file can't be read.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=_READ) as image:
            num_file = os.fstat(file.fileno()).st_size
            whole = image.width * image.height
            coefficients = _COEFFICIENT_BYTES * whole * bool(image.info.get("progressive"))
            file.seek(0)
            wide = _sample_bits(image, file.read(_HEADER_BYTES)) > 8
            _draft(image, draft_px)
            at_a_time = _wide_bytes(image) if wide else _narrow_bytes(image)
            at_a_time += _BUFFER_BYTES.get(image.format or "", 0)
            num_px = image.width * image.height
            return int(num_file + coefficients + num_px * at_a_time)
    except Exception:  # reading it will tell
        return 0


def _wide_bytes(image: Image.Image) -> int:
    """Bytes per px at a time: two decoders' pixels, compared; grey is scaled, then made RGB."""
    return 28 if len(image.getbands()) > 1 else 8


def _narrow_bytes(image: Image.Image) -> int:
    """Bytes per px at a time: Pillow has 4 where there are several bands, else 1."""
    if image.has_transparency_data:
        return 16  # as it is, as RGBA, white, and over white
    own = 4 if len(image.getbands()) > 1 else 1
    told = image.format != "PNG" or "exif" in image.info  # else Pillow decodes all to look for it
    turned = told and image.getexif().get(_ORIENTATION, 1) != 1
    return own + 4 * (turned or image.mode != "RGB")


def largest_value(wide: Wide) -> int:
    """The largest value of grey or colour; alpha doesn't count."""
    return int((wide if wide.ndim == 2 else wide[..., :3]).max())


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an error of the picture."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError:
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise PictureError(f"file {path} is not a picture that can be read ({kinds})") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise PictureError(f"picture {path} is damaged: {error}") from error


def _open(data: bytes, path: Path) -> ImageFile.ImageFile:
    """Open a file at its one picture, which is not decoded yet."""
    image = Image.open(BytesIO(data), formats=_READ)
    pages = _pages(image, data)
    if len(pages) > 1:
        raise PictureError(
            f"file {path} holds {len(pages)} pictures, one is wanted: save each as its own file"
        )
    image.seek(pages[0])
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"picture {path} has {width}×{height} px; at most {MAX_PIXELS:,} px work"
        )
    return image


def _pages(image: ImageFile.ImageFile, data: bytes) -> list[int]:
    """The numbers of the pictures in a file; at least one.

    Not among them is what only goes with a picture: smaller copies and masks in a TIFF, and all
    but the first of a camera's JPEG, which are previews, depths or gains.
    """
    count = getattr(image, "n_frames", 1)
    if image.format == "MPO":
        count = 1
    elif image.format == "PPM" and (header := _NETPBM.match(data)):
        end = header.end() + _raw_bytes(image, header)
        count += data[end:].lstrip().startswith(b"P")
    if count > 1 and isinstance(image, TiffImageFile):
        return [page for page in range(count) if not _goes_with_another(image, page)] or [0]
    return list(range(count))


def _goes_with_another(image: TiffImageFile, page: int) -> bool:
    image.seek(page)
    tags = image.tag_v2
    return bool(
        tags.get(_NEW_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK or tags.get(_SUBFILE_TYPE) == _REDUCED
    )


def _draft(image: ImageFile.ImageFile, draft_px: int | None) -> tuple[int, int] | None:
    """Ask for a draft; the upright picture's own height and width if there is one to come."""
    width, height = image.size
    if draft_px is None or image.draft(None, (draft_px, draft_px)) is None:
        return None
    return (width, height) if _is_on_its_side(image) else (height, width)


def _is_on_its_side(image: ImageFile.ImageFile) -> bool:
    return image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE


def _load_upright(image: ImageFile.ImageFile) -> None:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # but a TIFF, which has turned while it loaded


def _is_lossy(image: ImageFile.ImageFile, data: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in data
    return image.format in _LOSSY or image.info.get("compression") == "jpeg"


# --- Samples of more than 8 bits ---------------------------------------------------------------


def _sample_bits(image: ImageFile.ImageFile, data: bytes) -> int:
    """Bits of a stored sample; 8 also where Pillow brings more to 8, by the file's own range."""
    if image.format == "PNG":
        return data[24]
    if image.format == "PPM" and (header := _NETPBM.match(data)):
        return int(header[3]).bit_length()
    if isinstance(image, TiffImageFile) and image.mode not in ("I", "F"):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    return 16 if image.mode.startswith("I;16") else 8


def _used_bits(image: ImageFile.ImageFile, data: bytes) -> int:
    """How many bits of a wide sample are used, as its file says; all where it does not say."""
    bits = _sample_bits(image, data)
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


def _raw_bytes(image: ImageFile.ImageFile, header: re.Match[bytes]) -> int:
    """Bytes of a raw netpbm's samples."""
    width, height = image.size
    return width * height * len(image.getbands()) * (2 if int(header[3]) > 255 else 1)


def _wide_pixels(image: ImageFile.ImageFile, data: bytes, path: Path) -> Wide:
    """All bits of a picture's samples, upright: Pillow keeps those of grey, OpenCV of colour."""
    if image.format == "PPM" and (header := _NETPBM.match(data)):
        samples = np.frombuffer(data, ">u2", _raw_bytes(image, header) // 2, header.end())
        shape = (*image.size[::-1], 3)[: 1 + len(image.getbands()) // 3 + 1]
        return samples.reshape(shape).astype(np.uint16)
    white_is_zero = (
        isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    )
    top = (1 << _used_bits(image, data)) - 1
    _load_upright(image)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16)
        return top - grey if white_is_zero else grey
    return _wide_colour(image, data, path)


def _wide_colour(image: Image.Image, data: bytes, path: Path) -> Wide:
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
