"""A picture in memory, from a file, a frame or an array: 8-bit RGB, upright."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.pictures.decoding import MAX_PIXELS, Decoded, decode
from fapm_cli.pictures.preparing import Pixels
from fapm_cli.pictures.wide_samples import ALL_BITS, Wide, largest_value
from fapm_cli.stores.stored import AnyPath

ALPHA_BACKGROUND = (255, 255, 255)
_STRIP_ROWS = 64


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
class Encoded:
    """A picture's file that is in memory: its name, its bytes, and how many px it may have."""

    path: AnyPath
    data: bytes
    most_px: int = MAX_PIXELS


@dataclass(frozen=True)
class Facts:
    """What is known of a picture beside its px.

    Attributes:
        path: where it came from.
        size_px: the picture's own height and width, upright.
        sha256: of the file's bytes; empty for a frame.
        moment: of a frame, else None.
        bits: how many each sample has, as its file says.
        lossy: whether its file may have changed px to be smaller, as JPEG does; None without one.
    """

    path: AnyPath
    size_px: tuple[int, int]
    sha256: str
    moment: Moment | None = None
    bits: int = 8
    lossy: bool | None = None


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
        return Facts(self.path, self.size_px, self.sha256, self.moment, self.bits, self.lossy)


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


def image_pixels(image: Image.Image) -> Pixels:
    """Pixels of a PIL picture, as if it had been read from a file.

    Returns:
        (height, width, 3) uint8 RGB, upright, alpha laid over white.

    Raises:
        PictureError: its samples have more than 8 bits.
    """
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        raise PictureError(f"picture of mode {image.mode}: 8 bits are wanted; give its file")
    upright = ImageOps.exif_transpose(image)
    decoded = Decoded(upright, 8, upright.size[::-1], lossy=False)
    return np.array(to_rgb(decoded, ALL_BITS, Path("image")))


def read_picture(
    file: AnyPath | Encoded,
    bit_depth: int = ALL_BITS,
    draft_for: Preprocessing | None = None,
    enter: Callable[[int], None] = lambda num_bytes: None,
) -> Picture:
    """Read and decode one picture.

    Grey, palette and CMYK become RGB, alpha is laid over white, orientation tags are applied.

    Args:
        file: where it lies, or what it holds.
        bit_depth: of pictures whose samples have more than 8 bits, how many are used: as many
            ones are white.
        draft_for: decode no more than this preprocessing needs; None for every pixel.
        enter: as for :func:`decode`.

    Raises:
        PictureError: the file is missing, empty, damaged, not a picture, too large, several
            pictures, or brighter than ``bit_depth`` allows.
    """
    encoded = file if isinstance(file, Encoded) else Encoded(file, read_bytes(file))
    path, data = encoded.path, encoded.data
    draft = None if draft_for is None else draft_px(draft_for)
    decoded = decode(data, path, draft, enter, encoded.most_px)
    image = to_rgb(decoded, bit_depth, path)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(
        path, decoded.size_px, digest, bits=decoded.bits, lossy=decoded.lossy, image=image
    )


def read_again(was: Facts, bit_depth: int) -> Picture:
    """Read and decode a picture once more, every pixel.

    Raises:
        PictureError: as of :func:`read_picture`, or its file has changed.
    """
    picture = read_picture(was.path, bit_depth)
    if picture.sha256 != was.sha256:
        raise PictureError(f"picture {was.path} changed after it was judged; draw it again")
    return picture


def draft_px(preprocessing: Preprocessing) -> int | None:
    """The shorter side that a JPEG is decoded to at least; None for its own."""
    return 2 * max(preprocessing.resize_px) if preprocessing.jpeg_draft else None


def read_bytes(path: AnyPath) -> bytes:
    """Read a picture's file.

    Raises:
        PictureError: it is missing, or can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"picture {path} does not exist; check the path") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"picture {path} can't be read: {error}") from error


def to_rgb(decoded: Decoded, bit_depth: int, path: AnyPath) -> Image.Image:
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


def _narrow(wide: Wide, bit_depth: int, path: AnyPath) -> Pixels:
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
