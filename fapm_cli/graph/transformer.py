"""A vision transformer: :mod:`fapm_cli.network.families.transformer`, node by node."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fapm_cli.graph.writer import Graph, Value
from fapm_cli.network.vision_transformers import EMBEDDING, EPSILON, TransformerShape

Size = tuple[int, int]
Array = NDArray[np.float32]
Take = Callable[[str, tuple[int, ...]], Array]
"""Weights by name, of a shape."""


class Transformer:
    """Writes the stages of one."""

    def __init__(self, graph: Graph, shape: TransformerShape, take: Take):
        """Take what it is made of."""
        self._graph, self._shape, self._take = graph, shape, take

    def stage(self, name: str, fed: Value, size: Size) -> tuple[Value, Size]:
        """What a stage gives, tokens (B, 1 + h·w, C), and their h and w.

        Args:
            name: of the stage.
            fed: to the embedding normalised px (B, 3, H, W), to a layer tokens.
            size: H and W, or h and w.
        """
        if name == EMBEDDING:
            return self._embedding(name, fed, size)
        width = self._shape.width
        normed = self._normed(f"{name}.norm1", fed, width)
        attended = self._attention(name, normed, 1 + math.prod(size))
        tokens = fed + attended * self._take(f"{name}.scale1", (width,))
        inner = self._linear(
            f"{name}.widen", self._normed(f"{name}.norm2", tokens, width), width, 4 * width
        )
        gelu = inner * 0.5 * (self._graph.node("Erf", inner * (1 / math.sqrt(2))) + 1.0)
        narrowed = self._linear(f"{name}.narrow", gelu, 4 * width, width)
        return tokens + narrowed * self._take(f"{name}.scale2", (width,)), size

    def as_map(self, tokens: Value, size: Size) -> Value:
        """The directions of a stage's tokens, (B, C, h, w)."""
        width, number = self._shape.width, math.prod(size)
        directions = self._graph.node(
            "LayerNormalization",
            tokens.slice(1, 1 + number, 1),
            np.ones(width, np.float32),
            np.zeros(width, np.float32),
            axis=-1,
            epsilon=EPSILON,
        )
        return directions.transpose(0, 2, 1).reshape(-1, width, *size)

    def _embedding(self, name: str, px: Value, size_px: Size) -> tuple[Value, Size]:
        shape = self._shape
        size = size_px[0] // shape.place_px, size_px[1] // shape.place_px
        rows, columns = (
            shrinking(places * shape.patch_px, side).astype(np.float32)
            for places, side in zip(size, size_px, strict=True)
        )
        kernels = (shape.width, 3, shape.patch_px, shape.patch_px)
        patches = self._graph.node(
            "Conv",
            self._graph.constant(rows) @ px @ self._graph.constant(columns.T),
            self._take(f"{name}.patches.weight", kernels),
            self._take(f"{name}.patches.bias", (shape.width,)),
            kernel_shape=[shape.patch_px] * 2,
            strides=[shape.patch_px] * 2,
        )
        tokens = patches.reshape(-1, shape.width, math.prod(size)).transpose(0, 2, 1)
        tokens = self._graph.node("Pad", tokens, np.array([0, 1, 0, 0, 0, 0], np.int64))
        learnt = self._take(f"{name}.positions", (1, 1 + shape.positions**2, shape.width))[0]
        grid = learnt[1:].reshape(shape.positions, shape.positions, -1).astype(np.float64)
        down, across = (bicubic(places, shape.positions) for places in size)
        spread = np.einsum("ai,bj,ijc->abc", down, across, grid, optimize=True)
        own = self._take(f"{name}.own", (1, 1, shape.width))[0] + learnt[:1]
        added = np.concatenate([own, spread.reshape(-1, shape.width).astype(np.float32)])
        return tokens + added[None], size

    def _attention(self, name: str, tokens: Value, number: int) -> Value:
        width, heads = self._shape.width, self._shape.heads
        query, key, value = (
            self._linear(f"{name}.{part}", tokens, width, width).reshape(
                -1, number, heads, width // heads
            )
            for part in ("query", "key", "value")
        )
        query = (query * (width // heads) ** -0.5).transpose(0, 2, 1, 3)
        shares = self._graph.node("Softmax", query @ key.transpose(0, 2, 3, 1), axis=-1)
        found = (shares @ value.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
        return self._linear(f"{name}.output", found.reshape(-1, number, width), width, width)

    def _normed(self, name: str, tokens: Value, width: int) -> Value:
        scale, shift = (self._take(f"{name}.{kind}", (width,)) for kind in ("weight", "bias"))
        return self._graph.node(
            "LayerNormalization", tokens, scale, shift, axis=-1, epsilon=EPSILON
        )

    def _linear(self, name: str, fed: Value, inner: int, out: int) -> Value:
        matrix = self._graph.constant(self._take(f"{name}.weight", (out, inner)).T, name)
        return fed @ matrix + self._take(f"{name}.bias", (out,))


def shrinking(num_out: int, num_in: int) -> NDArray[np.float64]:
    """(num_out, num_in): bilinear resizing to fewer, each the mean of all it covers (torch's, and
    Pillow's, antialiased one).
    """
    scale = num_in / num_out
    centres = (np.arange(num_out) + 0.5) * scale
    apart = np.abs(np.arange(num_in) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(1 - apart, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def bicubic(num_out: int, num_in: int) -> NDArray[np.float64]:
    """(num_out, num_in): cubic convolution (Keys 1981; a = -0.75, as torch has it), ends repeated,
    without antialiasing.
    """
    places = (np.arange(num_out) + 0.5) * num_in / num_out - 0.5
    first = np.floor(places).astype(np.int64)
    matrix, a = np.zeros((num_out, num_in)), -0.75
    for step in range(-1, 3):
        x = np.abs(places - first - step)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        at = np.clip(first + step, 0, num_in - 1)
        np.add.at(matrix, (np.arange(num_out), at), np.where(x <= 1, near, far))
    return matrix
