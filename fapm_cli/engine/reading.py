"""Reading: pictures from disk, and frames, prepared ahead of the engine, in order."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fapm_cli.config import Preprocessing
from fapm_cli.decoding import ALL_BITS, reading_bytes, used_range
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.feeding import batched, in_order, usable_cores
from fapm_cli.finding import Unreadable
from fapm_cli.images import (
    Facts,
    Frame,
    Pixels,
    array_picture,
    draft_px,
    frame_picture,
    is_grey,
    prepare,
    read_mask,
    read_picture,
)
from fapm_cli.seen import Seen

_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class Prepared:
    """A picture ready for the engine.

    Attributes:
        picture: what is known of it; its own px are not kept.
        pixels: (H, W, 3) uint8, the backbone's input.
    """

    picture: Facts
    pixels: Tensor

    @property
    def like(self) -> Seen:
        """What it is like, beside what it shows."""
        grey = is_grey(self.pixels.numpy())
        return Seen.one(grey, self.picture.size_px, self.picture.bits)


Item = str | Path | Pixels | Frame | Unreadable
"""What pictures are made of: a file, an array, a frame, or what is known to be unreadable."""


def prepare_item(item: Item, preprocessing: Preprocessing) -> Prepared | Unreadable:
    """Read, if that is to be done, and prepare one picture."""
    if isinstance(item, Unreadable):
        return item
    if isinstance(item, Frame):
        picture = frame_picture(item)
    elif isinstance(item, np.ndarray):
        picture = array_picture(item)
    else:
        try:
            picture = read_picture(Path(item), preprocessing.bit_depth, preprocessing)
        except PictureError as error:
            return Unreadable(Path(item), error)
    return Prepared(picture.facts, torch.from_numpy(prepare(picture.image, preprocessing)))


def read_roi(path: str | Path, preprocessing: Preprocessing) -> Tensor | None:
    """Read a region of interest: a mask of the pictures, white where to inspect, else black.

    Returns:
        (H, W) bool over the input's px; None where all of it is white.

    Raises:
        PictureError: it can't be read, or is no mask but a photograph.
        OptionError: nothing in it is white.
    """
    mask = read_mask(Path(path), preprocessing, two_valued=True)
    if not mask.any():
        raise OptionError(f"ROI {path} is black all over: paint white what is to be inspected")
    return None if mask.all() else torch.from_numpy(mask)


def read_batches(
    items: Iterable[Item | None], preprocessing: Preprocessing, batch_size: int
) -> Iterator[list[Prepared | Unreadable]]:
    """Read and prepare pictures in threads; an unreadable one stands in its place."""
    work = functools.partial(prepare_item, preprocessing=preprocessing)
    return batched(in_order(items, work, ahead=max(2 * batch_size, 8)), batch_size)


def memory_to_read(files: Iterable[Item], preprocessing: Preprocessing) -> int:
    """Say by the pictures' headers how many bytes reading them takes at most: one per thread."""
    work = functools.partial(reading_bytes, draft_px=draft_px(preprocessing))
    paths = (Path(file) for file in files if isinstance(file, str | Path))
    return sum(heapq.nlargest(usable_cores(), in_order(paths, work)))


def find_bit_depth(
    files: Iterable[Path], on_done: Callable[[int], None] = lambda done: None
) -> int:
    """Find how many bits the samples of a set of pictures use, where they have more than 8.

    The files may say it, but only of how many the camera gave: a PNG's values may be scaled up to
    16 bits all the same. So it is the least of 8, 10, 12, 14 and 16, or what the files say, that
    holds the largest value of them all.

    Args:
        files: of pictures; only those of more than 8 bits are decoded.
        on_done: told how many were looked at, whenever one has more than 8 bits.

    Returns:
        16 where none has more than 8 bits.

    Raises:
        PictureError: files say different things.
    """
    said: dict[int, Path] = {}
    largest = -1
    paths = list(files)
    for done, (path, used) in enumerate(zip(paths, in_order(paths, used_range), strict=True), 1):
        if used is not None:
            bits, most = used
            largest = max(largest, most)
            if bits < ALL_BITS:
                said.setdefault(bits, path)
            on_done(done)
    if len(said) > 1:
        of_each = ", ".join(f"{bits} bits ({said[bits]})" for bits in sorted(said))
        raise PictureError(
            f"pictures say different depths: {of_each}; give pictures of one camera, or say how "
            "many bits all of them use with --bit-depth"
        )
    if largest < 0:
        return ALL_BITS
    least = max(said, default=min(_DEPTHS))
    return min(d for d in {*_DEPTHS, least} if d >= least and largest < 1 << d)
