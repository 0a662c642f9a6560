"""Pictures: decoding and preparing them, the same way for every command and device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.config import Preprocessing
from fapm_cli.decoding import ALL_BITS, Decoded, Wide, decode, largest_value
from fapm_cli.errors import PictureError

ALPHA_BACKGROUND = (255, 255, 255)

Pixels = NDArray[np.uint8]

# Of a mask: what compression makes of black, and the share of px that it, and soft edges, put
# between black and white (3.5 % in a 64 px JPEG of quality 20; photographs have 25 % and more).
_NOTHING = 32
_SOFT_SHARE = 0.1
_GREY_LEVELS = 4
_STRIP_ROWS = 64
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
class Facts:
    """What is known of a picture beside its px.

    Attributes:
        path: where it came from.
        size_px: the picture's own height and width, upright.
        sha256: of the file's bytes; empty for a frame.
        moment: of a frame, else None.
        bits: how many each sample has, as its file says.
    """

    path: Path
    size_px: tuple[int, int]
    sha256: str
    moment: Moment | None = None
    bits: int = 8


@dataclass(frozen=True)
class Picture(Facts):
    """A decoded picture.

    Attributes:
        image: 8-bit RGB, upright (orientation tags applied); smaller than the picture where only
            a draft was asked for.
    """

    image: Image.Image = field(kw_only=True)

    @property
    def facts(self) -> Facts:
        """All but the px, which a large picture has many of."""
        return Facts(self.path, self.size_px, self.sha256, self.moment, self.bits)


def frame_picture(frame: Frame) -> Picture:
    """Make a picture of a frame."""
    height, width = frame.bgr.shape[:2]
    bgr = np.ascontiguousarray(frame.bgr)
    image = Image.frombuffer("RGB", (width, height), bgr, "raw", "BGR", 0, 1)
    return Picture(frame.path, (height, width), "", frame.moment, image=image)


def array_picture(pixels: Pixels) -> Picture:
    """Make a picture of an array.

    Args:
        pixels: (height, width, 3) uint8 RGB.

    Raises:
        PictureError: it is anything else.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise PictureError(
            f"picture is an array of {pixels.dtype} {pixels.shape}; wanted (height, width, 3) "
            "uint8, RGB"
        )
    image = Image.fromarray(pixels)
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return Picture(Path("array"), (image.height, image.width), digest, image=image)


def read_picture(
    path: Path, bit_depth: int = ALL_BITS, draft_for: Preprocessing | None = None
) -> Picture:
    """Read and decode one picture.

    Grey, palette and CMYK become RGB, alpha is laid over white, orientation tags are applied.

    Args:
        path: the file.
        bit_depth: of pictures whose samples have more than 8 bits, how many are used: as many
            ones are white.
        draft_for: decode no more than this preprocessing needs; None for every pixel.

    Raises:
        PictureError: the file is missing, empty, damaged, not a picture, too large, several
            pictures, or brighter than ``bit_depth`` allows.
    """
    data = _read(path)
    decoded = decode(data, path, None if draft_for is None else draft_px(draft_for))
    image = to_rgb(decoded, bit_depth, path)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(path, decoded.size_px, digest, bits=decoded.bits, image=image)


def draft_px(preprocessing: Preprocessing) -> int | None:
    """The shorter side that a JPEG is decoded to at least; None for its own."""
    return 2 * max(preprocessing.resize_px) if preprocessing.jpeg_draft else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"picture {path} does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"picture {path} can't be read: {error}") from error


def to_rgb(decoded: Decoded, bit_depth: int, path: Path) -> Image.Image:
    """Turn what a file holds into 8-bit RGB.

    Raises:
        PictureError: its values have no fixed range (32 bit), or exceed that of ``bit_depth``.
    """
    image = decoded.pixels
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_narrow(image, bit_depth, path))
    if image.mode in ("F", "I"):
        raise PictureError(f"picture {path} has 32-bit pixels of no fixed range; save 8 or 16 bit")
    if image.has_transparency_data:
        image = _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """Lay a picture over white; where no pixel of it is visible, alpha has no meaning."""
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    if image.getchannel("A").getbbox() is None:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*ALPHA_BACKGROUND, 255)), image)


