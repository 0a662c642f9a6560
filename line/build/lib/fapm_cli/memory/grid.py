"""The patch grid: a feature map cut into patches, and put together again (§2.1).

A layer's map of h×w places is cut into rows × columns equal grid patches, N_p in all. The same
patch of every layer covers the same part of the picture: 32×32 px for a 224 px picture cut 7×7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fapm_cli.errors import OptionError

if TYPE_CHECKING:  # what only needs the numbers imports no torch
    from torch import Tensor

Grid = tuple[int, int]


def check_divisible(
    size_px: tuple[int, int], grid: Grid, map_sizes: Sequence[tuple[int, int]]
) -> None:
    """Check that every patch gets the same whole number of places on every map.

    Args:
        size_px: height and width of the input.
        grid: rows and columns of patches.
        map_sizes: (h, w) of each memory's map.

    Raises:
        OptionError: a side does not divide; the message names the nearest sizes that do.
    """
    for axis, (side, patches) in enumerate(zip(size_px, grid, strict=True)):
        if all(size[axis] % patches == 0 and side % size[axis] == 0 for size in map_sizes):
            continue
        stride = max(2 ** round(math.log2(side / size[axis])) for size in map_sizes)
        unit = patches * stride
        fits = [s for s in (side // unit * unit, side // unit * unit + unit) if s >= 32]
        raise OptionError(
            f"size {side} px can't be cut into {patches} patches of whole {stride} px places; "
            f"sizes that fit: {' or '.join(map(str, fits))} (or another --grid)"
        )


def to_patches(feature_map: Tensor, grid: Grid) -> Tensor:
    """Cut feature maps into grid patches.

    Args:
        feature_map: (B, C, H, W), H and W multiples of the grid's rows and columns.
        grid: rows and columns of patches.

    Returns:
        (N_p, Q, C) with Q = B·N_v, N_v vectors per picture and patch; they run over pictures
        first, then over the patch's cells in reading order.
    """
    b, c, h, w = feature_map.shape
    rows, columns = grid
    cells = feature_map.view(b, c, rows, h // rows, columns, w // columns)
    return cells.permute(2, 4, 0, 3, 5, 1).reshape(rows * columns, -1, c)


def from_patches(values: Tensor, grid: Grid, height: int, width: int) -> Tensor:
    """Put each vector's values back in its place; undoes :func:`to_patches`.

    Args:
        values: (N_p, Q, k), any dtype.
        grid: rows and columns of patches.
        height: places per column of the map, H.
        width: places per row of the map, W.

    Returns:
        (B, H, W, k), same dtype.
    """
    rows, columns = grid
    k = values.shape[2]
    cells = values.view(rows, columns, -1, height // rows, width // columns, k)
    return cells.permute(2, 0, 3, 1, 4, 5).reshape(-1, height, width, k)


def of_pictures(vectors: Tensor, pictures: Tensor, num_pictures: int) -> Tensor:
    """The (N_p, n·N_v, C) vectors of some of the pictures."""
    num_patches, _, channels = vectors.shape
    by_picture = vectors.view(num_patches, num_pictures, -1, channels)
    return by_picture[:, pictures.to(vectors.device)].flatten(1, 2)


def map_cells(indices: Tensor, patch: int, grid: Grid, height: int, width: int) -> Tensor:
    """Where on its map a vector of a patch memory was.

    Args:
        indices: any shape, int64, numbers of vectors among the patch's N·N_v.
        patch: the patch's number in reading order.
        grid: rows and columns of patches.
        height: places per column of the map, H.
        width: places per row of the map, W.

    Returns:
        Same shape: row · W + column on the map.
    """
    rows, columns = grid
    cell_rows, cell_columns = height // rows, width // columns
    cell = indices % (cell_rows * cell_columns)
    row = patch // columns * cell_rows + cell // cell_columns
    return row * width + patch % columns * cell_columns + cell % cell_columns


def neighbor_offsets(reach: int) -> list[tuple[int, int]]:
    """Rows and columns, relative to a patch, of the memories that it searches.

    Args:
        reach: 0 for a patch's own memory only (the paper), 1 for the 8 around it too, and so on.

    Returns:
        (2·reach + 1)² pairs (row, column), the patch's own first.
    """
    steps = range(-reach, reach + 1)
    return sorted(((y, x) for y in steps for x in steps), key=lambda o: (o != (0, 0), o))
