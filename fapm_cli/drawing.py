"""Drawing: the heatmap over the picture, its colour scale and the peak."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

STRONGEST = 0.6  # share of colour where the scale ends


def draw_heatmap(
    picture: Pixels,
    scores: FloatMap,
    calm: float,
    peak: tuple[int, int],
    image_score: float,
    boxes: Iterable[tuple[int, int, int, int]] = (),
) -> Pixels:
    """Draw an anomaly map over a picture.

    Colour starts where good parts end (``calm``) and is full at twice that, for every picture of
    the bank alike: a good part shows no colour at all. What was not inspected is hatched.

    Args:
        picture: (H, W, 3) uint8 RGB.
        scores: (H, W) float32; NaN where not inspected.
        calm: the value above which a px is anomalous.
        peak: x, y in px of the map's maximum.
        image_score: printed beside the scale.
        boxes: x, y, width, height in px of what to frame.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    level = heat_level(scores, calm)
    share = (STRONGEST * heat_share(level))[..., None]
    drawn = (picture * (1 - share) + heat_colour(level) * share).round().astype(np.uint8)
    hatch(drawn, np.isnan(scores))
    height, width = scores.shape
    for box in boxes:
        _frame(drawn, box)
    if min(height, width) >= 96:
        _mark(drawn, peak, strong=bool(level.max() > 0))
        _draw_scale(drawn, calm, peak, image_score)
    return np.asarray(drawn, dtype=np.uint8)


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


def hatch(drawn: Pixels, unseen: NDArray[np.bool_]) -> None:
    """Hatch, in place, what was not inspected."""
    if not unseen.any():
        return
    rows, columns = np.indices(unseen.shape)
    stripes = unseen & ((rows + columns) // 6 % 2 == 0)
    drawn[unseen] = drawn[unseen] // 2
    drawn[stripes] = drawn[stripes] // 2 + 64


def _mark(drawn: Pixels, peak: tuple[int, int], strong: bool) -> None:
    size = max(6, min(drawn.shape[:2]) // 28)
    thickness = max(1, size // 8)
    cv2.circle(drawn, peak, size, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    colour = (255, 255, 255) if strong else (170, 170, 170)
    cv2.circle(drawn, peak, size, colour, thickness, cv2.LINE_AA)


def _frame(drawn: Pixels, box: tuple[int, int, int, int]) -> None:
    """Draw a white frame with a black rim just outside a box."""
    x, y, width, height = box
    thickness = max(1, min(drawn.shape[:2]) // 240)
    for colour, rim in (((0, 0, 0), thickness + 2), ((255, 255, 255), thickness)):
        corners = (x - 1, y - 1), (x + width, y + height)
        cv2.rectangle(drawn, *corners, colour, rim)


def _draw_scale(drawn: Pixels, calm: float, peak: tuple[int, int], image_score: float) -> None:
    """Draw the colour scale into the corner farthest from the peak."""
    height, width = drawn.shape[:2]
    unit = max(min(height, width) / 320, 0.4)
    bar_width, bar_height, pad = int(96 * unit), int(8 * unit), int(5 * unit)
    box_width, box_height = bar_width + 2 * pad, int(34 * unit)
    left = 0 if peak[0] > width / 2 else width - box_width
    top = 0 if peak[1] > height / 2 else height - box_height
    box = drawn[top : top + box_height, left : left + box_width]
    box //= 4
    ramp = np.linspace(0, 1, bar_width, dtype=np.float32)[None].repeat(bar_height, axis=0)
    bar_top = top + int(15 * unit)
    x = left + pad
    drawn[bar_top : bar_top + bar_height, x : x + bar_width] = heat_colour(ramp)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.34 * unit
    for text, at in (
        (f"score {image_score:.3g}", (x, top + int(11 * unit))),
        (f"{calm:.3g}", (x, top + int(32 * unit))),
        (f"{2 * calm:.3g}+", (x + bar_width - int(28 * unit), top + int(32 * unit))),
    ):
        cv2.putText(drawn, text, at, font, size, (255, 255, 255), max(1, round(unit)), cv2.LINE_AA)
