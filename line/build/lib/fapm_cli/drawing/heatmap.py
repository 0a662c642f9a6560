"""Drawing: the heatmap over the picture, what exceeds the threshold, and the caption.

The map is drawn strip by strip, some rows of the picture at a time: what a px takes while it is
drawn is many times what it takes in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
FloatMap = NDArray[np.float32]
Box = tuple[int, int, int, int]

STRONGEST = 0.6  # share of colour where the scale ends

_TOO_SMALL_PX = 96  # a picture whose shorter side is less has no room for words
_USUAL_PX = 320  # the shorter side at which a unit of the caption is one px
_CAPTION = (110, 48)  # width and height, in units
_WHITE = (255, 255, 255)
_VERDICT_COLOURS = {"anomalous": (200, 30, 30), "review": (190, 110, 0), "ok": (30, 120, 60)}


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


@dataclass(frozen=True)
class Caption:
    """What a heatmap says in words.

    Attributes:
        score: the picture's.
        threshold: above which a score is anomalous; None where none holds.
        verdict: ``ok``, ``review`` or ``anomalous``; None likewise.
    """

    score: float
    threshold: float | None = None
    verdict: str | None = None

    @property
    def lines(self) -> tuple[str, str]:
        """The verdict with the score, and the threshold."""
        if self.threshold is None:
            return f"score {self.score:.4g}", "no verdict"
        return f"{self.verdict} {self.score:.4g}", f"threshold {self.threshold:.4g}"


def draw_heatmap(
    image: Image.Image,
    strips: Iterable[tuple[int, FloatMap]],
    calm: float,
    peak: tuple[int, int],
    caption: Caption,
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
        caption: written at the rim, over the scale, in the corner farthest from the peak.
        boxes: x, y, width, height in px of what to frame.
        strong: whether the maximum exceeds ``calm``: else nothing is ringed.
    """
    width, height = image.size
    for top, scores in strips:
        part = np.array(image.crop((0, top, width, top + len(scores))))
        strip = Strip(_colour(part, scores, calm), top, (height, width))
        hatch(strip.pixels, np.isnan(scores), top)
        for box in boxes:
            _frame(strip, box)
        if strong and min(height, width) >= _TOO_SMALL_PX:
            _ring(strip, peak)
        image.paste(Image.fromarray(strip.pixels), (0, top))
    if min(height, width) >= _TOO_SMALL_PX:
        _write(image, caption, calm, peak)


def draw_located(
    image: Image.Image,
    strips: Iterable[tuple[int, FloatMap]],
    calm: float,
    located: Mapping[str, Any],
    caption: Caption,
    *,
    boxes: bool = True,
) -> None:
    """Draw what was located in a picture over it, as :func:`draw_heatmap` does.

    Args:
        image: 8-bit RGB, drawn upon.
        strips: of its anomaly map.
        calm: the pixel threshold.
        located: the ``peak`` and the ``regions``, in the picture's own px.
        caption: of the picture.
        boxes: whether to frame the regions.
    """
    peak, regions = located["peak"], located["regions"]
    frames = [(r["x"], r["y"], r["width"], r["height"]) for r in regions] if boxes else ()
    at = peak["x"], peak["y"]
    draw_heatmap(image, strips, calm, at, caption, frames, strong=bool(regions))


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


def _ring(strip: Strip, peak: tuple[int, int]) -> None:
    size = max(6, min(strip.size_px) // 28)
    thickness = max(1, size // 8)
    for tone, line in (((0, 0, 0), thickness + 2), (_WHITE, thickness)):
        cv2.circle(strip.pixels, strip.at(*peak), size, tone, line, cv2.LINE_AA)


def _frame(strip: Strip, box: Box) -> None:
    """Draw a white frame with a black rim just outside a box."""
    x, y, width, height = box
    corners = strip.at(x - 1, y - 1), strip.at(x + width, y + height)
    thickness = max(1, min(strip.size_px) // 240)
    for colour, line in (((0, 0, 0), thickness + 2), (_WHITE, thickness)):
        cv2.rectangle(strip.pixels, *corners, colour, line)


def _write(image: Image.Image, caption: Caption, calm: float, peak: tuple[int, int]) -> None:
    """Write the caption and the colour scale into the corner farthest from the peak.

    It grows with the picture, and is as wide as a small one if that is what it takes to be read.
    """
    width, height = image.size
    unit = max(min(width, height) / _USUAL_PX, min(1.0, width / _CAPTION[0]))
    box_width, box_height = (int(side * unit) for side in _CAPTION)
    left = 0 if peak[0] > width / 2 else width - box_width
    top = 0 if peak[1] > height / 2 else height - box_height
    place = (left, top, left + box_width, top + box_height)
    pixels = np.array(image.crop(place)) // 4
    at = [round(y * unit) for y in (0, 13, 27, 35, 45)]  # chip, threshold, bar, its ends
    pixels[at[0] : at[1]] = _VERDICT_COLOURS.get(caption.verdict or "", (70, 70, 70))
    pad = int(5 * unit)
    bar = pixels[at[2] : at[3], pad : box_width - pad]
    bar[:] = heat_colour(np.linspace(0, 1, bar.shape[1], dtype=np.float32))
    verdict, threshold = caption.lines
    _put(pixels, verdict, (pad, round(10 * unit)), unit)
    _put(pixels, threshold, (pad, round(23 * unit)), unit)
    _put(pixels, f"{calm:.3g}", (pad, at[4]), unit)
    _put(pixels, f"{2 * calm:.3g}+", (box_width - pad, at[4]), unit, to_the_left=True)
    image.paste(Image.fromarray(pixels), place)


def _put(
    pixels: Pixels, text: str, place: tuple[int, int], unit: float, to_the_left: bool = False
) -> None:
    """Put white text on pixels, from or up to a place on its base line."""
    font, size, line = cv2.FONT_HERSHEY_SIMPLEX, 0.36 * unit, max(1, round(unit))
    x, y = place
    if to_the_left:
        x -= cv2.getTextSize(text, font, size, line)[0][0]
    cv2.putText(pixels, text, (x, y), font, size, _WHITE, line, cv2.LINE_AA)
