"""The engines that run exported files on a CPU, as far as they are installed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.compute.cores import usable_cores
from fapm_cli.errors import ModelError
from fapm_cli.exporting.packages import is_there, need, reason_of, version_of

Outputs = list[NDArray[Any]]
Run = Callable[[NDArray[np.uint8]], Outputs]
"""From the file's ``pixels`` to its outputs, in their order."""

_QUIET = 3  # of ONNX Runtime: errors alone


def _onnxruntime(model: bytes, threads: int) -> Run:
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, _QUIET
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda pixels: list(session.run(None, {"pixels": pixels}))


def _openvino(model: bytes, threads: int) -> Run:
    core = need("openvino").Core()
    asked = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", asked)
    request, ports = compiled.create_infer_request(), compiled.outputs

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        found = request.infer({0: pixels})
        return [np.array(found[port]) for port in ports]

    return run


_ENGINES: dict[str, Callable[[bytes, int], Run]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def open_engines(model: bytes) -> dict[str, Run]:
    """Have each engine that is installed load a file, to be run in float32.

    Args:
        model: an ONNX file that was checked; what it holds is all in it.

    Returns:
        By name and version; ONNX Runtime is among them.

    Raises:
        OptionError: ONNX Runtime is not installed.
        ModelError: an engine can't load the file.
    """
    need("onnxruntime")
    opened = {}
    for name in filter(is_there, _ENGINES):
        try:
            run = _ENGINES[name](model, usable_cores())
        except Exception as error:  # each has errors of its own
            raise ModelError(
                f"{name} {version_of(name)} can't load it ({reason_of(error)})"
            ) from error
        opened[f"{name} {version_of(name)}"] = run
    return opened
