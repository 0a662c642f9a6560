"""The operators that an exported graph may hold: ONNX's own, and none that reads or runs a thing.

TensorRT's ONNX parser knows all of them (onnx-tensorrt, docs/operators.md for TensorRT 10.15), as
ONNX Runtime and OpenVINO do.
"""

from __future__ import annotations

from typing import Any

from fapm_cli.errors import ModelError

_NAMES = """
Abs Add And ArgMax ArgMin AveragePool Cast CastLike Clip Concat Constant ConstantOfShape Conv
Div Einsum Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gemm Greater
GreaterOrEqual Identity LayerNormalization Less LessOrEqual Log MatMul Max MaxPool Min Mod Mul
Neg Not Or Pad Pow Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape
Resize Shape Sign Slice Softmax Split Sqrt Squeeze Sub TopK Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())


def check_operators(model: Any) -> None:
    """Check what an ``onnx.ModelProto`` is made of: these operators, and no graphs inside graphs.

    Raises:
        ModelError: there is anything else in it.
    """
    if model.functions or any(one.domain not in ("", "ai.onnx") for one in model.opset_import):
        raise ModelError("it holds operators that are not ONNX's own")
    for node in model.graph.node:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise ModelError(f"it holds an operator that no exported graph has: {node.op_type!r}")
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ModelError(f"it holds a graph inside of {node.op_type!r}")
