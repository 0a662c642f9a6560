"""Reading: pictures from disk, and frames, prepared ahead of the engine, in order."""

from __future__ import annotations

import functools
import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.compute.cores import usable_cores
from fapm_cli.config import Preprocessing
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.decoding import reading_bytes
from fapm_cli.pictures.fitting.light import Light, Lit
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.pictures.fitting.registration import Placed, Registration
from fapm_cli.pictures.masks import read_mask
from fapm_cli.pictures.measures import Measures, measure
from fapm_cli.pictures.picture import (
    Encoded,
    Facts,
    Frame,
    Picture,
    array_picture,
    draft_px,
    frame_picture,
    read_picture,
)
from fapm_cli.pictures.preparing import Pixels, in_grey, is_grey, prepare
from fapm_cli.pictures.read_ahead import InOrder, Room, batched, in_order
from fapm_cli.pictures.seen import LIGHT, PLACE, Seen
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import AnyPath


@dataclass(frozen=True)
class Prepared:
    """A picture ready for the engine.

    Attributes:
        picture: what is known of it; its own px are not kept.
        pixels: (H, W, 3) uint8, what it shows.
        grey: whether that is grey.
        lit: the same in the light of a bank's pictures; None where that is not asked for.
        placed: where its part lies; None where that is not asked for.
    """

    picture: Facts
    pixels: Pixels
    grey: bool
    lit: Lit | None = None
    placed: Placed | None = None

    @property
    def input(self) -> NDArray[Any]:
        """(H, W, 3), the backbone's input: uint8, or float32 in another light than its own. Of a
        placed picture (H, W, 4): the fourth says what is judged, 255, or not, 0.
        """
        shown = self.pixels if self.lit is None else self.lit.pixels
        if self.placed is None:
            return shown
        judged = self.placed.judged[..., np.newaxis] * shown.dtype.type(255)
        return np.concatenate([shown, judged], axis=2)

    @property
    def differs(self) -> list[str]:
        """In what it could not be fitted to a bank's pictures, or hardly, as keys of
        :data:`fapm_cli.pictures.seen.DIFFERENCES`.
        """
        found = [PLACE] if self.placed is not None and not self.placed.registered else []
        return [*found, LIGHT] if self.lit is not None and self.lit.differs else found

    @property
    def pose(self) -> Pose:
        """How its part lies in the picture, beside how good ones lie."""
        return UPRIGHT if self.placed is None else self.placed.pose

    @property
    def judged(self) -> NDArray[np.bool_] | None:
        """(H, W) bool, what is judged of a picture that was moved; None for all."""
        return None if self.placed is None else self.placed.judged

    def measures(self, inspected: NDArray[np.bool_] | None = None) -> Measures:
        """How bright, how sharp and where it is; of a placed one where its part lies.

        Args:
            inspected: (H, W) bool, what counts; None for all.
        """
        measured = measure(self.pixels, inspected)
        if self.placed is None:
            return measured
        (down, right), (height, width) = self.pose.shift_px, self.picture.size_px
        return measured.moved(right / width, down / height)

    @property
    def like(self) -> Seen:
        """What it is like, beside what it shows."""
        return Seen.one(self.grey, self.picture.size_px, self.picture.bits, self.picture.lossy)


_room = Room(2 * 2**30)  # for pictures that are decoded at a time, however many the threads

_LEAST_SHOWN = 0.5  # of what is inspected: a picture that shows less of it says too little
_WAITING_BYTES = 128 * 2**20  # of prepared px

Item = str | AnyPath | Encoded | Pixels | Frame | Unreadable
"""What pictures are made of: a file, its bytes, an array, a frame, or what is known unreadable."""
PartOf = Callable[[AnyPath, str], str]
"""Names the part that a picture shows, by its file and its name in the bank."""


