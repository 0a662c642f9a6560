"""The shape of a set of pictures, by their headers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from fapm_cli.pictures.decoding import READABLE
from fapm_cli.pictures.picture import Frame
from fapm_cli.pictures.reading import Item
from fapm_cli.pictures.upright import is_on_its_side


def usual_aspect(items: Iterable[Item]) -> float:
    """Height by width of upright pictures: the median, so that half of them are no wider.

    What can't be read says nothing here; reading it will tell. 1 where nothing can.
    """
    aspects = [size[0] / size[1] for size in map(upright_size, items) if size is not None]
    return statistics.median(aspects) if aspects else 1.0


def upright_size(item: Item) -> tuple[int, int] | None:
    """Height and width of one picture in px, upright; None where it can't be read."""
    if isinstance(item, Frame):
        item = item.bgr
    if isinstance(item, np.ndarray):
        return (item.shape[0], item.shape[1]) if item.ndim > 1 and item.size else None
    if not isinstance(item, str | Path):
        return None
    try:
        with Image.open(item, formats=READABLE) as image:
            width, height = image.size
            if isinstance(image, TiffImageFile):  # which some versions of Pillow turn at once
                width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            # Pillow would decode all of a PNG to look for a tag that does not come first.
            tagged = image.format != "PNG" or "exif" in image.info
            return (width, height) if tagged and is_on_its_side(image) else (height, width)
    except Exception:  # a decoder may raise anything on a damaged file
        return None
