"""Registration: how a part lies beside how the good ones lie, and the picture moved there.

Beyond the paper. Each patch has a memory of its own, so a part must lie where the good ones did.
How far it was shifted, and turned if that is asked for, is told by correlation with their mean.
What the picture does not show once it is moved back is taken from the mean, and judged by nobody.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fapm_cli.config import Preprocessing
from fapm_cli.errors import PictureError
from fapm_cli.pictures.fitting.correlation import (
    MOST_TURN,
    NOWHERE,
    Found,
    Grey,
    find_shift,
    find_turned,
    moved_back,
    template_of,
)
from fapm_cli.pictures.fitting.moving import Seen, judged_of, upright
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.pictures.preparing import Pixels, prepare

_ROUNDS = 2  # of bringing pictures together
_APART_PX = 1.0  # by how much two halves of the good pictures may place one otherwise
_LIKENESS = 0.7  # of the least that is usual of a good picture
_LOST = 0.25  # of the good pictures: where as many are not found, parts lie anyhow
_ODD = 3 * 1.4826  # median absolute deviations: good pictures that are less alike are odd
_FLAT = 1.0  # grey levels: what differs by less shows nothing to align by
_LEAST_PX = 0.5  # of the input: a turn that moves no px as far is none
_DIGITS = 2  # of degrees
_MOST_ASPECT = 16  # a picture squeezed by more shows no part that could be turned back
_LEAST_SIDE = 4  # of what is looked for


@dataclass(frozen=True)
class Placed:
    """A picture's input, its part where the good ones lie.

    Attributes:
        pixels: (H, W, 3) uint8.
        seen: (H, W) bool, what the picture shows of it.
        judged: (H, W) bool, the same but for what lies beside the rest: the network looks around
            each place, and sees that there.
        pose: how the part lies in the picture.
        registered: whether the part was found.
    """

    pixels: Pixels
    seen: Seen
    judged: Seen
    pose: Pose = UPRIGHT
    registered: bool = True


@dataclass(frozen=True)
class Registration:
    """Where good parts lie.

    Attributes:
        reference: (H, W, 3) uint8, the mean of good pictures brought together.
        likeness: the least correlation with it that is usual of them.
        turns: whether parts are turned back, too, not only shifted.
    """

    reference: Pixels
    likeness: float
    turns: bool = False

    @classmethod
    def of(
        cls,
        pictures: Sequence[Pixels],
        aspects: Sequence[float] | None = None,
        *,
        turns: bool = False,
    ) -> Registration:
        """Learn it.

        Args:
            pictures: (H, W, 3) uint8 each.
            aspects: of each, how much wider than high a px of the part is; None for square.
            turns: whether parts are turned back, too.

        Raises:
            PictureError: parts can't be registered: two halves of the pictures would place them
                otherwise, or there is nothing to see, or no picture.
        """
        if not pictures:
            raise PictureError("no nominal picture could be read; give a folder of good pictures")
        aligner = _Aligner(pictures, aspects or [1.0] * len(pictures), turns)
        reference = aligner.brought_together(slice(None))
        if float(template_of(reference).std()) < _FLAT:
            raise PictureError(
                "parts can't be registered: the middle of the good pictures shows nothing to align "
                "by; leave --align out"
            )
        if len(pictures) >= 4:
            halves = [aligner.brought_together(slice(first, None, 2)) for first in (0, 1)]
            first, second = (aligner.find(half) for half in halves)
            _check_apart(first, second, turns, reference.shape[:2])
        found = np.array([one.likeness for one in aligner.find(reference)])
        median = np.median(found)
        least = float(median - _ODD * np.median(np.abs(found - median)))
        return cls(reference, least, turns)

    @functools.cached_property
    def _template(self) -> Grey:
        return template_of(self.reference)

    def find(self, pixels: Pixels, aspect: float) -> Found:
        """Find the part in an input, of which a px of the part is so much wider than high."""
        if not self.turns:
            return find_shift(self._template, pixels)
        if not 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT:
            return NOWHERE
        template = template_of(self.reference, aspect)
        return (
            NOWHERE if min(template.shape) < _LEAST_SIDE else find_turned(template, pixels, aspect)
        )

    def place(self, image: Image.Image, size_px: tuple[int, int], to: Preprocessing) -> Placed:
        """Prepare a picture so that its part lies where the good ones do.

        Args:
            image: 8-bit RGB; of another size than the picture where it is but a draft of it.
            size_px: the picture's own height and width.
            to: how pictures are prepared.
        """
        pixels = prepare(image, to)
        whole = np.ones(pixels.shape[:2], bool)
        found = self.find(pixels, aspect_of(size_px, to))
        if found.likeness <= 0 or found.likeness < _LIKENESS * self.likeness:
            return Placed(pixels, whole, whole, registered=False)
        pose = _pose(found, size_px, to)
        if pose == UPRIGHT:
            return Placed(pixels, whole, whole)
        moved, seen = upright(image, pose, size_px, to)
        moved[~seen] = self.reference[~seen]
        return Placed(moved, seen, judged_of(seen), pose)


def aspect_of(size_px: tuple[int, int], to: Preprocessing) -> float:
    """How much wider than high a px of a picture is in the input."""
    (height, width), (tall, wide) = size_px, to.resize_px
    return wide * height / (tall * width)


def _pose(found: Found, size_px: tuple[int, int], to: Preprocessing) -> Pose:
    """In px of the picture: whole ones, and no turn that moves nothing."""
    sides = zip((found.down, found.right), size_px, to.resize_px, strict=True)
    down, right = (round(px * own / resized) for px, own, resized in sides)
    farthest = math.radians(abs(found.turn)) * math.hypot(*to.crop_px) / 2
    return Pose((down, right), round(found.turn, _DIGITS) if farthest >= _LEAST_PX else 0.0)


@dataclass(frozen=True)
class _Aligner:
    """Good pictures that are brought together."""

    pictures: Sequence[Pixels]
    aspects: Sequence[float]
    turns: bool

    def find(self, reference: Pixels, some: slice = slice(None)) -> list[Found]:
        """How each of some lies beside a mean."""
        mean = Registration(reference, 0.0, self.turns)
        both = zip(self.pictures[some], self.aspects[some], strict=True)
        return [mean.find(*one) for one in both]

    def brought_together(self, some: slice) -> Pixels:
        """The mean of some, each moved to where the mean of before has its part; as many lie
        higher as lower, farther left as right, and turned to either side.
        """
        pictures, reference = self.pictures[some], self.pictures[some][0]
        for _ in range(_ROUNDS):
            found = np.array([one[:3] for one in self.find(reference, some)])
            found -= np.median(found, axis=0)
            moved = [
                moved_back(picture, (down, right, turn), aspect)
                for picture, (down, right, turn), aspect in zip(
                    pictures, found, self.aspects[some], strict=True
                )
            ]
            reference = np.rint(np.mean(moved, axis=0)).astype(np.uint8)
        return reference


def _check_apart(
    first: Sequence[Found], second: Sequence[Found], turns: bool, size: tuple[int, ...]
) -> None:
    """Check how far two halves place pictures apart: the median, but for one move of all.

    A turn is as far as it moves what lies halfway between the middle and a corner.

    Raises:
        PictureError: too far; or a quarter of the pictures lie farther off than is looked.
    """
    one, other = np.array(first), np.array(second)
    lost = (one[:, 3] <= 0) | (other[:, 3] <= 0)
    if turns and lost.mean() >= _LOST:
        raise PictureError(
            f"parts can't be registered: {lost.sum()} of {len(lost)} good pictures lie farther "
            f"from the rest than a tenth of a side, or {MOST_TURN:g}°; try --align shift, or leave "
            "--align out"
        )
    between = (one - other)[:, :3]
    between -= np.median(between, axis=0)
    between[:, 2] = np.radians(between[:, 2]) * math.hypot(*size) / 4
    apart = float(np.median(np.linalg.norm(between, axis=1)))
    if apart > _APART_PX:
        cause = "look alike turned" if turns else "turn"
        raise PictureError(
            f"parts can't be registered: two halves of the good pictures place a part "
            f"{apart:.1f} px apart (more than {_APART_PX:g}); do they {cause}, or show a "
            f"surface? {'Try --align shift, or leave' if turns else 'Leave'} --align out"
        )
