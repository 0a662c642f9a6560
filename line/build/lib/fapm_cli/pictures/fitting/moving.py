"""Moving: a picture brought to where the good ones lie, and what it shows of the part then.

A shifted picture is moved by whole px of its own, which changes none of them. A turned one is
resampled (bicubic).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.config import Preprocessing
from fapm_cli.pictures.fitting.pose import Pose
from fapm_cli.pictures.preparing import Pixels, prepare

_MARGIN_PX = 8  # of the input, a place of a map: what lies beside what is not shown sees it
_SUPPORT_PX = {"bilinear": 1, "lanczos": 3}  # how far a filter looks, in the coarser px
_FINER = 4  # times the input's px are enough to turn
_MOST_PX = 2**15 - 2  # of a side: as many can be turned

Seen = NDArray[np.bool_]


def upright(
    image: Image.Image, pose: Pose, size_px: tuple[int, int], to: Preprocessing
) -> tuple[Pixels, Seen]:
    """Prepare a picture with its part where the good ones have it.

    Args:
        image: 8-bit RGB; of another size than the picture where it is but a draft of it.
        pose: how the part lies in the picture.
        size_px: the picture's own height and width.
        to: how pictures are prepared.

    Returns:
        (H, W, 3) uint8, and (H, W) bool: what of it the picture shows; all else is made up.
    """
    if pose.turn:
        image = _reduced(image, to)
    size = image.size[::-1]
    here = pose.at(size_px, size)
    if pose.turn:
        return prepare(_turned_back(image, here), to), _seen_turned(here, size, to)
    y, x = here.shift_px
    moved = image.crop((x, y, x + image.width, y + image.height))
    return prepare(moved, to), seen_shifted(y, x, size, to)


def _reduced(image: Image.Image, to: Preprocessing) -> Image.Image:
    """A picture of no more px than it takes to turn it."""
    finer = min(
        own // (_FINER * px) for own, px in zip(image.size[::-1], to.resize_px, strict=True)
    )
    times = max(finer, math.ceil(max(image.size) / _MOST_PX))
    return image.reduce(times) if times > 1 else image


def _turned_back(image: Image.Image, pose: Pose) -> Image.Image:
    """A picture without its pose; what comes in from outside goes on from the rim."""
    turned = cv2.warpAffine(
        np.asarray(image),
        pose.matrix(image.size[::-1]),
        image.size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return Image.fromarray(turned.astype(np.uint8, copy=False))


def _seen_turned(pose: Pose, size: tuple[int, int], to: Preprocessing) -> Seen:
    """What of the input a picture shows that had that pose: px with their centre in it. There is
    nothing else in them: its rim goes on.
    """
    seen = np.ones(to.crop_px, bool)
    for at, own in zip(pose.in_picture(size, to), size, strict=True):
        seen &= (at >= -0.5) & (at <= own - 0.5)
    return seen


def seen_shifted(y: int, x: int, size: tuple[int, int], to: Preprocessing) -> Seen:
    """What of the input is there of a picture that was moved by so many px."""
    inside = []
    for shift, own, resized, cropped in zip((y, x), size, to.resize_px, to.crop_px, strict=True):
        scale, margin = resized / own, (resized - cropped) // 2
        at = np.arange(cropped) + margin
        reach = _SUPPORT_PX[to.resampling] * max(1.0, scale)
        fading = math.ceil(reach) if shift else 0
        first, end = max(-shift, 0) * scale, (own - max(shift, 0)) * scale
        low = first + fading if shift < 0 else first
        high = end - fading if shift > 0 else end
        inside.append((at >= low) & (at + 1 <= high + 1e-6))
    seen: Seen = inside[0][:, None] & inside[1]
    return seen


def judged_of(seen: Seen) -> Seen:
    """What lies no nearer than the margin to what is not seen."""
    around = np.ones((2 * _MARGIN_PX + 1,) * 2, np.uint8)
    judged: Seen = cv2.dilate((~seen).astype(np.uint8), around) == 0
    return judged
