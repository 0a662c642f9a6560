"""Requests: a graph as OpenVINO runs it, several at a time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from fapm_cli.errors import ModelError
from fapm_cli.packages import need, reason_of, version_of

NAME = "openvino"


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Say in one line what OpenVINO says of its failure."""
    try:
        yield
    except RuntimeError as error:
        raise ModelError(
            f"{NAME} {version_of(NAME)} can't run the bank ({reason_of(error)}); free memory if "
            "that is why, or try --engine torch"
        ) from error


class Request:
    """A run of a graph, with arrays of its own that it reads and writes.

    Attributes:
        inputs: by name, to be filled.
        outputs: by name, as the last run left them.
    """

    def __init__(self, request: Any):
        """Name its arrays; each run finds them in place."""
        self._request = request
        compiled = request.get_compiled_model()
        self.inputs, self.outputs = (
            {port.get_any_name(): request.get_tensor(port).data for port in ports}
            for ports in (compiled.inputs, compiled.outputs)
        )

    def infer(self) -> None:
        """Run."""
        self._request.infer()


class Requests:
    """Some of a graph, side by side."""

    def __init__(self, core: Any, model: Any, number: int, cores: int):
        """Lay an ONNX model out for so many at a time, over so many cores."""
        asked = {
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": number,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        read = core.read_model(io.BytesIO(model.SerializeToString()))
        compiled = core.compile_model(read, "CPU", asked)
        self._free: SimpleQueue[Request] = SimpleQueue()
        for _ in range(number):
            request = Request(compiled.create_infer_request())
            for array in request.inputs.values():
                array[...] = 0
            request.infer()  # one makes itself ready as it first runs: not two at a time
            self._free.put(request)

    @contextlib.contextmanager
    def one(self) -> Iterator[Request]:
        """One that nobody else has meanwhile."""
        request = self._free.get()
        try:
            yield request
        finally:
            self._free.put(request)


def core() -> Any:
    """OpenVINO itself.

    Raises:
        OptionError: it can't be imported.
    """
    return need(NAME).Core()
