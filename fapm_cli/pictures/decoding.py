"""Decoding: what a file's bytes hold, upright, the one way for pictures and masks.

What a file is, its content tells. No other format than those that a search knows is ever decoded:
none of them starts another program.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from fapm_cli.errors import PictureError
from fapm_cli.finding.kinds import FORMATS, SUFFIXES, Format
from fapm_cli.pictures.upright import ORIENTATION, is_on_its_side, load_upright
from fapm_cli.pictures.wide_samples import (
    NETPBM,
    Wide,
    largest_value,
    raw_bytes,
    sample_bits,
    used_bits,
    wide_pixels,
)
from fapm_cli.stores.stored import AnyPath

MAX_PIXELS = 200_000_000

# What matters of what Pillow says of a picture is said here, as an error of that picture.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")

READABLE = [
    name
    for name, kind in FORMATS.items()
    if kind.plugin is None or importlib.util.find_spec(kind.plugin)
]
_COEFFICIENT_BYTES = 6  # per px of a progressive JPEG, which is whole before any px is
_MOST_PAGES, _HEADER_BYTES = 1000, 4096  # which hold what a PNG and a PGM say of their samples
# TIFF's tags, and values of them.
_NEW_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 1 | 4
_SUBFILE_TYPE, _REDUCED = 255, 2


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


def decode(
    data: bytes,
    path: AnyPath,
    draft_px: int | None = None,
    enter: Callable[[int], None] = lambda num_bytes: None,
    most_px: int = MAX_PIXELS,
) -> Decoded:
    """Decode the one picture that a file holds.

    Args:
        data: the file.
        path: for messages.
        draft_px: a JPEG may come smaller, with sides of at least this; None for its own size.
        enter: told, before any px is decoded, how many bytes that takes at most.
        most_px: of more, none is decoded.

    Raises:
        PictureError: it is empty, damaged, too large, of a format that isn't read, or holds
            several pictures.
    """
    if not data:
        raise PictureError(f"picture {path} is empty (0 bytes); copy it again")
    with _damage_told(path):
        image = _open(data, path, most_px)
        bits, lossy = used_bits(image, data), _is_lossy(image, data)
        is_wide, whole = sample_bits(image, data) > 8, image.width * image.height
        size_px = None if is_wide else _draft(image, draft_px)
        enter(len(data) + _pixel_bytes(image, is_wide, whole))
        if is_wide:
            wide = wide_pixels(image, data, path)
            return Decoded(wide, bits, wide.shape[:2], lossy)
        load_upright(image)
        return Decoded(image, bits, size_px or image.size[::-1], lossy)


def used_range(path: AnyPath) -> tuple[int, int] | None:
    """Say how many bits a file says its samples use, and their largest value.

    Returns:
        None where they have 8 bits at most, which the header tells, or the file can't be read.
    """
    try:
        with path.open("rb") as file:
            with Image.open(file, formats=READABLE) as image:
                file.seek(0)
                if sample_bits(image, file.read(_HEADER_BYTES)) <= 8:
                    return None
            file.seek(0)
            decoded = decode(file.read(), path)
    except Exception:  # reading it will tell
        return None
    assert not isinstance(decoded.pixels, Image.Image)
    return decoded.bits, largest_value(decoded.pixels)


def reading_bytes(path: AnyPath, draft_px: int | None = None) -> int:
    """Say by a picture's header how many bytes reading it takes at most, its RGB included.

    Args:
        path: the file.
        draft_px: as for :func:`decode`.

    Returns:
        0 where the file can't be read.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=READABLE) as image:
            num_file = file.seek(0, os.SEEK_END)
            file.seek(0)
            wide = sample_bits(image, file.read(_HEADER_BYTES)) > 8
            whole = image.width * image.height
            _draft(image, draft_px)
            return num_file + _pixel_bytes(image, wide, whole)
    except Exception:  # reading it will tell
        return 0


def _format(image: Image.Image) -> Format:
    """What is known of an opened picture's format; a camera's MPO is a JPEG."""
    return FORMATS["JPEG" if image.format == "MPO" else str(image.format)]


def _pixel_bytes(image: Image.Image, wide: bool, whole: int) -> int:
    """Bytes that an opened picture, maybe a draft of so many px, takes at a time to decode."""
    coefficients = _COEFFICIENT_BYTES * whole * bool(image.info.get("progressive"))
    at_a_time = _wide_bytes(image) if wide else _narrow_bytes(image)
    at_a_time += _format(image).buffer_bytes
    return int(coefficients + image.width * image.height * at_a_time)


def _wide_bytes(image: Image.Image) -> int:
    """Bytes per px at a time: two decoders' pixels, compared; grey is scaled, then made RGB."""
    return 28 if len(image.getbands()) > 1 else 8


def _narrow_bytes(image: Image.Image) -> int:
    """Bytes per px at a time: Pillow has 4 where there are several bands, else 1."""
    if image.has_transparency_data:
        return 16  # as it is, as RGBA, white, and over white
    own = 4 if len(image.getbands()) > 1 else 1
    told = image.format != "PNG" or "exif" in image.info  # else Pillow decodes all to look for it
    turned = told and image.getexif().get(ORIENTATION, 1) != 1
    return own + 4 * (turned or image.mode != "RGB")


@contextmanager
def _damage_told(path: AnyPath) -> Iterator[None]:
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


def _open(data: bytes, path: AnyPath, most_px: int) -> ImageFile.ImageFile:
    """Open a file at its one picture, which is not decoded yet."""
    image = Image.open(BytesIO(data), formats=READABLE)
    pages = _pages(image, data)
    if len(pages) > 1:
        raise PictureError(
            f"file {path} holds {len(pages)} pictures, one is wanted: save each as its own file"
        )
    image.seek(pages[0])
    width, height = image.size
    if width * height > most_px:
        raise PictureError(f"picture {path} has {width}×{height} px; at most {most_px:,} px work")
    return image


def _pages(image: ImageFile.ImageFile, data: bytes) -> list[int]:
    """The numbers of the pictures in a file; at least one.

    Not among them is what only goes with a picture: smaller copies and masks in a TIFF, and all
    but the first of a camera's JPEG, which are previews, depths or gains.
    """
    count = getattr(image, "n_frames", 1) if image.format != "TIFF" else _pages_of_tiff(image)
    if image.format == "MPO":
        count = 1
    elif image.format == "PPM" and (header := NETPBM.match(data)):
        end = header.end() + raw_bytes(image, header)
        count += data[end:].lstrip().startswith(b"P")
    if count > 1 and isinstance(image, TiffImageFile):
        return [page for page in range(count) if not _goes_with_another(image, page)] or [0]
    return list(range(count))


def _pages_of_tiff(image: ImageFile.ImageFile) -> int:
    """How many pages there are, of very many 1,000: each costs time."""
    number = 1
    with suppress(EOFError):
        while number < _MOST_PAGES:
            image.seek(number)
            number += 1
    return number


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
    return (width, height) if is_on_its_side(image) else (height, width)


def _is_lossy(image: ImageFile.ImageFile, data: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in data
    return _format(image).lossy or image.info.get("compression") == "jpeg"
