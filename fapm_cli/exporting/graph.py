"""The graph: an engine as an ONNX model, its weights and keys in float32 or in half of that."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fapm_cli.detection.engine import Engine
from fapm_cli.errors import ModelError, OptionError
from fapm_cli.exporting.packages import need, reason_of, version_of
from fapm_cli.memory.key_products import PlainProducts
from fapm_cli.memory.patch_memory import PatchMemory

OUTPUTS = ("score", "layer_scores", "anomaly_map", "peak", "nearest")
OPSETS = (18, 23)
"""The first one that torch writes by itself, and the last that was tried."""
_MAKERS = ("onnx", "onnxscript")
_FEW = 1024  # values: so few are left in float32


def onnx_model(engine: Engine, size_px: tuple[int, int], batch: int, opset: int) -> Any:
    """Make an ``onnx.ModelProto`` of an engine.

    Args:
        engine: without a plan.
        size_px: H, W of its input.
        batch: how many pictures it will be given at a time.
        opset: the version of ONNX's operators.

    Raises:
        OptionError: the packages are not installed, or ``opset`` is none that was tried.
        ModelError: they make no graph of it.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise OptionError(f"opset {opset}: wanted {OPSETS[0]} to {OPSETS[1]}")
    for name in _MAKERS:
        need(name)
    pixels = torch.zeros(batch, *size_px, 3, dtype=torch.uint8)
    engine.eval()
    with torch.no_grad():
        engine(pixels)  # what is found once, like which patches reach which, is found here
        try:
            model = _traced(engine, pixels, opset)
        except Exception as error:  # of torch and onnxscript, which have many
            versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", *_MAKERS))
            raise ModelError(f"{versions} make no graph of it ({reason_of(error)})") from error
    _strip(model)
    return model


def _traced(engine: Engine, pixels: Tensor, opset: int) -> Any:
    with _silence():
        exported = torch.onnx.export(
            engine,
            (pixels,),
            dynamo=True,
            opset_version=opset,
            input_names=["pixels"],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    assert exported is not None
    return exported.model_proto


@contextlib.contextmanager
def _silence() -> Any:
    """Have torch's exporter say nothing: it prints what it does, and warns of its own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(model: Any) -> None:
    """Take out what only says where in the program a thing came from."""
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        one.doc_string = ""
        del one.metadata_props[:]
    del graph.value_info[:]


def round_to_half(engine: Engine) -> None:
    """Round an engine's weights, keys and metrics to what float16 holds; tensors shared with a bank
    stay as they are.
    """
    for parameter in engine.parameters():
        parameter.data = parameter.half().float()
    for module in engine.modules():
        if isinstance(module, PlainProducts):
            module.keys = module.keys.half().float()
            there = module.norms_sq != torch.inf  # on a page that is not full, some places are none
            norms_sq = module.keys.square().sum(dim=2).unsqueeze(1)
            module.norms_sq = torch.where(there, norms_sq, torch.inf)
        if isinstance(module, PatchMemory) and module.metrics is not None:
            module.metrics = module.metrics.half().float()


def store_in_half(model: Any) -> None:
    """Store as float16 what float16 holds without loss; a cast brings it back where it is used."""
    onnx = need("onnx")
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _FEW:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
