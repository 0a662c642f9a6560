"""Upright: pictures as their orientation tags mean them."""

from __future__ import annotations

from PIL import ImageFile, ImageOps

ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


def is_on_its_side(image: ImageFile.ImageFile) -> bool:
    """Whether the orientation tag turns a picture by a quarter."""
    return image.getexif().get(ORIENTATION) in _ON_ITS_SIDE


def load_upright(image: ImageFile.ImageFile) -> None:
    """Decode a picture, and turn it as its orientation tag says."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # but a TIFF, which has turned while it loaded
