"""Registration: where a part lies beside where the good ones lie, and the picture moved there.

Beyond the paper. Each patch has a memory of its own, so a part must lie where the good ones did.
How far it was shifted is told by normalised cross-correlation with their mean, at half the input's
size. A picture is moved by whole px of its own. What it does not show then is taken from the mean,
and judged by nobody.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.pictures.preparing import Pixels, prepare

_REACH = 0.1  # of each side: as far as a part may be shifted
_COARSER = 2
_ROUNDS = 2  # of bringing pictures together
_APART_PX = 1.0  # by how much two halves of the good pictures may place one otherwise
_LIKENESS = 0.7  # of the least that is usual of a good picture
_ODD = 3 * 1.4826  # median absolute deviations: good pictures that are less alike are odd
_MARGIN_PX = 8  # of the input, a place of a map: what lies beside what is not shown sees it
_FLAT = 1.0  # grey levels: what differs by less shows nothing to align by
_SUPPORT_PX = {"bilinear": 1, "lanczos": 3}  # how far a filter looks, in the coarser px

Grey = NDArray[np.float32]
Seen = NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """A picture's input, its part where the good ones lie.

    Attributes:
        pixels: (H, W, 3) uint8.
        seen: (H, W) bool, what the picture shows of it.
        judged: (H, W) bool, the same but for what lies beside the rest: the network looks around
            each place, and sees that there.
        shift_px: by how many px of the picture the part lies lower and farther right.
        registered: whether the part was found.
    """

    pixels: Pixels
    seen: Seen
    judged: Seen
    shift_px: tuple[int, int] = (0, 0)
    registered: bool = True


@dataclass(frozen=True)
class Registration:
    """Where good parts lie.

    Attributes:
        reference: (H, W, 3) uint8, the mean of good pictures brought together.
        likeness: the least correlation with it that is usual of them.
    """

    reference: Pixels
    likeness: float

    @classmethod
    def of(cls, pictures: Sequence[Pixels]) -> Registration:
        """Learn it.

        Args:
            pictures: (H, W, 3) uint8 each.

        Raises:
            PictureError: parts can't be registered: two halves of the pictures would place them
                otherwise, or there is nothing to see, or no picture.
        """
        if not pictures:
            raise PictureError("no nominal picture could be read; give a folder of good pictures")
        reference = _brought_together(pictures)
        template = _template(reference)
        if float(template.std()) < _FLAT:
            raise PictureError(
                "parts can't be registered: the middle of the good pictures shows nothing to align "
                "by; leave --align out"
            )
        if len(pictures) >= 4:
            halves = [_template(_brought_together(pictures[first::2])) for first in (0, 1)]
            apart = _apart([[_find(half, one)[:2] for one in pictures] for half in halves])
            if apart > _APART_PX:
                raise PictureError(
                    f"parts can't be registered: two halves of the good pictures place a part "
                    f"{apart:.1f} px apart (more than {_APART_PX:g}); do they turn, or show a "
                    "surface? Leave --align out"
                )
        found = np.array([_find(template, one)[2] for one in pictures])
        median = np.median(found)
        return cls(reference, float(median - _ODD * np.median(np.abs(found - median))))

    @functools.cached_property
    def _template(self) -> Grey:
        return _template(self.reference)

    def place(self, image: Image.Image, size_px: tuple[int, int], to: Preprocessing) -> Placed:
        """Prepare a picture so that its part lies where the good ones do.

        Args:
            image: 8-bit RGB; of another size than the picture where it is but a draft of it.
            size_px: the picture's own height and width.
            to: how pictures are prepared.
        """
        pixels = prepare(image, to)
        whole = np.ones(pixels.shape[:2], bool)
        rows, columns, likeness = _find(self._template, pixels)
        if likeness <= 0 or likeness < _LIKENESS * self.likeness:
            return Placed(pixels, whole, whole, registered=False)
        sides = zip((rows, columns), size_px, to.resize_px, strict=True)
        down, right = (round(px * own / resized) for px, own, resized in sides)
        if (down, right) == (0, 0):
            return Placed(pixels, whole, whole)
        y = round(down * image.height / size_px[0])
        x = round(right * image.width / size_px[1])
        moved = prepare(image.crop((x, y, x + image.width, y + image.height)), to)
        seen = _seen(y, x, image.size[::-1], to)
        moved[~seen] = self.reference[~seen]
        return Placed(moved, seen, judged_of(seen), (down, right))


def _seen(y: int, x: int, size: tuple[int, int], to: Preprocessing) -> Seen:
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


def _find(template: Grey, pixels: Pixels) -> tuple[float, float, float]:
    """By how many px of the input a part lies lower and farther right, and the correlation: -1
    where it lies farther than a tenth.
    """
    shown = _grey(pixels)
    rows, columns = _margins(shown)
    likeness = cv2.matchTemplate(shown, template, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(likeness.argmax()), likeness.shape)
    if y in (0, 2 * rows) or x in (0, 2 * columns):
        return 0.0, 0.0, -1.0  # it lies farther than was looked
    down = y - rows + _between(likeness[:, x], int(y))
    right = x - columns + _between(likeness[y], int(x))
    return _COARSER * float(down), _COARSER * float(right), float(likeness[y, x])


def _margins(grey: Grey) -> tuple[int, int]:
    height, width = grey.shape
    return max(round(height * _REACH), 1), max(round(width * _REACH), 1)


def _template(pixels: Pixels) -> Grey:
    """What of a picture is looked for in others: its middle."""
    grey = _grey(pixels)
    rows, columns = _margins(grey)
    height, width = grey.shape
    return np.ascontiguousarray(grey[rows : height - rows, columns : width - columns])


def _between(values: NDArray[Any], at: int) -> float:
    """Where beside its greatest value, at no end, a line has its top: a parabola through three."""
    before, top, after = (float(one) for one in values[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend


def _grey(pixels: Pixels) -> Grey:
    height, width = pixels.shape[0] // _COARSER, pixels.shape[1] // _COARSER
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _brought_together(pictures: Sequence[Pixels]) -> Pixels:
    """The mean of pictures, each moved to where the mean of before has its part; as many lie
    higher as lower, and farther left as right.
    """
    reference = pictures[0]
    for _ in range(_ROUNDS):
        template = _template(reference)
        shifts = np.array([_find(template, one)[:2] for one in pictures])
        shifts -= np.median(shifts, axis=0)
        moved = [_moved(one, *shift) for one, shift in zip(pictures, shifts, strict=True)]
        reference = np.rint(np.mean(moved, axis=0)).astype(np.uint8)
    return reference


def _moved(pixels: Pixels, down: float, right: float) -> Pixels:
    """A picture moved back by so many px; what comes in from outside goes on from the rim."""
    height, width = pixels.shape[:2]
    back = np.array([[1, 0, -right], [0, 1, -down]], dtype=np.float32)
    moved = cv2.warpAffine(
        pixels, back, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.astype(np.uint8)


def _apart(places: Sequence[Sequence[tuple[float, float]]]) -> float:
    """How far two halves place pictures apart: the median, but for one shift of all."""
    first, second = (np.array(one) for one in places)
    between = first - second
    between -= np.median(between, axis=0)
    return float(np.median(np.linalg.norm(between, axis=1)))
