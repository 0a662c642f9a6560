"""Resizing: a picture of any size to the input's, as Pillow's antialiased bilinear filter does.

Each side is a product with a matrix that is made in the graph, of the picture's own size. Pillow
computes in whole numbers: coefficients of 22 bits, and px that are rounded after each side. Floats
hold whole numbers of 24 bits, so coefficients are taken apart in two halves, and px come out the
same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fapm_cli.graph.writer import Graph, Value
from fapm_cli.pictures.preparing import shrinks_down_first

Size = tuple[int, int]
MOST_PX = 16384
"""Of a picture's side; of a larger one, engines say that products don't fit."""
_HALF, _ONE = 2.0**11, 2.0**22


def resized(graph: Graph, pixels: Value, size: Size) -> Value:
    """(B, h, w, 3) float32 whole numbers of (B, H, W, 3), h and w the size.

    Which side is first decides how px are rounded, and Pillow chooses by the picture's size (found
    by trying: no page says it). A graph has no branches: it does both, the wrong one with a single
    row and column.
    """
    shape, planes = graph.node("Shape", pixels), pixels.transpose(0, 3, 1, 2)
    rows, columns = (shape.slice(axis, axis + 1, 0) for axis in (1, 2))
    if not shrinks_down_first():
        return _in_order(graph, planes, (rows, columns), size).transpose(0, 2, 3, 1)
    fewer, narrower = (
        (side - np.array([out])).cast(np.float32)
        for side, out in zip((rows, columns), size, strict=True)
    )
    is_tall = fewer > graph.node("Relu", narrower * 2.0)
    ways = []
    for down_first, chosen in ((True, is_tall), (False, graph.node("Not", is_tall))):
        taken = [graph.where(chosen, side, np.array([1])) for side in (rows, columns)]
        part = planes
        for axis, end in enumerate(taken, 2):
            part = graph.node("Slice", part, np.array([0]), end, np.array([axis]))
        ways.append(_in_order(graph, part, taken, size, down_first=down_first))
    return graph.where(is_tall, *ways).transpose(0, 2, 3, 1)


def _in_order(
    graph: Graph, planes: Value, sides: Sequence[Value], size: Size, *, down_first: bool = False
) -> Value:
    """(B, 3, h, w) of (B, 3, H, W), one side after the other."""
    down, across = (_coefficients(graph, *both) for both in zip(sides, size, strict=True))
    for is_down in (down_first, not down_first):
        products = (
            (one @ planes for one in down)
            if is_down
            else (planes @ one.transpose(1, 0) for one in across)
        )
        planes = _rounded(graph, *products)
    return planes


def _coefficients(graph: Graph, side: Value, out: int) -> tuple[Value, Value]:
    """Upper and lower halves, (out, N) each, of what each of N px counts in each of ``out``.

    By twice their number and by both sides, distances between centres are whole numbers.
    """
    every_px = np.arange(MOST_PX, dtype=np.int64) * 2 + 1
    first = np.array([0], np.int64)
    given = graph.node("Slice", every_px, first, side, first)
    wanted = np.arange(out, dtype=np.int64)[:, None] * 2 + 1
    apart = (given * np.array(out) - side * wanted).cast(np.float32)
    widest = side.cast(np.float32).at_least(float(out)) * 2.0
    weights = graph.node("Relu", widest - graph.node("Abs", apart))
    weights, total = weights * _HALF, weights.sum(1, keep=True)
    upper = graph.node("Floor", weights / total + 0.5)
    return upper, graph.node("Floor", (weights - upper * total) * _HALF / total + 0.5)


def _rounded(graph: Graph, upper: Value, lower: Value) -> Value:
    """(upper · 2¹¹ + lower) / 2²², to the nearest whole number, in steps that floats hold."""
    upper = upper + _HALF / 2
    whole = graph.node("Floor", upper / _HALF)
    rest = upper - whole * _HALF
    return whole + graph.node("Floor", (rest * _HALF + lower) / _ONE)
