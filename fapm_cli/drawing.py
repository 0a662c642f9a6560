"""Drawing: the heatmap over the picture, its colour scale and the peak.

All is drawn strip by strip, some rows of the picture at a time: what a px takes while it is drawn
is many times what it takes in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
FloatMap = NDArray[np.float32]
Box = tuple[int, int, int, int]

STRONGEST = 0.6  # share of colour where the scale ends


@dataclass(frozen=True)
class Strip:
    """Some rows of a picture that is being drawn; what is drawn is placed in the whole picture.

    Attributes:
        pixels: (n, W, 3) uint8 RGB, drawn on in place.
        top: the first row.
        size_px: the whole picture's height and width.
    """

    pixels: Pixels
    top: int
    size_px: tuple[int, int]

    def at(self, x: int, y: int) -> tuple[int, int]:
        """Where in the strip a place of the picture is; cv2 leaves out what lies outside."""
        return x, y - self.top

    def rows(self, first: int, end: int) -> Pixels:
        """Those of the picture's rows that lie in the strip, to be drawn on."""
        return self.pixels[max(first - self.top, 0) : max(end - self.top, 0)]


def draw_heatmap(
    image: Image.Image,
    strips: Iterable[tuple[int, FloatMap]],
    calm: float,
    peak: tuple[int, int],
    image_score: float,
    boxes: Sequence[Box] = (),
    strong: bool = True,
) -> None:
    """Draw an anomaly map over a picture, in place.

    Colour starts where good parts end (``calm``) and is full at twice that, for every picture of
    the bank alike: a good part shows no colour at all. What was not inspected is hatched.

    Args:
        image: 8-bit RGB.
        strips: the map, some rows at a time: the first row's number, and (n, W) float32; NaN
            where not inspected.
        calm: the value above which a px is anomalous.
        peak: x, y in px of the map's maximum.
        image_score: printed beside the scale.
        boxes: x, y, width, height in px of what to frame.
        strong: whether the maximum exceeds ``calm``.
    """
    width, height = image.size
    for top, scores in strips:
        part = np.array(image.crop((0, top, width, top + len(scores))))
        strip = Strip(_colour(part, scores, calm), top, (height, width))
        hatch(strip.pixels, np.isnan(scores), top)
        for box in boxes:
            _frame(strip, box)
        if min(height, width) >= 96:
            _mark(strip, peak, strong)
            _draw_scale(strip, calm, peak, image_score)
        image.paste(Image.fromarray(strip.pixels), (0, top))


def _colour(picture: Pixels, scores: FloatMap, calm: float) -> Pixels:
    """Lay the colours of scores over a picture of the same size."""
    level = heat_level(scores, calm)
    if not level.any():
        return picture
    share = (STRONGEST * heat_share(level))[..., None]
    blended = picture * (1 - share) + heat_colour(level) * share
    return np.asarray(blended.round(), dtype=np.uint8)


def heat_level(scores: FloatMap, calm: float) -> FloatMap:
    """Place scores on the bank's scale: 0 where good parts end, 1 at twice that and above."""
    level: FloatMap = np.nan_to_num(scores / max(calm, 1e-6) - 1, nan=0.0).clip(0, 1)
    return level


def heat_share(level: NDArray[np.floating]) -> NDArray[np.floating]:
    """Say how much of the full strength of colour a level gets, 0 to 1."""
    share: NDArray[np.floating] = np.sqrt(level)
    return share


def heat_colour(level: NDArray[np.floating]) -> Pixels:
    """Turn levels 0 to 1 into colours: yellow, red, purple, the stronger the darker."""
    channels = ((255, 235, 110), (220, 20, 0), (0, 20, 110))
    rgb = [np.interp(level, (0, 0.5, 1), channel) for channel in channels]
    return np.stack(rgb, axis=-1).round().astype(np.uint8)


def hatch(drawn: Pixels, unseen: NDArray[np.bool_], top: int = 0) -> None:
    """Hatch, in place, what was not inspected; ``top`` is the first row's number."""
    if not unseen.any():
        return
    rows, columns = (np.arange(side) for side in unseen.shape)
    stripes = unseen & ((rows[:, None] + columns + top) // 6 % 2 == 0)
    drawn[unseen] = drawn[unseen] // 2
    drawn[stripes] = drawn[stripes] // 2 + 64


def _mark(strip: Strip, peak: tuple[int, int], strong: bool) -> None:
    size = max(6, min(strip.size_px) // 28)
    thickness = max(1, size // 8)
    colour = (255, 255, 255) if strong else (170, 170, 170)
    for tone, line in (((0, 0, 0), thickness + 2), (colour, thickness)):
        cv2.circle(strip.pixels, strip.at(*peak), size, tone, line, cv2.LINE_AA)


def _frame(strip: Strip, box: Box) -> None:
    """Draw a white frame with a black rim just outside a box."""
    x, y, width, height = box
    corners = strip.at(x - 1, y - 1), strip.at(x + width, y + height)
    thickness = max(1, min(strip.size_px) // 240)
    for colour, line in (((0, 0, 0), thickness + 2), ((255, 255, 255), thickness)):
        cv2.rectangle(strip.pixels, *corners, colour, line)


def _draw_scale(strip: Strip, calm: float, peak: tuple[int, int], image_score: float) -> None:
    """Draw the colour scale into the corner farthest from the peak."""
    height, width = strip.size_px
    unit = max(min(height, width) / 320, 0.4)
    bar_width, bar_height, pad = int(96 * unit), int(8 * unit), int(5 * unit)
    box_width, box_height = bar_width + 2 * pad, int(34 * unit)
    left = 0 if peak[0] > width / 2 else width - box_width
    top = 0 if peak[1] > height / 2 else height - box_height
    strip.rows(top, top + box_height)[:, left : left + box_width] //= 4
    x, bar_top = left + pad, top + int(15 * unit)
    bar = strip.rows(bar_top, bar_top + bar_height)
    bar[:, x : x + bar_width] = heat_colour(np.linspace(0, 1, bar_width, dtype=np.float32))
    white = (255, 255, 255)
    font, size, line = cv2.FONT_HERSHEY_SIMPLEX, 0.34 * unit, max(1, round(unit))
    for text, place in (
        (f"score {image_score:.3g}", (x, top + int(11 * unit))),
        (f"{calm:.3g}", (x, top + int(32 * unit))),
        (f"{2 * calm:.3g}+", (x + bar_width - int(28 * unit), top + int(32 * unit))),
    ):
        cv2.putText(strip.pixels, text, strip.at(*place), font, size, white, line, cv2.LINE_AA)
