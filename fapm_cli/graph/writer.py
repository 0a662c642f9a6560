"""Writing: a graph, node by node, in code that reads like formulas.

graph = Graph()
x = graph.input("pixels", np.uint8, (1, 224, 224, 3))
graph.output("mean", ((x.cast(np.float32) - 127.0) / 128.0).mean(1, 2, 3))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

_SMALL = 2**16  # bytes
Side = int | str | None
"""Of a shape; a name for any, None for that of batches."""


class Value:
    """What comes out of a node, by its name."""

    def __init__(self, graph: Graph, name: str):
        """Take both."""
        self.graph, self.name = graph, name

    def __add__(self, other: Operand) -> Value:
        """Add."""
        return self.graph.node("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        """Subtract."""
        return self.graph.node("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        """Multiply."""
        return self.graph.node("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        """Divide; of int64, without the rest."""
        return self.graph.node("Div", self, other)

    def __matmul__(self, other: Operand) -> Value:
        """Multiply matrices."""
        return self.graph.node("MatMul", self, other)

    def __rmatmul__(self, other: Operand) -> Value:
        """Multiply matrices, this one from the right."""
        return self.graph.node("MatMul", other, self)

    def __gt__(self, other: Operand) -> Value:
        """Compare."""
        return self.graph.node("Greater", self, other)

    def __and__(self, other: Value) -> Value:
        """Tell where both are true."""
        return self.graph.node("And", self, other)

    def at_least(self, low: float) -> Value:
        """Each value, or ``low`` if that is more."""
        return self.graph.node("Max", self, low)

    def at_most(self, high: float) -> Value:
        """Each value, or ``high`` if that is less."""
        return self.graph.node("Min", self, high)

    def cast(self, dtype: DTypeLike) -> Value:
        """The values in another type."""
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph.node("Cast", self, to=to)

    def reshape(self, *shape: int) -> Value:
        """The values in another shape; -1 for the side that follows from the others."""
        return self.graph.node("Reshape", self, np.array(shape, np.int64))

    def transpose(self, *order: int) -> Value:
        """The values with their sides in another order."""
        return self.graph.node("Transpose", self, perm=order)

    def gather(self, indices: Value | NDArray[np.int64], axis: int = 0) -> Value:
        """Those of some places of a side."""
        return self.graph.node("Gather", self, indices, axis=axis)

    def slice(self, first: int, end: int, axis: int) -> Value:
        """Those of a span of a side."""
        spans = (np.array([number], np.int64) for number in (first, end, axis))
        return self.graph.node("Slice", self, *spans)

    def unsqueeze(self, *axes: int) -> Value:
        """The values with more sides, of one place."""
        return self.graph.node("Unsqueeze", self, np.array(axes, np.int64))

    def sum(self, *axes: int, keep: bool = False) -> Value:
        """Sums over sides."""
        return self._reduce("ReduceSum", axes, keep)

    def mean(self, *axes: int) -> Value:
        """Means over sides."""
        return self._reduce("ReduceMean", axes, False)

    def max(self, *axes: int, keep: bool = False) -> Value:
        """The largest over sides."""
        return self._reduce("ReduceMax", axes, keep)

    def min(self, *axes: int, keep: bool = False) -> Value:
        """The smallest over sides."""
        return self._reduce("ReduceMin", axes, keep)

    def _reduce(self, kind: str, axes: Sequence[int], keep: bool) -> Value:
        return self.graph.node(kind, self, np.array(axes, np.int64), keepdims=int(keep))

    def arg_max(self, axis: int) -> Value:
        """Where the first of the largest lies on a side."""
        return self.graph.node("ArgMax", self, axis=axis, keepdims=0)

    def arg_min(self, axis: int) -> Value:
        """Where the first of the smallest lies on a side."""
        return self.graph.node("ArgMin", self, axis=axis, keepdims=0)

    def top(self, k: int, axis: int, *, largest: bool, ordered: bool) -> tuple[Value, Value]:
        """The k largest or smallest of a side, and where they lie."""
        inputs, attributes = (self, np.array([k], np.int64)), {"axis": axis}
        values, places = self.graph.nodes(
            "TopK", 2, *inputs, **attributes, largest=int(largest), sorted=int(ordered)
        )
        return values, places


Operand = Value | float | NDArray[Any]


class Graph:
    """A graph of ONNX operators, as it grows; a small constant used twice is stored once."""

    def __init__(self) -> None:
        """Begin."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def node(self, kind: str, *inputs: Operand, **attributes: Any) -> Value:
        """Add a node that gives one value."""
        return self.nodes(kind, 1, *inputs, **attributes)[0]

    def nodes(self, kind: str, count: int, *inputs: Operand, **attributes: Any) -> list[Value]:
        """Add a node that gives several."""
        names = [self._value(one).name for one in inputs]
        out = [f"{kind.lower()}_{len(self._nodes)}_{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, names, out, name=out[0], **attributes))
        return [Value(self, name) for name in out]

    def named(self, name: str, value: Value) -> Value:
        """The same by a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        return Value(self, name)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Join values along a side."""
        return values[0] if len(values) == 1 else self.node("Concat", *values, axis=axis)

    def where(self, condition: Operand, then: Operand, other: Operand) -> Value:
        """Choose place by place."""
        return self.node("Where", condition, then, other)

    def constant(self, values: Any, name: str = "constant") -> Value:
        """A constant; numbers of Python's are float32."""
        array = np.ascontiguousarray(
            values if isinstance(values, np.ndarray) else np.float32(values)
        )
        array = array.reshape(np.shape(values))  # numpy gives a number a side
        own = f"{name}.{len(self._initializers)}"
        if array.nbytes <= _SMALL:
            key = (array.dtype.str, array.shape, array.tobytes())
            if key in self._constants:
                return self._constants[key]
            self._constants[key] = Value(self, own)
        self._initializers.append(numpy_helper.from_array(array, own))
        return Value(self, own)

    def _value(self, one: Operand) -> Value:
        return one if isinstance(one, Value) else self.constant(one)

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[Side]) -> Value:
        """Name an input."""
        self._inputs.append(_described(name, dtype, shape))
        return Value(self, name)

    def output(self, name: str, value: Value, dtype: DTypeLike, shape: Sequence[Side]) -> None:
        """Name an output."""
        self.named(name, value)
        self._outputs.append(_described(name, dtype, shape))

    def model(self, opset: int) -> onnx.ModelProto:
        """All of it, by the version of ONNX's operators that is asked for."""
        graph = helper.make_graph(
            self._nodes, "fapm", self._inputs, self._outputs, self._initializers
        )
        imports = [helper.make_opsetid("", opset)]
        version = helper.find_min_ir_version_for(imports)
        return helper.make_model(graph, opset_imports=imports, ir_version=version)


def _described(name: str, dtype: DTypeLike, shape: Sequence[Side]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    sides = ["batch" if side is None else side for side in shape]
    return helper.make_tensor_value_info(name, kind, sides)