def _narrow(wide: Wide, bit_depth: int, path: Path) -> Pixels:
    """Scale samples of so many bits to 8, rounded; none is clipped.

    Raises:
        PictureError: one is larger.
    """
    top = (1 << bit_depth) - 1
    if (largest := largest_value(wide)) > top:
        raise PictureError(
            f"picture {path} has values up to {largest}, beyond the {top} of {bit_depth} bits: "
            "pictures must be recorded as those of the bank; or build it with --bit-depth"
        )
    scaled = ((np.arange(top + 1, dtype=np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    narrow = np.empty(wide.shape, np.uint8)
    for first in range(0, len(wide), _STRIP_ROWS):  # an index takes four times a sample's bytes
        rows = slice(first, first + _STRIP_ROWS)
        narrow[rows] = scaled[np.minimum(wide[rows], top)]  # alpha may exceed it
    return narrow


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and crop a picture to the backbone's input.

    Args:
        image: 8-bit RGB of any size.
        preprocessing: sizes and filter.

    Returns:
        (H, W, 3) uint8 RGB, H×W the crop.
    """
    return _fit(image, preprocessing, _FILTERS[preprocessing.resampling])


def is_grey(pixels: Pixels) -> bool:
    """Whether a picture's channels are equal everywhere, but for what compression does."""
    red, green, blue = (pixels[..., i] for i in range(3))
    low, high = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    return int((high - low).max()) <= _GREY_LEVELS


def _fit(image: Image.Image, preprocessing: Preprocessing, resample: Image.Resampling) -> Pixels:
    height, width = preprocessing.resize_px
    resized = image.resize((width, height), resample)
    crop_height, crop_width = preprocessing.crop_px
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return np.array(resized)[top : top + crop_height, left : left + crop_width].copy()


def read_mask(
    path: Path, preprocessing: Preprocessing, *, two_valued: bool = False
) -> NDArray[np.bool_]:
    """Read what a picture marks, over the input's px.

    Args:
        path: the file, of any size.
        preprocessing: the mask is resized (nearest pixel) and cropped as the pictures are.
        two_valued: as for :func:`marked`.

    Returns:
        (H, W) bool.

    Raises:
        PictureError: it can't be read, or is no mask.
    """
    return fit_mask(marked(path, two_valued=two_valued), preprocessing)


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


def marked(path: Path, *, two_valued: bool = False) -> NDArray[np.bool_]:
    """Read what a picture marks, upright and at its own size: what is not black or transparent.

    Values may be labels, and each marks its px. Where there are two but for compression and soft
    edges, marked is what exceeds half of the larger one.

    Args:
        path: the file.
        two_valued: whether there must be two; a lossy file's must be at any rate, since
            compression leaves no black black.

    Returns:
        (height, width) bool.

    Raises:
        PictureError: it can't be read, or has more than two values where that is asked for.
    """
    decoded = decode(_read(path), path)
    brightness = _brightness(decoded.pixels)
    if not (two_valued or decoded.lossy):
        return brightness > 0
    high = float(brightness.max())
    if decoded.lossy and high < _NOTHING:
        return np.zeros(brightness.shape, dtype=bool)
    between = float(((brightness > high / 8) & (brightness < high * 7 / 8)).mean())
    if between > _SOFT_SHARE:
        raise PictureError(
            f"mask {path} has more than two values: {between:.0%} of its px are neither dark nor "
            "bright, as in a photograph; paint white what is meant, all else black"
        )
    return brightness > high / 2


def _brightness(pixels: Image.Image | Wide) -> NDArray[Any]:
    """(height, width), each px's largest sample, 0 where it is transparent."""
    if isinstance(pixels, Image.Image):
        if pixels.has_transparency_data:
            pixels = pixels.convert("LA" if pixels.mode == "La" else "RGBA").convert("RGBA")
        elif pixels.mode not in ("1", "L", "I", "F"):
            pixels = pixels.convert("RGB")
        pixels = np.asarray(pixels)
    if pixels.ndim == 2:
        return pixels
    bright: NDArray[Any] = pixels[..., :3].max(axis=2)
    if pixels.shape[2] == 4 and pixels[..., 3].any():
        bright = np.where(pixels[..., 3] > 0, bright, 0)
    return bright
