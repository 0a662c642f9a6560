"""Preparing: from a picture of any size to the backbone's input, the same everywhere."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.config import Preprocessing

Pixels = NDArray[np.uint8]
_GREY_LEVELS = 4
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Resize and crop a picture to the backbone's input.

    Args:
        image: 8-bit RGB of any size.
        preprocessing: sizes and filter.

    Returns:
        (H, W, 3) uint8 RGB, H×W the crop.
    """
    return fit(image, preprocessing, _FILTERS[preprocessing.resampling])


@functools.cache
def shrinks_down_first() -> bool:
    """Whether Pillow makes tall pictures lower before it makes them narrower, as it does from some
    version on: px are rounded in between.
    """
    tall = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 4, 3), np.uint8))
    bilinear, size = _FILTERS["bilinear"], (16, 16)
    at_once, down, across = (
        np.asarray(first.resize(size, bilinear))
        for first in (tall, tall.resize((4, 16), bilinear), tall.resize((16, 64), bilinear))
    )
    return bool((at_once == down).all() and not (at_once == across).all())


def is_grey(pixels: Pixels) -> bool:
    """Whether a picture's channels are equal everywhere, but for what compression does."""
    red, green, blue = (pixels[..., i] for i in range(3))
    low, high = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    return int((high - low).max()) <= _GREY_LEVELS


def in_grey(pixels: Pixels) -> Pixels:
    """What a camera without colour sees: (H, W, 3), its channels equal (luma, ITU-R BT.601)."""
    return np.array(Image.fromarray(pixels).convert("L").convert("RGB"))


def fit(image: Image.Image, preprocessing: Preprocessing, resample: Image.Resampling) -> Pixels:
    """Resize, and crop at the centre."""
    height, width = preprocessing.resize_px
    resized = image.resize((width, height), resample)
    crop_height, crop_width = preprocessing.crop_px
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    pixels = np.array(resized)
    if preprocessing.crops:
        pixels = pixels[top : top + crop_height, left : left + crop_width].copy()
    return pixels
