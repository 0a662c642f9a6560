"""Correlation: where a part lies beside where a mean picture has it.

A shift is told by normalised cross-correlation with the middle of the mean, at half the input's
size. A turn is told by that of the picture turned by a few angles, and the best is refined by
OpenCV's enhanced correlation coefficient (Evangelidis and Psarakis, "Parametric Image Alignment
using Enhanced Correlation Coefficient Maximization", PAMI 2008) for a turn with a shift.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fapm_cli.pictures.fitting.pose import Matrix, inverted, turning
from fapm_cli.pictures.preparing import Pixels

_REACH = 0.1  # of each side: as far as a part may be shifted
_COARSER = 2
_ANGLES = (0.0, -2.5, 2.5, -5.0, 5.0)  # tried first; from each 1.25 degrees are found, and more
MOST_TURN = 6.0  # degrees that are taken back: 5 are to be found
_ROUNDS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)

Grey = NDArray[np.float32]


class Found(NamedTuple):
    """Where a part lies, in px of the input.

    Attributes:
        down: how much lower.
        right: how much farther right.
        turn: by how many degrees clockwise about the middle.
        likeness: the correlation there; -1 where it lies farther than is looked.
    """

    down: float
    right: float
    turn: float
    likeness: float


NOWHERE = Found(0.0, 0.0, 0.0, -1.0)


def find_shift(template: Grey, pixels: Pixels) -> Found:
    """Find a part that is shifted, by up to a tenth of each side.

    Args:
        template: of the mean picture, by :func:`template_of`.
        pixels: (H, W, 3) uint8.
    """
    shown = grey_of(pixels)
    rows, columns = _margins(shown)
    likeness = cv2.matchTemplate(shown, template, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(likeness.argmax()), likeness.shape)
    if y in (0, 2 * rows) or x in (0, 2 * columns):
        return NOWHERE
    down = y - rows + _between(likeness[:, x], int(y))
    right = x - columns + _between(likeness[y], int(x))
    return Found(_COARSER * float(down), _COARSER * float(right), 0.0, float(likeness[y, x]))


def find_turned(template: Grey, pixels: Pixels, aspect: float) -> Found:
    """Find a part that is shifted and turned.

    Args:
        template: of the mean picture, by :func:`template_of` with the same aspect.
        pixels: (H, W, 3) uint8.
        aspect: how much wider than high a px of the part is in the input.
    """
    shown = grey_of(pixels, aspect)
    margins = np.array(_margins(shown)[::-1])
    refined = _refined(template, shown, _best_of_some(template, shown) @ _moved_by(margins))
    if refined is None:
        return NOWHERE
    likeness, matrix = refined
    matrix = matrix @ _moved_by(-margins)
    turn = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    right, down = matrix[:2, 2] - turning(turn, (0, 0), shown.shape)[:, 2]
    reach = [_REACH * side for side in shown.shape]
    if not (abs(turn) <= MOST_TURN and abs(down) <= reach[0] and abs(right) <= reach[1]):
        return NOWHERE
    scale = [own / side for own, side in zip(pixels.shape, shown.shape, strict=False)]
    return Found(float(down) * scale[0], float(right) * scale[1], turn, likeness)


def _best_of_some(template: Grey, shown: Grey) -> Matrix:
    """(3, 3), what takes the mean to a picture: the best of some angles, at its best shift."""
    rows, columns = _margins(shown)
    tried = []
    for angle in _ANGLES:
        matrix = turning(angle, (0, 0), shown.shape)
        back = cv2.warpAffine(
            shown,
            matrix,
            shown.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        likenesses = cv2.matchTemplate(back, template, cv2.TM_CCOEFF_NORMED)
        _, likeness, _, (x, y) = cv2.minMaxLoc(likenesses)
        tried.append((likeness, _square(matrix) @ _moved_by(np.array([x - columns, y - rows]))))
    return max(tried, key=lambda one: one[0])[1]


def _refined(template: Grey, shown: Grey, start: Matrix) -> tuple[float, Matrix] | None:
    """The correlation, and (3, 3) what takes the template's px to the picture's; None where there
    is no way from where it starts.
    """
    try:
        likeness, found = cv2.findTransformECC(
            template,
            shown,
            start[:2].astype(np.float32),
            cv2.MOTION_EUCLIDEAN,
            _ROUNDS,
        )
    except cv2.error:
        return None
    return float(likeness), _square(np.asarray(found, dtype=np.float64))


def template_of(pixels: Pixels, aspect: float = 1.0) -> Grey:
    """What of a picture is looked for in others: its middle."""
    grey = grey_of(pixels, aspect)
    rows, columns = _margins(grey)
    height, width = grey.shape
    return np.ascontiguousarray(grey[rows : height - rows, columns : width - columns])


def grey_of(pixels: Pixels, aspect: float = 1.0) -> Grey:
    """A picture in grey at half its size, or as wide as makes px so much wider square."""
    height, width = pixels.shape[0] // _COARSER, round(pixels.shape[1] / aspect) // _COARSER
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def moved_back(pixels: Pixels, by: tuple[float, float, float], aspect: float = 1.0) -> Pixels:
    """A picture moved back by so many px down and right, and degrees; what comes in from outside
    goes on from the rim.
    """
    (height, width), (down, right, turn) = pixels.shape[:2], by
    there = turning(turn, (down, right), (height, width), aspect)
    moved = cv2.warpAffine(
        pixels,
        inverted(there).astype(np.float32),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved.astype(np.uint8)


def _margins(grey: Grey) -> tuple[int, int]:
    height, width = grey.shape
    return max(round(height * _REACH), 1), max(round(width * _REACH), 1)


def _between(values: NDArray[Any], at: int) -> float:
    """Where beside its greatest value, at no end, a line has its top: a parabola through three."""
    before, top, after = (float(one) for one in values[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend


def _moved_by(shift: NDArray[Any]) -> Matrix:
    """(3, 3) what moves by x and y."""
    return np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]])


def _square(matrix: Matrix) -> Matrix:
    return np.vstack([matrix, [0.0, 0.0, 1.0]])
