"""The report's pictures: the part, its heat, the worst spot; small enough for one page."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.detection.record import Record
from fapm_cli.drawing.heatmap import hatch, heat_colour, heat_level, heat_share

FloatMap = NDArray[np.float32]
Place = tuple[float, float]
Window = tuple[float, float, float, float]

PICTURE_SIDE_PX = 512
HEAT_SIDE_PX = 256  # the map is blurred: more px would say no more
SPOT_SIDE_PX = 192
SPOT_SHARE = 0.25  # side of the spot, of a picture's side


def heat_size(size_px: tuple[int, int]) -> tuple[int, int]:
    """Choose height and width of the map that :meth:`Report.add` wants for a picture."""
    scale = min(HEAT_SIDE_PX / max(size_px), 1)
    return max(round(size_px[0] * scale), 1), max(round(size_px[1] * scale), 1)


# --- Places, as shares of a picture's width and height -----------------------------------------


def centre_of(x: int, y: int, width: int, height: int) -> Place:
    """Take a px to its place: its centre, in shares of the sides."""
    return (x + 0.5) / width, (y + 0.5) / height


def window_around(place: Place, share: tuple[float, float]) -> Window:
    """Lay a window of this share of each side around a place, inside the picture."""
    sides = [min(part, 1.0) for part in share]
    left, top = (
        min(max(at - side / 2, 0.0), 1 - side) for at, side in zip(place, sides, strict=True)
    )
    return left, top, sides[0], sides[1]


def box_of(region: Record, width: int, height: int) -> Window:
    """Take a region's box to shares of the sides."""
    x, y = region["x"] / width, region["y"] / height
    return x, y, region["width"] / width, region["height"] / height


# --- Images ------------------------------------------------------------------------------------


def picture_bytes(image: Image.Image, unseen: NDArray[np.bool_]) -> bytes:
    """Scale a picture down, and hatch what was not inspected."""
    small = image.copy()
    small.thumbnail((PICTURE_SIDE_PX, PICTURE_SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if unseen.any():
        pixels = np.array(small)
        hatch(pixels, np.asarray(Image.fromarray(unseen).resize(small.size)))
        small = Image.fromarray(pixels)
    return encoded(small, "JPEG", quality=80)


def heat_bytes(scores: FloatMap, calm: float) -> bytes:
    """Colour a map as the heatmaps are, see-through where parts are good; 256 levels do."""
    levels = (heat_level(scores, calm) * 255).round().astype(np.uint8)
    scale = np.linspace(0, 1, 256)
    alpha = (heat_share(scale) * 255).round().astype(np.uint8)
    image = Image.fromarray(levels).convert("P")
    image.putpalette(heat_colour(scale).tobytes())
    return encoded(image, "PNG", transparency=alpha.tobytes())


def crop_bytes(image: Image.Image, window: Window) -> bytes:
    """Cut a window out of the picture at its own size, no larger than it is shown."""
    width, height = image.size
    left, top = round(window[0] * width), round(window[1] * height)
    wide, high = (max(round(n), 1) for n in (window[2] * width, window[3] * height))
    spot = image.crop((left, top, left + wide, top + high))
    spot.thumbnail((SPOT_SIDE_PX, SPOT_SIDE_PX))
    return encoded(spot, "JPEG", quality=85)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Encode a picture."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()
