"""Patches: maps cut into a grid, and put together again, as :mod:`fapm_cli.memory.grid` does."""

from __future__ import annotations

from fapm_cli.graph.writer import Value
from fapm_cli.memory.grid import Grid

Size = tuple[int, int]


def to_patches(feature_map: Value, channels: int, size: Size, grid: Grid) -> Value:
    """(N_p, C, Q) of a (B, C, h, w) map: a vector is a column, which products then read as it is.

    Q = B·N_v runs over pictures first, then over the patch's cells in reading order.
    """
    (h, w), (rows, columns) = size, grid
    cells = feature_map.reshape(-1, channels, rows, h // rows, columns, w // columns)
    return cells.transpose(2, 4, 1, 0, 3, 5).reshape(rows * columns, channels, -1)


def from_patches(values: Value, k: int, size: Size, grid: Grid) -> Value:
    """Put each vector's k values back in its place: (B, k, h, w) of (N_p, k, Q)."""
    (h, w), (rows, columns) = size, grid
    cells = values.reshape(rows, columns, k, -1, h // rows, w // columns)
    return cells.transpose(3, 2, 0, 4, 1, 5).reshape(-1, k, h, w)
