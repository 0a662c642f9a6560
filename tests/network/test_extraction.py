from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers import small_config
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.arrays import weights_hash
from fapm_cli.bank.presets import default_config, paper_config
from fapm_cli.config import BankConfig
from fapm_cli.errors import OptionError, WeightsError
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor
from fapm_cli.network.weights import packaged_weights, read_weights

State = dict[str, Tensor]


def random_pixels(count: int, size_px: tuple[int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, *size_px, 3), generator=generator, dtype=torch.uint8)


def close(values: Tensor, wanted: Tensor, relative: float) -> None:
    """Check against a share of the largest value wanted."""
    torch.testing.assert_close(values, wanted, rtol=0, atol=relative * float(wanted.abs().max()))


# --- ResNets -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """A whole resnet18 whose batch norms have statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = torchvision.models.resnet18(weights=None)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.2)
                nn.init.normal_(part.running_mean, 0, 0.2)  # type: ignore[arg-type]
                nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval().requires_grad_(False)


@pytest.fixture
def resnet_state(resnet: nn.Module) -> State:
    return dict(resnet.state_dict())


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Mapping[str, object]], FeatureExtractor]:
    """Save weights, and load them as those of small_config's resnet18."""

    def save_and_load(state: Mapping[str, object]) -> FeatureExtractor:
        path = tmp_path / "weights.pth"
        torch.save(dict(state), path)
        return load_extractor(small_config(), str(path))

    return save_and_load


Load = Callable[[Mapping[str, object]], FeatureExtractor]


