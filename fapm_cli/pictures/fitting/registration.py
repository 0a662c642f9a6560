"""Registration: where a part lies beside where the good ones lie, and the picture moved there.

Beyond the paper. Each patch has a memory of its own, so a part must lie where the good ones did.
How far it was shifted is told by normalised cross-correlation with their mean, at half the input's
size. A picture is moved by whole px of its own. What it does not show then is taken from the mean,
and judged by nobody.
"""

from __future__ import annotations

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
_LIKENESS = 0.7  # of the least that a good picture has
_FADING_PX = 1  # of the input, that resizing mixes with what lies outside

Grey = NDArray[np.float32]
Seen = NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """A picture's input, its part where the good ones lie.

    Attributes:
        pixels: (H, W, 3) uint8.
        seen: (H, W) bool, what the picture shows of it.
        shift_px: by how many px of the picture the part lies lower and farther right.
        registered: whether the part was found.
    """

    pixels: Pixels
    seen: Seen
    shift_px: tuple[int, int] = (0, 0)
    registered: bool = True


@dataclass(frozen=True)
class Registration:
    """Where good parts lie.

    Attributes:
        reference: (H, W, 3) uint8, the mean of good pictures brought together.
        likeness: the least correlation that one of them has with it.
    """

    reference: Pixels
    likeness: float

    @classmethod
    def of(cls, pictures: Sequence[Pixels]) -> Registration:
        """Learn it.

        Args:
            pictures: (H, W, 3) uint8 each, at least one.

        Raises:
            PictureError: parts can't be registered: two halves of the pictures would place them
                otherwise.
        """
        reference = _brought_together(pictures)
        if len(pictures) >= 4:
            halves = [_brought_together(pictures[first::2]) for first in (0, 1)]
            apart = _apart([[_find(half, one)[:2] for one in pictures] for half in halves])
            if apart > _APART_PX:
                raise PictureError(
                    f"parts can't be registered: two halves of the good pictures place a part "
                    f"{apart:.1f} px apart (more than {_APART_PX:g}); do they turn, or show a "
                    "surface? Leave --align out"
                )
        return cls(reference, min(_find(reference, one)[2] for one in pictures))

    def place(self, image: Image.Image, size_px: tuple[int, int], to: Preprocessing) -> Placed:
        """Prepare a picture so that its part lies where the good ones do.

        Args:
            image: 8-bit RGB; of another size than the picture where it is but a draft of it.
            size_px: the picture's own height and width.
            to: how pictures are prepared.
        """
        pixels = prepare(image, to)
        whole = np.ones(pixels.shape[:2], bool)
        rows, columns, likeness = _find(self.reference, pixels)
        if likeness < _LIKENESS * self.likeness:
            return Placed(pixels, whole, registered=False)
        sides = zip((rows, columns), size_px, to.resize_px, strict=True)
        down, right = (round(px * own / resized) for px, own, resized in sides)
        if (down, right) == (0, 0):
            return Placed(pixels, whole)
        y = round(down * image.height / size_px[0])
        x = round(right * image.width / size_px[1])
        moved = prepare(image.crop((x, y, x + image.width, y + image.height)), to)
        seen = _seen(y, x, image.size[::-1], to)
        moved[~seen] = self.reference[~seen]
        return Placed(moved, seen, (down, right))


def _seen(y: int, x: int, size: tuple[int, int], to: Preprocessing) -> Seen:
    """What of the input is there of a picture that was moved by so many px."""
    inside = []
    for shift, own, resized, cropped in zip((y, x), size, to.resize_px, to.crop_px, strict=True):
        scale, margin = resized / own, (resized - cropped) // 2
        at = np.arange(cropped) + margin
        fading = _FADING_PX if shift else 0
        first, end = max(-shift, 0) * scale, (own - max(shift, 0)) * scale
        low = first + fading if shift < 0 else first
        high = end - fading if shift > 0 else end
        inside.append((at >= low) & (at + 1 <= high + 1e-6))
    seen: Seen = inside[0][:, None] & inside[1]
    return seen


def _find(reference: Pixels, pixels: Pixels) -> tuple[float, float, float]:
    """By how many px of the input a part lies lower and farther right, and the correlation."""
    wanted, shown = _grey(reference), _grey(pixels)
    height, width = wanted.shape
    rows, columns = round(height * _REACH), round(width * _REACH)
    middle = np.ascontiguousarray(wanted[rows : height - rows, columns : width - columns])
    likeness = cv2.matchTemplate(shown, middle, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(likeness.argmax()), likeness.shape)
    down = y - rows + _between(likeness[:, x], int(y))
    right = x - columns + _between(likeness[y], int(x))
    return _COARSER * float(down), _COARSER * float(right), float(likeness[y, x])


def _between(values: NDArray[Any], at: int) -> float:
    """Where beside its greatest value a line has its top, by the parabola through three."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, top, after = (float(one) for one in values[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend


def _grey(pixels: Pixels) -> Grey:
    height, width = pixels.shape[0] // _COARSER, pixels.shape[1] // _COARSER
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _brought_together(pictures: Sequence[Pixels]) -> Pixels:
    """The mean of pictures, each moved to where the mean of before has its part."""
    reference = pictures[0]
    for _ in range(_ROUNDS):
        moved = [_moved(one, *_find(reference, one)[:2]) for one in pictures]
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
