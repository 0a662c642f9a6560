"""Half of the bytes: what is rounded to float16, and how it is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Rounding = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""What is done to weights, keys and metrics before they are written."""

_FEW = 1024  # values: so few are left in float32


def to_half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to what float16 holds; float32 all the same."""
    return values.astype(np.float16).astype(np.float32)


def as_is(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round nothing."""
    return values


def store_in_half(model: Any) -> None:
    """Store as float16 what float16 holds without loss; a cast brings it back where it is used."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _FEW:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
