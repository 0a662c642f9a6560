"""A model for OpenVINO, whole or in parts: those of the network that are rounded, and the rest.

OpenVINO rounds a model in all of its nodes or in none. Rounded from the first px on, or where keys
are chosen, scores move by a tenth of the gap between good and defective parts; from a stage on, by
a hundredth (docs/accuracy.md). So these stages are a model of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.graph.network import FED, MAP
from fapm_cli.packages import need

ROUNDED = "bf16"
Parts = list[tuple[Any, str]]
"""Models in the order in which they run, and OpenVINO's name of the precision of each."""


def whole(model: Any) -> Parts:
    """A model in float32."""
    return [(model, "f32")]


def in_parts(model: Any, num_maps: int) -> Parts:
    """A model whose network is cut, with bfloat16 between the cuts."""
    maps = [f"{MAP}{j}" for j in range(num_maps)]
    outputs = [port.get_any_name() for port in model.outputs]
    return [
        (_part(model, ["pixels"], [FED]), "f32"),
        (_part(model, [FED], maps), ROUNDED),
        (_part(model, ["pixels", *maps], outputs), "f32"),
    ]


def _part(model: Any, given: Sequence[str], wanted: Sequence[str]) -> Any:
    """The part of a model between some of its values and others."""
    openvino, opset = need("openvino"), need("openvino.opset13")
    model = model.clone()
    ports = {name: port for op in model.get_ops() for port in op.outputs() for name in port.names}
    parameters = []
    for name in given:
        port = ports[name]
        parameter = port.get_node()
        if parameter.get_type_name() != "Parameter":
            parameter = opset.parameter(port.get_shape(), port.get_element_type())
            for fed in port.get_target_inputs():
                fed.replace_source_output(parameter.output(0))
            parameter.output(0).set_names({name})
        parameters.append(parameter)
    results = [opset.result(ports[name]) for name in wanted]
    return openvino.Model(results, parameters)


class Row:
    """Requests of a model's parts, run one after another as one."""

    def __init__(self, requests: Sequence[Any]):
        """Have each read what those before it write, where that is."""
        self._steps: list[tuple[Any, Any]] = []  # requests, and where each takes pixels, if it does
        written: dict[str, Any] = {}
        for request in requests:
            compiled = request.get_compiled_model()
            own = [port for port in compiled.inputs if "pixels" in port.names]
            self._steps.append((request, own[0] if own else None))
            for port in compiled.inputs:
                if port.get_any_name() in written:
                    request.set_tensor(port, written[port.get_any_name()])
            written |= {
                name: request.get_tensor(port) for port in compiled.outputs for name in port.names
            }

    def __call__(self, pixels: NDArray[np.float32]) -> list[NDArray[Any]]:
        """From pixels to the last one's outputs."""
        for request, port in self._steps:
            request.infer(None if port is None else {port: pixels})
        return [np.array(one.data) for one in request.output_tensors]
