"""The pose: how a part lies in its picture, beside how the good ones lie.

The *upright* picture is the one that shows the part where the good ones have it: what the input is
made of. A pose takes its px to those of the picture as it was taken, and back. All that is said in
a picture's own px goes through it: places, boxes, maps, masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fapm_cli.config import Preprocessing

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """How a part lies: turned about the picture's middle, and then shifted.

    Attributes:
        shift_px: by how many px of the picture it lies lower and farther right.
        turn: by how many degrees it lies turned, clockwise.
        aspect: how much wider than high a px is, where a picture has not its own shape: a turn is
            one of the part, not of its px.
    """

    shift_px: tuple[int, int] = (0, 0)
    turn: float = 0.0
    aspect: float = 1.0

    def at(self, own_px: tuple[int, int], size_px: tuple[int, int]) -> Pose:
        """The same pose in a picture resized from ``own_px`` (height, width) to ``size_px``."""
        down, right = (
            round(px * wanted / own)
            for px, wanted, own in zip(self.shift_px, size_px, own_px, strict=True)
        )
        aspect = self.aspect * (size_px[1] * own_px[0]) / (size_px[0] * own_px[1])
        return Pose((down, right), self.turn, aspect)

    def matrix(self, size_px: tuple[int, int]) -> Matrix:
        """What takes x, y of the upright picture, 1 below them, to x, y of the picture.

        Args:
            size_px: height and width, of both.

        Returns:
            (2, 3) float64; px have their centres at whole numbers.
        """
        return turning(self.turn, self.shift_px, size_px, self.aspect)

    def inverse(self, size_px: tuple[int, int]) -> Matrix:
        """What takes x, y of the picture to x, y of the upright one, as :meth:`matrix`."""
        return inverted(self.matrix(size_px))

    def in_picture(
        self, size_px: tuple[int, ...], to: Preprocessing
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where in the picture the middle of each px of the input lies.

        Args:
            size_px: the picture's own height and width.
            to: how it is prepared.

        Returns:
            (H, W) float64 rows, and columns.
        """
        y, x = (
            (np.arange(cropped) + (resized - cropped) // 2 + 0.5) * own / resized - 0.5
            for own, resized, cropped in zip(size_px, to.resize_px, to.crop_px, strict=True)
        )
        across, along = self.matrix((size_px[0], size_px[1]))
        return (
            along[0] * x + (along[1] * y + along[2])[:, None],
            across[0] * x + (across[1] * y + across[2])[:, None],
        )

    def to_px(self, x: float, y: float, size_px: tuple[int, int]) -> tuple[int, int]:
        """The px x, y of the picture nearest to a place of the upright one."""
        if self.turn:
            across, along = (float(one) for one in self.matrix(size_px) @ (x, y, 1))
            column, row = round(across), round(along)
        else:
            column, row = round(x) + self.shift_px[1], round(y) + self.shift_px[0]
        return min(max(column, 0), size_px[1] - 1), min(max(row, 0), size_px[0] - 1)

    def to_box(
        self, rows: tuple[int, int], columns: tuple[int, int], size_px: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The box of the picture, as first and one-past-last rows and columns, that holds one of
        the upright picture: turned, it is as much larger as that takes.
        """
        down, right = self.shift_px
        spans = (rows[0] + down, rows[1] + down), (columns[0] + right, columns[1] + right)
        if self.turn:
            corners = np.array([(x - 0.5, y - 0.5, 1) for y in rows for x in columns])
            moved = corners @ self.matrix(size_px).T + 0.5
            low, high = (
                ends.round().astype(int) for ends in (moved.min(axis=0), moved.max(axis=0))
            )
            spans = (int(low[1]), int(high[1])), (int(low[0]), int(high[0]))
        (top, bottom), (left, right) = (
            (min(max(first, 0), own), min(max(end, 0), own))
            for (first, end), own in zip(spans, size_px, strict=True)
        )
        return (top, bottom), (left, right)


UPRIGHT = Pose()


def turning(
    degrees: float, shift: tuple[float, float], size: tuple[int, int], aspect: float = 1.0
) -> Matrix:
    """Turn clockwise about the middle of a height and a width, then shift down and right.

    Returns:
        (2, 3) float64, as of :meth:`Pose.matrix`.
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    linear = np.array([[cosine, -sine * aspect], [sine / aspect, cosine]])
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return np.column_stack([linear, middle - linear @ middle + shift[::-1]])


def inverted(matrix: Matrix) -> Matrix:
    """Undo a (2, 3) matrix: another."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])
