"""Turned copies: for parts that lie at any angle, where there are few pictures to learn them from.

Beyond the paper. A copy gives keys and no more: pictures alone are counted, judged, and spread in a
metric, and a picture's copies are left out together with it. Whether parts turn is told by the
pictures themselves: then two of them are far more alike when one is turned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.config import BankConfig
from fapm_cli.memory.grid import Grid
from fapm_cli.memory.shown import shown_vectors
from fapm_cli.memory.vectors import Rows
from fapm_cli.pictures.preparing import Pixels
from fapm_cli.pictures.whole_set import evenly

_FEWEST, _LOOKED_AT = 3, 8  # pictures that tell whether parts turn: at least, at most
_SIDE_PX = 32  # of what is compared: as large as shows how a part lies
_ALIKE = 0.7  # a part that turns is twice as near when turned; one that does not, 0.8 times at best
# By how many degrees up to so many pictures are turned: finer wins nothing, and takes longer; of
# more, poses are there, and a copy is a worse key than a picture (docs/accuracy.md, few pictures).
_STEPS = {53: 10, 80: 15, 150: 45}

Show = Callable[[Iterable[int]], Iterable[Pixels]]


def usual_step(number: int) -> int:
    """The degrees by which so many pictures are turned, if their parts turn; 0 for none."""
    if number < _FEWEST:
        return 0
    return next((step for most, step in _STEPS.items() if number <= most), 0)


def with_turn(config: BankConfig, number: int, show: Show) -> BankConfig:
    """Configure copies as the pictures ask for them, where they are to say it.

    Args:
        config: what to build.
        number: how many pictures there are.
        show: shows those of some numbers that can be, (H, W, 3) uint8 each.
    """
    if not config.turn_found:
        return config
    step = usual_step(number)
    if step:
        # Of pictures that a bank holds copies count once, and what can't be shown not.
        turn = parts_turn([*show(evenly(number, _LOOKED_AT))])
        step = usual_step(len({one.tobytes() for one in show(range(number))})) if turn else 0
    return replace(config, turn=step)


def parts_turn(pictures: Sequence[Pixels]) -> bool:
    """Whether parts lie at any angle.

    Of each pair of pictures: how far apart they are at the best of all angles that are no small
    ones, in shares of how far as they lie, each at the best of all shifts: a part that is shifted
    does not turn. Their median says it.

    Args:
        pictures: (H, W, 3) uint8 each; fewer than three say nothing.
    """
    if len(pictures) < _FEWEST:
        return False
    small = [_middle(pixels) for pixels in pictures]
    turned = [[_turn(one, angle) for angle in range(0, 360, 20)] for one in small]
    shares = []
    for i, one in enumerate(small):
        wide = cv2.copyMakeBorder(one, *(_SIDE_PX // 2,) * 4, cv2.BORDER_REPLICATE)
        for other in turned[:i]:
            apart = [_apart(wide, part) for part in other]
            shares.append(min(apart[1:]) / apart[0] if apart[0] > 0 else 1.0)
    return float(np.median(shares)) < _ALIKE


def _apart(wide: NDArray[Any], part: NDArray[Any]) -> float:
    """How far a part is, at the best of all places, from what a wider picture shows there."""
    squares = cv2.matchTemplate(wide, part, cv2.TM_SQDIFF, mask=_disc())
    return float(np.sqrt(max(squares.min(), 0)))


def _middle(pixels: Pixels) -> NDArray[np.float32]:
    """(32, 32, 3) of a picture's square middle, less its mean and what the light does across it."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    small = cv2.resize(square, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    line = np.linspace(-1, 1, _SIDE_PX)
    plane = np.stack([np.ones((_SIDE_PX, _SIDE_PX)), *np.meshgrid(line, line)]).reshape(3, -1)
    values = small.reshape(-1, 3).astype(np.float64)
    flat = values - plane.T @ np.linalg.lstsq(plane.T, values, rcond=None)[0]
    # Rounded, so that processors that add in another order see the same.
    return flat.round(2).reshape(_SIDE_PX, _SIDE_PX, 3).astype(np.float32)


@functools.cache
def _disc() -> NDArray[np.float32]:
    """(32, 32, 3): 1 for what stays in the picture at every angle, 0 elsewhere."""
    rows, columns = np.mgrid[:_SIDE_PX, :_SIDE_PX] - (_SIDE_PX - 1) / 2
    inside = rows**2 + columns**2 <= ((_SIDE_PX - 1) / 2) ** 2
    return np.repeat(inside[..., None], 3, axis=2).astype(np.float32)


def angles(step: int) -> range:
    """By how many degrees copies are turned: the multiples of a step below 360; none for 0."""
    return range(step, 360, step) if step else range(0)


def turned_copies(pixels: Tensor, step: int) -> Tensor:
    """Turn a picture about its middle; what comes in from outside goes on from the rim.

    Args:
        pixels: (H, W, 3) uint8.
        step: degrees.

    Returns:
        (V, H, W, 3) uint8, one per angle, counter-clockwise.
    """
    picture = np.ascontiguousarray(pixels.cpu())
    return torch.from_numpy(np.stack([_turn(picture, angle) for angle in angles(step)]))


def _turn(picture: NDArray[Any], angle: float) -> NDArray[Any]:
    height, width = picture.shape[:2]
    return cv2.warpAffine(
        picture,
        cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def shown_with_copies(shown: Rows, step: int, map_size: tuple[int, int], grid: Grid) -> Tensor:
    """Which vectors of pictures, then of their turned copies, are shown.

    Args:
        shown: (N, H, W) bool, what each picture shows.
        step: degrees.
        map_size: (h, w) of the map.
        grid: rows and columns of patches.

    Returns:
        (N_p, n) bool.
    """
    numbers = torch.arange(len(shown) if step else 0).unsqueeze(1)
    turned = (turned_copies(255 * shown[one][0].byte(), step) == 255 for one in numbers)
    both = (shown_vectors(one, [map_size], grid)[0] for one in (shown, *turned))
    return torch.cat([*both], dim=1)


def cells_before(cells: Tensor, copies: Tensor, step: int, size: tuple[int, int]) -> Tensor:
    """Where on a map what a copy shows lay before it was turned.

    Args:
        cells: (n,) int64, row · w + column on the copy's map.
        copies: (n,) int64, the number of each one's copy, from 0.
        step: degrees.
        size: (h, w) of the map.

    Returns:
        (n,) int64; the next place at the rim where it came from outside.
    """
    height, width = size
    turn = torch.deg2rad((copies + 1) * float(step))
    y, x = cells // width - (height - 1) / 2, cells % width - (width - 1) / 2
    # Rows go down: what was turned counter-clockwise is taken back clockwise.
    row = torch.sin(turn) * x + torch.cos(turn) * y + (height - 1) / 2
    column = torch.cos(turn) * x - torch.sin(turn) * y + (width - 1) / 2
    return row.round().long().clamp(0, height - 1) * width + column.round().long().clamp(
        0, width - 1
    )
