"""Masks: what a picture marks, at its own size and over the input's px."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.pictures.decoding import decode
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.pictures.picture import read_bytes
from fapm_cli.pictures.preparing import fit
from fapm_cli.pictures.wide_samples import Wide
from fapm_cli.stores.stored import AnyPath

# Of a mask: what compression makes of black, and the share of px that it, and soft edges, put
# between black and white (3.5 % in a 64 px JPEG of quality 20; photographs have 25 % and more).
_NOTHING = 32
_SOFT_SHARE = 0.1


def read_mask(
    path: AnyPath, preprocessing: Preprocessing, *, two_valued: bool = False
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


def fit_mask(
    mask: NDArray[np.bool_], preprocessing: Preprocessing, pose: Pose = UPRIGHT
) -> NDArray[np.bool_]:
    """Resize (nearest pixel) and crop a mask as its pictures are.

    Args:
        mask: (height, width) bool of any size.
        preprocessing: of the pictures.
        pose: how the part lies in the mask's picture; what comes in from outside is not marked.

    Returns:
        (H, W) bool, over the input's px.
    """
    if pose.turn:
        return _sampled(mask, preprocessing, pose)
    image = Image.fromarray(_moved_back(mask, *pose.shift_px).astype(np.uint8) * 255)
    return fit(image, preprocessing, Image.Resampling.NEAREST) > 0


def _moved_back(mask: NDArray[np.bool_], down: int, right: int) -> NDArray[np.bool_]:
    """A mask without a shift."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    rows = slice(max(-down, 0), min(height - down, height))
    columns = slice(max(-right, 0), min(width - right, width))
    own_rows = slice(rows.start + down, rows.stop + down)
    moved[rows, columns] = mask[own_rows, columns.start + right : columns.stop + right]
    return moved


def _sampled(mask: NDArray[np.bool_], to: Preprocessing, pose: Pose) -> NDArray[np.bool_]:
    """What a mask marks at the middle of each px of the input."""
    inside, places = np.ones(to.crop_px, bool), []
    for at, own in zip(pose.in_picture(mask.shape, to), mask.shape, strict=True):
        inside &= (at >= -0.5) & (at < own - 0.5)
        places.append(np.rint(at).astype(int).clip(0, own - 1))
    marks: NDArray[np.bool_] = inside & mask[tuple(places)]
    return marks


def marked(path: AnyPath, *, two_valued: bool = False) -> NDArray[np.bool_]:
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
    decoded = decode(read_bytes(path), path)
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
