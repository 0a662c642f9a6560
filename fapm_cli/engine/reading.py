"""Reading: pictures from disk, and frames, prepared ahead of the engine, in order."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fapm_cli.config import Preprocessing
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.feeding import batched, in_order
from fapm_cli.finding import Unreadable
from fapm_cli.images import Frame, Picture, frame_picture, prepare, read_mask, read_picture


@dataclass(frozen=True)
class Prepared:
    """A picture ready for the engine.

    Attributes:
        picture: decoded as far as the engine needs it.
        pixels: (H, W, 3) uint8, the backbone's input.
    """

    picture: Picture
    pixels: Tensor


Item = Path | Frame | Unreadable
"""What pictures are made of: a file, a frame, or what is known to be unreadable."""


def prepare_item(item: Item, preprocessing: Preprocessing) -> Prepared | Unreadable:
    """Read, if that is to be done, and prepare one picture."""
    if isinstance(item, Unreadable):
        return item
    if isinstance(item, Frame):
        picture = frame_picture(item)
    else:
        try:
            picture = read_picture(item, preprocessing.bit_depth, preprocessing)
        except PictureError as error:
            return Unreadable(item, error)
    return Prepared(picture, torch.from_numpy(prepare(picture.image, preprocessing)))


def read_roi(path: Path, preprocessing: Preprocessing) -> Tensor | None:
    """Read a region of interest: a mask of the pictures, white where to inspect, else black.

    Returns:
        (H, W) bool over the input's px; None where all of it is white.

    Raises:
        PictureError: it can't be read, or is no mask but a photograph.
        OptionError: nothing in it is white.
    """
    mask = read_mask(path, preprocessing, two_valued=True)
    if not mask.any():
        raise OptionError(f"ROI {path} is black all over: paint white what is to be inspected")
    return None if mask.all() else torch.from_numpy(mask)


def read_batches(
    items: Iterable[Item | None], preprocessing: Preprocessing, batch_size: int
) -> Iterator[list[Prepared | Unreadable]]:
    """Read and prepare pictures in threads; an unreadable one stands in its place."""
    work = functools.partial(prepare_item, preprocessing=preprocessing)
    return batched(in_order(items, work, ahead=max(2 * batch_size, 8)), batch_size)
