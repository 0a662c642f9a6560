"""A set of pictures as a whole: its shape, and the depth of samples of more than 8 bits."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from fapm_cli.errors import PictureError
from fapm_cli.pictures.decoding import READABLE, used_range
from fapm_cli.pictures.picture import Frame
from fapm_cli.pictures.read_ahead import in_order
from fapm_cli.pictures.reading import Item
from fapm_cli.pictures.upright import is_on_its_side
from fapm_cli.pictures.wide_samples import ALL_BITS
from fapm_cli.stores.ahead import ahead
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import AnyPath, StoredPath

_DEPTHS = (8, 10, 12, 14, 16)


def evenly(number: int, most: int) -> list[int]:
    """The numbers of some of so many pictures, two or more at most, evenly taken, each once."""
    return sorted({round(i * (number - 1) / (most - 1)) for i in range(most)})


def usual_aspect(items: Iterable[Item]) -> float:
    """Height by width of upright pictures: the median, so that half of them are no wider.

    What can't be read says nothing here; reading it will tell. 1 where nothing can.
    """
    aspects = [size[0] / size[1] for size in map(upright_size, ahead(items)) if size is not None]
    return statistics.median(aspects) if aspects else 1.0


def upright_size(item: Item) -> tuple[int, int] | None:
    """Height and width of one picture in px, upright; None where it can't be read."""
    if isinstance(item, Frame):
        item = item.bgr
    if isinstance(item, np.ndarray):
        return (item.shape[0], item.shape[1]) if item.ndim > 1 and item.size else None
    if not isinstance(item, str | AnyPath):
        return None
    try:
        path = located(item)
        with Image.open(
            path.open("rb") if isinstance(path, StoredPath) else path, formats=READABLE
        ) as image:
            width, height = image.size
            if isinstance(image, TiffImageFile):  # which some versions of Pillow turn at once
                width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            # Pillow would decode all of a PNG to look for a tag that does not come first.
            tagged = image.format != "PNG" or "exif" in image.info
            return (width, height) if tagged and is_on_its_side(image) else (height, width)
    except Exception:  # a decoder may raise anything on a damaged file
        return None


def find_bit_depth(
    files: Iterable[AnyPath], on_done: Callable[[int], None] = lambda done: None
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
    said: dict[int, AnyPath] = {}
    largest = -1
    paths = list(files)
    ranges = in_order((path for path in paths), functools.partial(used_range))
    for done, (path, used) in enumerate(zip(paths, ranges, strict=True), 1):
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
