"""Pictures: decoding and preparing them, the same way for every command and device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError

ALPHA_BACKGROUND = (255, 255, 255)
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = None  # checked here, with a message of our own

Pixels = NDArray[np.uint8]

_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class Moment:
    """A frame's place in its video or camera.

    Attributes:
        frame: its number, from 0.
        time_s: seconds since the first frame.
    """

    frame: int
    time_s: float


@dataclass(frozen=True)
class Frame:
    """A frame as it was read.

    Attributes:
        path: the video, or a camera's name.
        moment: where in it.
        bgr: (height, width, 3).
    """

    path: Path
    moment: Moment
    bgr: Pixels


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        path: where it came from.
        image: 8-bit RGB, upright (EXIF orientation applied); smaller than the picture where only
            a draft was asked for.
        size_px: the picture's own height and width, upright.
        sha256: of the file's bytes; empty for a frame.
        moment: of a frame, else None.
    """

    path: Path
    image: Image.Image
    size_px: tuple[int, int]
    sha256: str
    moment: Moment | None = None


def frame_picture(frame: Frame) -> Picture:
    """Make a picture of a frame."""
    height, width = frame.bgr.shape[:2]
    bgr = np.ascontiguousarray(frame.bgr)
    image = Image.frombuffer("RGB", (width, height), bgr, "raw", "BGR", 0, 1)
    return Picture(frame.path, image, (height, width), "", frame.moment)


def read_picture(path: Path, draft_for: Preprocessing | None = None) -> Picture:
    """Read and decode one picture.

    16-bit grey is scaled by 257, never clipped; grey, palette and CMYK become RGB; alpha is laid
    over white; EXIF orientation is applied.

    Args:
        path: the file.
        draft_for: decode no more than this preprocessing needs; None for every pixel.

    Raises:
        PictureError: the file is missing, empty, damaged, not a picture, or too large.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"picture {path} does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"picture {path} can't be read: {error}") from error
    if not data:
        raise PictureError(f"picture {path} is empty (0 bytes); copy it again")
    try:
        image, size_px = _decode(data, path, draft_for)
    except UnidentifiedImageError:
        raise PictureError(f"file {path} is not a picture that can be read") from None
    except PictureError:
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise PictureError(f"picture {path} is damaged: {error}") from error
    return Picture(path, image, size_px, hashlib.sha256(data).hexdigest())


def _decode(
    data: bytes, path: Path, draft_for: Preprocessing | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode to upright RGB; also the picture's own height and width, upright."""
    image = Image.open(BytesIO(data))
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"picture {path} has {width}×{height} px; at most {MAX_PIXELS:,} px work"
        )
    if image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE:
        width, height = height, width
    if draft_for is not None and draft_for.jpeg_draft:
        longest = 2 * max(draft_for.resize_px)
        image.draft(None, (longest, longest))  # does nothing to what is no JPEG
    image.load()
    return to_rgb(ImageOps.exif_transpose(image), path), (height, width)


def to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Turn any mode into 8-bit RGB.

    Raises:
        PictureError: the mode has no fixed range (32 bit).
    """
    if image.mode == "RGB":
        return image
    if image.mode in ("F", "I"):
        raise PictureError(f"picture {path} has 32-bit pixels of no fixed range; save 8 or 16 bit")
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (*ALPHA_BACKGROUND, 255))
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and crop a picture to the backbone's input.

    Args:
        image: 8-bit RGB of any size.
        preprocessing: sizes and filter.

    Returns:
        (H, W, 3) uint8 RGB, H×W the crop.
    """
    return _fit(image, preprocessing, _FILTERS[preprocessing.resampling])


def _fit(image: Image.Image, preprocessing: Preprocessing, resample: Image.Resampling) -> Pixels:
    height, width = preprocessing.resize_px
    resized = image.resize((width, height), resample)
    crop_height, crop_width = preprocessing.crop_px
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return np.array(resized)[top : top + crop_height, left : left + crop_width].copy()


def read_mask(path: Path, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """Read what a picture marks: all that is neither black nor transparent.

    Args:
        path: the file, of any size.
        preprocessing: the mask is resized (nearest pixel) and cropped as the pictures are.

    Returns:
        (H, W) bool, over the input's px.

    Raises:
        PictureError: it can't be read.
    """
    return fit_mask(marked(path), preprocessing)


def fit_mask(mask: NDArray[np.bool_], preprocessing: Preprocessing) -> NDArray[np.bool_]:
    """Resize (nearest pixel) and crop a mask as its pictures are.

    Args:
        mask: (height, width) bool of any size.
        preprocessing: of the pictures.

    Returns:
        (H, W) bool, over the input's px.
    """
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return _fit(image, preprocessing, Image.Resampling.NEAREST) > 0


def marked(path: Path) -> NDArray[np.bool_]:
    """Where a mask is neither black nor transparent, at its own size."""
    try:
        with Image.open(path) as image:
            bands = image.convert("RGBA") if image.mode in ("P", "PA") else image
            values = np.asarray(bands)
            alpha = bands.mode.endswith("A")
    except Exception as error:
        raise PictureError(f"mask {path} can't be read: {error}") from error
    if values.ndim == 2:
        return values > 0
    seen = values[..., :-1].any(axis=2) & (values[..., -1] > 0) if alpha else values.any(axis=2)
    return np.asarray(seen, dtype=bool)
