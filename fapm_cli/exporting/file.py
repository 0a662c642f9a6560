"""The exported file's bytes: sealed when made; read back as the untrusted thing that a file is.

It is an ``onnx.ModelProto`` and, behind it, one more entry of metadata, which protobuf reads as a
part of it: a digest of all that is before. That tells a file that was changed, not a forged one.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from fapm_cli.errors import ModelError
from fapm_cli.exporting.metadata import PREFIX
from fapm_cli.exporting.operators import check_operators
from fapm_cli.finding.kinds import A_MODEL, kind_of
from fapm_cli.packages import need
from fapm_cli.version import __version__

MOST_BYTES = 2**31 - 1  # protobuf holds no more
MOST_BATCH = 64
ANY_SIZE = (0, 0, 3)
"""Sides of a picture, as an input says that they are any."""
_DIGEST = PREFIX + "sha256"


def seal(model: Any, said: dict[str, str]) -> bytes:
    """Make a file of an ``onnx.ModelProto`` and what it is to say of itself.

    Raises:
        ModelError: it is larger than an ONNX file can be.
    """
    model.producer_name, model.producer_version = "fapm", __version__
    del model.metadata_props[:]
    for name, value in said.items():
        model.metadata_props.add(key=name, value=value)
    if model.ByteSize() > MOST_BYTES:
        raise ModelError(f"it takes {model.ByteSize() / 1e9:.1f} GB, and an ONNX file holds 2")
    data: bytes = model.SerializeToString()
    return data + _tail(data)


def _tail(data: bytes) -> bytes:
    onnx = need("onnx")
    digest = hashlib.sha256(data).hexdigest()
    entry = onnx.StringStringEntryProto(key=_DIGEST, value=digest)
    tail: bytes = onnx.ModelProto(metadata_props=[entry]).SerializeToString()
    return tail


def read_bytes(path: Path) -> bytes:
    """Read a file that :func:`seal` made, as it was made.

    Raises:
        ModelError: it is missing, something else, or was changed.
        OptionError: the packages are not installed.
    """
    kind = kind_of(path)
    if kind not in ("", A_MODEL):
        raise ModelError(f"{path} is {kind}, not {A_MODEL}; make one with: fapm export")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; make it with: fapm export")
    if path.stat().st_size > MOST_BYTES:
        raise ModelError(f"{path} is larger than an ONNX file can be")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror}") from error
    if kind != A_MODEL:
        raise ModelError(f"{path} is not {A_MODEL}; make one with: fapm export")
    length = len(_tail(b""))
    if _tail(data[:-length]) != data[-length:]:
        raise ModelError(f"{path} is not as fapm made it: export the bank again")
    return data


def read_model(data: bytes) -> Any:
    """Read a file's ``onnx.ModelProto`` and check it: all of it is in it, and of known parts.

    Raises:
        ModelError: it is damaged, or holds what no exported graph does.
    """
    onnx = need("onnx")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # of protobuf, which has several, by version
        raise ModelError(f"it is damaged ({error})") from error
    check_operators(model)
    graph = model.graph
    if graph.sparse_initializer or model.training_info:
        raise ModelError("it holds parts that no exported graph has")
    constants = [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    for tensor in (*graph.initializer, *constants):
        _check_tensor(onnx, tensor)
    inputs = [(one.name, *_shape(one)) for one in graph.input]
    name, kind, sides = inputs[0] if len(inputs) == 1 else ("", 0, [])
    fits = (name, kind, len(sides)) == ("pixels", onnx.TensorProto.UINT8, 4)
    if not fits or not 1 <= sides[0] <= MOST_BATCH:
        raise ModelError(f"its inputs are {inputs}, which no exported graph has")
    return model


def _check_tensor(onnx: Any, tensor: Any) -> None:
    """Check that a tensor's values are in the file, as many as its shape says."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(f"it keeps {tensor.name!r} in another file, which is not read")
    kinds = onnx.TensorProto
    sizes = {kinds.FLOAT: 4, kinds.FLOAT16: 2, kinds.INT64: 8, kinds.INT32: 4, kinds.BOOL: 1}
    if tensor.data_type not in sizes or any(side < 0 for side in tensor.dims):
        raise ModelError(f"its {tensor.name!r} is of a type that no exported graph has")
    if math.prod(tensor.dims) * sizes[tensor.data_type] != len(tensor.raw_data):
        raise ModelError(f"its {tensor.name!r} is damaged: its size is not its shape's")


def _shape(value: Any) -> tuple[int, list[int]]:
    """Type and sides of an input; 0 where a side is not fixed."""
    of = value.type.tensor_type
    return of.elem_type, [side.dim_value for side in of.shape.dim]


def metadata_of(model: Any) -> dict[str, str]:
    """What a file says of itself, by name; of what is there twice, the last."""
    return {one.key: one.value for one in model.metadata_props}


def input_of(model: Any) -> tuple[int, ...]:
    """The shape of a checked file's input: B, H, W, 3; H and W are 0 for any."""
    return tuple(_shape(model.graph.input[0])[1])


def read_input(path: Path) -> tuple[int, ...]:
    """Read the shape of a file's input, B, H, W, 3, and check the file without its bank.

    Of a file for any size it is that of the input that it resizes to and cuts out.

    Raises:
        ModelError: it is missing, something else, changed or damaged.
        OptionError: the packages are not installed.
    """
    data = read_bytes(path)
    try:
        model = read_model(data)
        shape = input_of(model)
        if shape[1:] == ANY_SIZE:
            said = metadata_of(model).get(PREFIX + "input_px", "")
            height, width = map(int, said.split("x"))
            shape = (shape[0], height, width, 3)
        return shape
    except (ModelError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