@dataclass(frozen=True)
class Fitting:
    """How pictures are fitted to those of a bank; None: not.

    Attributes:
        registration: where its parts lie.
        light: of its pictures.
        roi: (H, W) bool, where that is looked at; None for all.
        grey: whether they are grey: colour tells nothing then, but of the light.
    """

    registration: Registration | None = None
    light: Light | None = None
    roi: NDArray[np.bool_] | None = None
    grey: bool = False

    def hides(self, placed: Placed) -> str | None:
        """Say so if a placed picture shows too little of the region to be judged by; else None."""
        if self.roi is None or (share := placed.judged[self.roi].mean()) >= _LEAST_SHOWN:
            return None
        down, right = placed.pose.shift_px
        return (
            f"its part lies so far off ({right} px to the right, {down} px down) that it shows "
            f"only {share:.0%} of what is inspected"
        )

    def relight(self, pixels: Pixels, grey: bool, placed: Placed | None) -> Lit | None:
        """Bring px, grey or not, to the light, what the picture does not show apart: that is in it
        already.
        """
        if self.light is None:
            return None
        if self.grey and not grey:
            pixels = in_grey(pixels)
        if placed is None or self.registration is None:
            return self.light.correct(pixels, self.roi)
        lit = self.light.correct(
            pixels, placed.seen if self.roi is None else placed.seen & self.roi
        )
        if lit.pixels is not pixels:
            lit.pixels[~placed.seen] = self.registration.reference[~placed.seen]
        return lit


AS_IT_IS = Fitting()


def prepare_item(
    item: Item, preprocessing: Preprocessing, fitting: Fitting = AS_IT_IS
) -> Prepared | Unreadable:
    """Read, if that is to be done, and prepare one picture."""
    if isinstance(item, Unreadable):
        return item
    if isinstance(item, Frame):
        picture = frame_picture(item)
    elif isinstance(item, np.ndarray):
        picture = array_picture(item)
    else:
        with _room.visit() as enter:
            file = item if isinstance(item, Encoded) else located(item)
            try:
                picture = read_picture(file, preprocessing.bit_depth, preprocessing, enter)
            except PictureError as error:
                return Unreadable(file.path if isinstance(file, Encoded) else file, error)
            return _prepared(picture, preprocessing, fitting)
    return _prepared(picture, preprocessing, fitting)


def _prepared(
    picture: Picture, preprocessing: Preprocessing, fitting: Fitting
) -> Prepared | Unreadable:
    placed = None
    if fitting.registration is None:
        pixels = prepare(picture.image, preprocessing)
    else:
        placed = fitting.registration.place(picture.image, picture.size_px, preprocessing)
        pixels = placed.pixels
        if (why := fitting.hides(placed)) is not None:
            return Unreadable(picture.path, PictureError(f"picture {picture.path}: {why}"))
    grey = is_grey(pixels)
    return Prepared(picture.facts, pixels, grey, fitting.relight(pixels, grey, placed), placed)


def read_roi(path: str | Path, preprocessing: Preprocessing) -> NDArray[np.bool_] | None:
    """Read a region of interest: a mask of the pictures, white where to inspect, else black.

    Returns:
        (H, W) bool over the input's px; None where all of it is white.

    Raises:
        PictureError: it can't be read, or is no mask but a photograph.
        OptionError: nothing in it is white.
    """
    mask = read_mask(located(path), preprocessing, two_valued=True)
    if not mask.any():
        raise OptionError(f"ROI {path} is black all over: paint white what is to be inspected")
    return None if mask.all() else mask


def read_batches(
    items: Iterable[Item | None],
    preprocessing: Preprocessing,
    batch_size: int,
    fitting: Fitting = AS_IT_IS,
    read: InOrder = in_order,
) -> Iterator[list[Prepared | Unreadable]]:
    """Read and prepare pictures in threads, or as ``read`` does; an unreadable one stands in its
    place.

    Of large inputs there are fewer in a batch, and fewer wait.
    """
    work = functools.partial(prepare_item, preprocessing=preprocessing, fitting=fitting)
    there = max(_WAITING_BYTES // (3 * math.prod(preprocessing.crop_px)), 1)
    ahead = min(max(2 * batch_size, 8), there)
    return batched(read(items, work, ahead), min(batch_size, there))


def memory_to_read(files: Iterable[Item], preprocessing: Preprocessing) -> int:
    """Say by the pictures' headers how many bytes reading them takes at most.

    That is of one per thread, as far as there is room for them.
    """
    work = functools.partial(reading_bytes, draft_px=draft_px(preprocessing))
    paths = (located(file) for file in files if isinstance(file, str | AnyPath))
    largest = heapq.nlargest(usable_cores(), in_order(paths, work))
    return min(sum(largest), max(_room.num_bytes, *largest[:1]) if largest else 0)
