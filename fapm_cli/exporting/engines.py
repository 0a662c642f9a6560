"""The engines that run exported files on a CPU, as far as they are installed.

This file imports no torch: a program without it runs the files likewise.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.errors import ModelError, OptionError
from fapm_cli.packages import is_there, need, reason_of, version_of

Outputs = list[NDArray[Any]]
Run = Callable[[NDArray[np.uint8]], Outputs]
"""From the file's ``pixels`` to its outputs, in their order."""
Model = bytes | str
"""An ONNX file that was checked: what is in it, or where it lies."""

PRECISIONS = {"onnxruntime": ("fp32",), "openvino": ("fp32", "bf16")}
"""What each engine computes an exported file in; it is proven in the first."""

_PACKAGES = {"onnxruntime": "'fapm[export]'", "openvino": "openvino"}
_QUIET = 3  # of ONNX Runtime: errors alone


def _onnxruntime(model: Model, threads: int, precision: str) -> Run:
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, _QUIET
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda pixels: list(session.run(None, {"pixels": pixels}))


def _openvino(model: Model, threads: int, precision: str) -> Run:
    core = need("openvino").Core()
    asked = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    read = core.read_model(model if isinstance(model, str) else io.BytesIO(model))
    compiled = core.compile_model(read, "CPU", asked)
    request, ports = compiled.create_infer_request(), compiled.outputs

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        found = request.infer({0: pixels})
        return [np.array(found[port]) for port in ports]

    return run


_ENGINES: dict[str, Callable[[Model, int, str], Run]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def installed_engines() -> list[str]:
    """Names of those that are installed."""
    return [name for name in _ENGINES if is_there(name)]


def check_installed(name: str) -> None:
    """Check that an engine is installed.

    Raises:
        OptionError: it is not.
    """
    if not is_there(name):
        raise OptionError(
            f"engine {name} is not installed; install it with: pip install {_PACKAGES[name]}"
        )


def open_engine(name: str, model: Model, threads: int, precision: str = "fp32") -> Run:
    """Have an engine load a file.

    Args:
        name: of the engine, which is installed.
        model: the file.
        threads: to compute in.
        precision: one of its :data:`PRECISIONS`.

    Raises:
        ModelError: the engine can't load it.
    """
    try:
        return _ENGINES[name](model, threads, precision)
    except Exception as error:  # each has errors of its own
        raise ModelError(f"{name} {version_of(name)} can't load it ({reason_of(error)})") from error


def open_engines(model: bytes, threads: int) -> dict[str, Run]:
    """Have each engine that is installed load a file, to be run in float32.

    Args:
        model: the file.
        threads: of each engine.

    Returns:
        By name and version; ONNX Runtime is among them.

    Raises:
        OptionError: ONNX Runtime is not installed.
        ModelError: an engine can't load the file.
    """
    need("onnxruntime")
    return {
        f"{name} {version_of(name)}": open_engine(name, model, threads)
        for name in installed_engines()
    }