def hooked(network: nn.Module, config: BankConfig, pixels: Tensor) -> list[Tensor]:
    """Run a whole network as torchvision does, and catch what its layers give."""
    caught: dict[str, Tensor] = {}

    def catch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            caught[name] = output

        return hook

    hooks = [getattr(network, n).register_forward_hook(catch(n)) for n in config.layers]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    network((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
    for one in hooks:
        one.remove()
    return [caught[name] for name in config.layers]


def test_the_cut_and_folded_resnet_gives_what_hooks_on_the_whole_one_catch(
    resnet: nn.Module, resnet_state: State, load: Load
) -> None:
    extractor = load(resnet_state)
    pixels = random_pixels(2, (64, 96))
    wanted = hooked(resnet, extractor.config, pixels)
    taps = extractor.tap(pixels)
    assert [tuple(t.shape) for t in taps] == [(2, 128, 8, 12), (2, 256, 4, 6)]
    for tap, layer in zip(taps, wanted, strict=True):
        close(tap, layer, 1e-4)
        assert float(layer.std()) > 0.1  # there is something to compare
    assert not any(isinstance(part, nn.BatchNorm2d) for part in extractor.modules())
    assert list(extractor.stages) == ["stem", "layer1", "layer2", "layer3"]


def test_layers_are_given_in_the_order_of_the_configuration(
    resnet: nn.Module, resnet_state: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(resnet_state, path)
    config = small_config(layers=("layer3", "layer1"))
    pixels = random_pixels(1, (64, 96))
    taps = load_extractor(config, str(path)).tap(pixels)
    for tap, wanted in zip(taps, hooked(resnet, config, pixels), strict=True):
        close(tap, wanted, 1e-4)


def test_a_batch_of_seven_gives_what_each_picture_gives_alone(
    resnet_state: State, load: Load
) -> None:
    extractor = load(resnet_state)
    pixels = random_pixels(7, (64, 96))
    together = extractor(pixels)
    for i in range(7):
        for maps, alone in zip(together, extractor(pixels[i : i + 1]), strict=True):
            close(maps[i], alone[0], 1e-5)


# --- Weights files -----------------------------------------------------------------------------


def test_missing_weights_behind_the_cut_are_not_missed(resnet_state: State, load: Load) -> None:
    needed = {k: v for k, v in resnet_state.items() if not k.startswith(("layer4.", "fc."))}
    assert len(needed) < len(resnet_state)
    assert load(needed).weights_hash == load(resnet_state).weights_hash


def test_missing_batch_counters_are_not_missed(resnet_state: State, load: Load) -> None:
    needed = {k: v for k, v in resnet_state.items() if "num_batches_tracked" not in k}
    assert load(needed).weights_hash == load(resnet_state).weights_hash


@pytest.mark.parametrize(
    "name", ["conv1.weight", "bn1.running_var", "layer3.1.bn2.bias", "layer2.0.downsample.0.weight"]
)
def test_a_missing_weight_before_the_cut_is_named(
    resnet_state: State, load: Load, name: str
) -> None:
    del resnet_state[name]
    with pytest.raises(WeightsError, match=name) as raised:
        load(resnet_state)
    assert "weights.pth" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["layer9.weight", "module.conv1.weight", "features.0.weight"])
def test_a_foreign_weight_is_named(resnet_state: State, load: Load, name: str) -> None:
    resnet_state[name] = torch.zeros(3)
    with pytest.raises(WeightsError, match=f"'{name}': it is not resnet18's"):
        load(resnet_state)


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.weight", "layer3.0.conv1.weight"])
def test_a_weight_of_another_shape_is_named_with_both_shapes(
    resnet_state: State, load: Load, name: str
) -> None:
    right = tuple(resnet_state[name].shape)
    resnet_state[name] = torch.zeros(5, *right[1:])
    with pytest.raises(WeightsError) as raised:
        load(resnet_state)
    assert name in str(raised.value)
    assert str((5, *right[1:])) in str(raised.value)
    assert str(right) in str(raised.value)


def test_weights_of_another_backbone_are_refused(resnet_state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(resnet_state, path)
    for other in ("resnet50", "resnet34", "efficientnet_lite0"):
        with pytest.raises(WeightsError):
            load_extractor(default_config(other), str(path))


class Trap:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("way", ["pickle", "torch.save", "torch.save, legacy", ".safetensors"])
def test_a_pickle_that_would_run_something_is_refused_and_not_run(tmp_path: Path, way: str) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / ("weights.safetensors" if way == ".safetensors" else "weights.pth")
    if way.startswith("torch.save"):
        zipped = "legacy" not in way
        torch.save({"conv1.weight": Trap(sprung)}, path, _use_new_zipfile_serialization=zipped)
    else:
        path.write_bytes(pickle.dumps({"conv1.weight": Trap(sprung)}))
    with pytest.raises(WeightsError, match="can't be read safely") as raised:
        load_extractor(small_config(), str(path))
    assert "\n" not in str(raised.value)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap does work


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.9999])
def test_a_truncated_weights_file_is_refused(
    resnet_state: State, tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(resnet_state, path)
    else:
        save_file(resnet_state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match="can't be read safely") as raised:
        load_extractor(small_config(), str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_legacy_weights_file_with_a_wrong_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])
        try:
            read_weights(path)
        except WeightsError:
            continue


@pytest.mark.parametrize("state", [[1, 2], None, {"state_dict": {"a": torch.zeros(1)}}, {"a": 1}])
def test_a_file_of_anything_but_named_tensors_is_refused(tmp_path: Path, state: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="no state dict"):
        load_extractor(small_config(), str(path))


def test_tensors_named_by_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({1: torch.zeros(1)}, path)
    with pytest.raises(WeightsError):
        load_extractor(small_config(), str(path))


def test_weights_that_are_not_finite_are_refused(resnet_state: State, load: Load) -> None:
    resnet_state["conv1.weight"] = torch.full_like(resnet_state["conv1.weight"], torch.nan)
    with pytest.raises(WeightsError):
        load(resnet_state)


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_a_weights_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_extractor(small_config(), str(tmp_path / name))


def test_safetensors_and_legacy_files_hold_the_same_weights(
    resnet_state: State, load: Load, tmp_path: Path
) -> None:
    wanted = load(resnet_state).weights_hash
    save_file(resnet_state, tmp_path / "w.safetensors")
    torch.save(resnet_state, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.pt"):
        assert load_extractor(small_config(), str(tmp_path / name)).weights_hash == wanted


def test_half_precision_weights_are_taken_as_float32(resnet_state: State, load: Load) -> None:
    halved = {k: v.half() if v.is_floating_point() else v for k, v in resnet_state.items()}
    extractor = load(halved)
    assert {value.dtype for value in extractor.state_dict().values()} == {torch.float32}
    pixels = random_pixels(1, (64, 96))
    for tap, wanted in zip(extractor.tap(pixels), load(resnet_state).tap(pixels), strict=True):
        close(tap, wanted, 1e-2)


def folded_by_hand(state: State, *, keep_norms: bool, conv_bias: bool) -> State:
    """Fold each resnet batch norm into its convolution, plainly."""
    folded = {k: v.clone() for k, v in state.items()}
    for name in [n.removesuffix(".running_var") for n in state if n.endswith(".running_var")]:
        conv = name.replace("bn", "conv")
        if "downsample" in name:
            conv = name.replace("downsample.1", "downsample.0")
        gamma, beta, mean, var = (
            state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / (var + 1e-5).sqrt()
        folded[f"{conv}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        shift = beta - mean * scale
        if conv_bias:
            folded[f"{conv}.bias"] = shift
        folded[f"{name}.weight"] = torch.ones_like(gamma)
        folded[f"{name}.bias"] = torch.zeros_like(beta) if conv_bias else shift
        folded[f"{name}.running_mean"] = torch.zeros_like(mean)
        folded[f"{name}.running_var"] = torch.full_like(var, 1 - 1e-5)
        if not keep_norms:
            for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                del folded[f"{name}.{part}"]
    return folded


@pytest.mark.parametrize(
    ("keep_norms", "conv_bias"),
    [
        pytest.param(True, False, id="identity norms that hold the shift"),
        pytest.param(
            True,
            True,
            id="identity norms and biases",
        ),
        pytest.param(
            False,
            True,
            id="biases and no norms",
        ),
    ],
)
def test_weights_that_are_folded_already_give_the_same_features(
    resnet_state: State, load: Load, keep_norms: bool, conv_bias: bool
) -> None:
    pixels = random_pixels(1, (64, 96))
    wanted = load(resnet_state).tap(pixels)
    folded = folded_by_hand(resnet_state, keep_norms=keep_norms, conv_bias=conv_bias)
    for tap, value in zip(load(folded).tap(pixels), wanted, strict=True):
        close(tap, value, 1e-4)


def test_an_extractors_own_weights_make_the_same_extractor(resnet_state: State, load: Load) -> None:
    first = load(resnet_state)
    state = dict(first.stages.state_dict())
    again = load_extractor(small_config(), state)
    assert again.weights_hash == first.weights_hash == weights_hash(state)
    pixels = random_pixels(1, (64, 96))
    for one, other in zip(first(pixels), again(pixels), strict=True):
        assert torch.equal(one, other)


def test_folded_weights_must_fit_to_the_last_tensor(resnet_state: State, load: Load) -> None:
    state = dict(load(resnet_state).stages.state_dict())
    name = "layer3.1.conv2.bias"
    with pytest.raises(WeightsError, match="belong to no part"):
        load_extractor(small_config(), {**state, "layer4.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=name):
        load_extractor(small_config(), {k: v for k, v in state.items() if k != name})
    with pytest.raises(WeightsError, match=name):
        load_extractor(small_config(), {**state, name: torch.zeros(3)})


def test_random_weights_are_the_same_for_the_same_seed_only() -> None:
    pixels = random_pixels(1, (64, 96))
    before = torch.random.get_rng_state()
    one, same, other = (load_extractor(small_config(), "random", seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.weights_hash == same.weights_hash != other.weights_hash
    for a, b, c in zip(one(pixels), same(pixels), other(pixels), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        assert bool(a.isfinite().all())
        assert float(a.std()) > 0


def test_the_hash_of_weights_knows_names_shapes_and_values() -> None:
    weights = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    wanted = weights_hash(weights)
    assert weights_hash(dict(reversed(weights.items()))) == wanted
    for other in (
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0000001])},
    ):
        assert weights_hash(other) != wanted


# --- Layers and pooling ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "first", "last"),
    [("resnet18", "stem, layer1", "layer4"), ("efficientnet_lite0", "stem, block0_", "block15")],
)
def test_an_unknown_layer_is_told_with_the_layers_there_are(
    backbone: str, first: str, last: str
) -> None:
    config = default_config(backbone, layers=["layer7"])
    with pytest.raises(OptionError, match="has no layer 'layer7'") as raised:
        load_extractor(config, "random")
    assert f"its layers are {first}" in str(raised.value)
    assert str(raised.value).endswith(last)


def test_an_unknown_backbone_is_told_with_the_backbones_there_are() -> None:
    with pytest.raises(OptionError, match=r"'resnet19' is unknown.*efficientnet_lite0.*resnet18"):
        default_config("resnet19")


def plain_pool(tap: Tensor, *, count_zeros: bool) -> Tensor:
    """Average each place with the up to 8 around it."""
    height, width = tap.shape[2:]
    pooled = torch.zeros_like(tap)
    for y, x in product(range(height), range(width)):
        around = tap[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        total = around.sum(dim=(2, 3))
        pooled[:, :, y, x] = total / (9 if count_zeros else around.shape[2] * around.shape[3])
    return pooled


@pytest.mark.parametrize("count_include_pad", [False, True])
def test_maps_are_pooled_three_by_three_and_scaled(count_include_pad: bool) -> None:
    config = small_config(count_include_pad=count_include_pad, layer_scales=(0.5, 3.0))
    extractor = load_extractor(config, "random")
    pixels = random_pixels(2, (64, 96))
    maps, taps = extractor(pixels), extractor.tap(pixels)
    for pooled, tap, scale in zip(maps, taps, (0.5, 3.0), strict=True):
        close(pooled, plain_pool(tap, count_zeros=count_include_pad) * scale, 1e-6)
    assert [tuple(m.shape[1:]) for m in maps] == extractor.map_shapes


def test_the_papers_pooling_counts_the_zeros_and_the_defaults_does_not() -> None:
    assert paper_config("resnet18").count_include_pad
    assert not default_config("resnet18").count_include_pad


def test_a_layer_finer_than_the_finest_stride_is_averaged_down_to_it() -> None:
    config = small_config(layers=("layer1", "layer2"), finest_stride=8)
    extractor = load_extractor(config, "random")
    pixels = random_pixels(1, (64, 96))
    fine = extractor.tap(pixels)[0]
    assert fine.shape[2:] == (16, 24)
    halved = sum(fine[:, :, y::2, x::2] for y, x in product((0, 1), (0, 1))) / 4
    assert isinstance(halved, Tensor)
    close(extractor(pixels)[0], plain_pool(halved, count_zeros=False), 1e-6)
    assert extractor.map_shapes == [(64, 8, 12), (128, 8, 12)]


def test_layers_in_one_memory_are_upsampled_to_the_finest_and_joined() -> None:
    apart = load_extractor(small_config(), "random")
    config = small_config()
    config = replace(config, layer_wise=False, query=replace(config.query, layer_weights=(1.0,)))
    joined = load_extractor(config, "random")
    pixels = random_pixels(2, (64, 96))
    fine, coarse = apart(pixels)
    (together,) = joined(pixels)
    assert joined.map_shapes == [(384, 8, 12)]
    close(together[:, :128], fine, 1e-6)
    close(together[:, 128:], F.interpolate(coarse, (8, 12), mode="bilinear"), 1e-6)


def test_extraction_takes_no_gradients_and_does_not_train() -> None:
    extractor = load_extractor(small_config(), "random")
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not any(part.training for part in extractor.modules())


# --- EfficientNet-Lite0 ------------------------------------------------------------------------


# Blocks of EfficientNet-Lite0 with stride 2, and those that do not add their input.
STRIDE_2 = {1, 3, 5, 11}
NO_SKIP = {0, 1, 3, 5, 8, 11, 15}


def plain_lite0(state: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Run EfficientNet-Lite0 straight from its file: convolution, norm and ReLU6, SAME padding."""

    def convolve(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        sides = []
        for side, kernel in zip(x.shape[:1:-1], weight.shape[:1:-1], strict=True):
            missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            sides += [missing // 2, missing - missing // 2]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(F.pad(x, sides), weight, None, stride, groups=groups)

    def normalise(x: Tensor, name: str) -> Tensor:
        mean, var, gamma, beta = (
            state[f"{name}.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * gamma + beta

    outputs = {"stem": normalise(convolve(x, "_conv_stem", 2), "_bn0").clamp(0, 6)}
    x = outputs["stem"]
    for i in range(16):
        inside, block = x, f"_blocks.{i}"
        if i > 0:
            inside = normalise(convolve(x, f"{block}._expand_conv"), f"{block}._bn0").clamp(0, 6)
            outputs[f"block{i}_expand"] = inside
        stride = 2 if i in STRIDE_2 else 1
        inside = convolve(inside, f"{block}._depthwise_conv", stride)
        inside = normalise(inside, f"{block}._bn1").clamp(0, 6)
        outputs[f"block{i}_depthwise"] = inside
        inside = normalise(convolve(inside, f"{block}._project_conv"), f"{block}._bn2")
        x = outputs[f"block{i}"] = inside if i in NO_SKIP else x + inside
    return outputs


@pytest.mark.parametrize("size_px", [(64, 96), (97, 75)])
def test_every_stage_of_efficientnet_lite0_gives_what_a_plain_network_gives(
    size_px: tuple[int, int],
) -> None:
    state = torch.load(packaged_weights(), weights_only=True)
    pixels = random_pixels(1, size_px)
    wanted = plain_lite0(state, (pixels.permute(0, 3, 1, 2).float() - 127) / 128)
    config = default_config(layers=list(wanted), size_px=size_px, grid=(1, 1))
    taps = load_extractor(config).tap(pixels)
    assert len(taps) == 1 + 16 * 3 - 1
    for tap, value in zip(taps, wanted.values(), strict=True):
        close(tap, value, 1e-4)


def test_the_default_cut_of_efficientnet_lite0_gives_what_a_plain_network_gives() -> None:
    state = torch.load(packaged_weights(), weights_only=True)
    config = default_config(size_px=(64, 96))
    extractor = load_extractor(config)
    assert list(extractor.stages)[-1] == "block5_expand"
    pixels = random_pixels(2, (64, 96))
    wanted = plain_lite0(state, (pixels.permute(0, 3, 1, 2).float() - 127) / 128)
    taps = extractor.tap(pixels)
    assert [t.shape[2:] for t in taps] == [(8, 12), (8, 12)]
    for tap, layer in zip(taps, config.layers, strict=True):
        close(tap, wanted[layer], 1e-4)
