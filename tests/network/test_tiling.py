"""A large input run by tiles: the values of a run in one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import fapm_cli.network.tiling as tiling
from fapm_cli.bank.presets import default_config
from fapm_cli.compute.plan import Plan
from fapm_cli.errors import OptionError
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor
from fapm_cli.network.tiling import TILE_PX, Tiling

SIZE = 192, 288


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TILE_PX, "cpu", 160)


def extractor(backbone: str, variant: str = "E", size: tuple[int, int] = SIZE) -> FeatureExtractor:
    config = default_config(backbone, size_px=size, variant=variant)
    if backbone == "resnet18":  # its receptive field is wider than such tiles
        config = dataclasses.replace(config, layers=("layer1", "layer2"))
    return load_extractor(config, "random", seed=3)


def noise(size: tuple[int, int] = SIZE, pictures: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(256, (pictures, *size, 3), generator=generator).to(torch.uint8)


@pytest.mark.parametrize(
    ("backbone", "variant", "layers"),
    [
        ("efficientnet_lite0", "E", ("block4_depthwise", "block5_expand")),
        ("efficientnet_lite0", "C", ("block4_depthwise", "block5_expand")),
        ("resnet18", "E", ("layer1", "layer2")),
        ("resnet18", "C", ("layer1", "layer2")),
        ("resnet18", "E", ("layer1",)),  # finer than places are: tiles begin where those do
    ],
)
@torch.inference_mode()
def test_tiles_give_what_a_run_in_one_gives(
    backbone: str, variant: str, layers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = default_config(backbone, size_px=SIZE, variant=variant, layers=layers)
    whole = load_extractor(config, "random", seed=3)
    monkeypatch.setitem(TILE_PX, "cpu", 160)
    tiled = load_extractor(config, "random", seed=3)
    assert tiled.map_shapes == whole.map_shapes
    pixels = noise(pictures=2)
    for one, other in zip(whole(pixels), tiled(pixels), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
@torch.inference_mode()
def test_rows_are_those_of_the_whole() -> None:
    tiled = extractor("efficientnet_lite0")
    pixels = noise()
    whole, some = tiled(pixels), tiled(pixels, slice(64, 128))
    for one, part in zip(whole, some, strict=True):
        torch.testing.assert_close(part, one[:, :, 8:16], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.inference_mode()
def test_tiles_follow_a_plan(precision: str) -> None:
    tiled = extractor("efficientnet_lite0")
    follower = tiled.follow(Plan(torch.device("cpu"), precision))
    close = 1e-4 if precision == "fp32" else 0.05
    for one, other in zip(tiled(noise()), follower(noise()), strict=True):
        torch.testing.assert_close(other, one, rtol=close, atol=close)


@pytest.mark.usefixtures("small_tiles")
@torch.inference_mode()
def test_with_less_around_a_tile_values_are_others() -> None:
    """So what is found is not only enough, but what it takes."""
    tiled = extractor("efficientnet_lite0")
    found = tiled._tiling
    assert found == Tiling(unit_px=8, halo_px=48)
    short = dataclasses.replace(found, halo_px=32)
    apart = [
        float((one - other).abs().max())
        for one, other in zip(
            found.run(tiled._run, noise()), short.run(tiled._run, noise()), strict=True
        )
    ]
    assert max(apart) > 1e-3


@pytest.mark.usefixtures("small_tiles")
def test_a_large_input_has_sides_that_tiles_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = default_config("resnet18", size_px=(176, 176), grid=(11, 11))
    assert load_extractor(config, "random").tile_px(torch.device("cpu")) is not None
    odd = dataclasses.replace(config.preprocessing, resize_px=(168, 168), crop_px=(168, 168))
    config = dataclasses.replace(config, preprocessing=odd)
    assert load_extractor(config, "random").tile_px(torch.device("cpu")) is None
    monkeypatch.setattr(tiling, "_WHOLE_PX", 160)
    with pytest.raises(OptionError, match=r"168x168 px is large.*multiples of 16 px"):
        load_extractor(config, "random")


def test_a_network_that_sees_everything_is_run_in_one_or_refused() -> None:
    def network(pixels: Tensor) -> list[Tensor]:
        return [pixels.mean().expand(1, 1, 96, 96)]

    assert Tiling.of(network, 8, (4096, 800)) is None
    with pytest.raises(OptionError, match=r"4104x800 px is large.*sees farther than 384 px"):
        Tiling.of(network, 8, (4104, 800))


@pytest.mark.usefixtures("small_tiles")
def test_rows_between_units_are_refused() -> None:
    with pytest.raises(ValueError, match="rows 4 to 64: wanted multiples of 8 px"):
        extractor("efficientnet_lite0")(noise(), slice(4, 64))


@settings(max_examples=25)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kernel=st.sampled_from([1, 3, 5]),
    strides=st.integers(0, 2),
    core=st.integers(1, 6),
)
def test_any_sizes_any_network(
    height: int, width: int, kernel: int, strides: int, core: int
) -> None:
    unit = 2**strides
    weight = torch.rand(1, 3, kernel, kernel, dtype=torch.float64) + 0.1

    def network(pixels: Tensor) -> list[Tensor]:
        x = F.conv2d(pixels.permute(0, 3, 1, 2).to(weight.dtype), weight, padding=kernel // 2)
        return [F.avg_pool2d(x, unit)]

    found = Tiling.of(network, unit, (height * unit, width * unit))
    assert found is not None
    assert kernel // 2 <= found.halo_px <= kernel // 2 + unit
    pixels = torch.rand(1, height * unit, width * unit, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TILE_PX, "cpu", 2 * found.halo_px + core * unit)
        [tiled] = found.run(network, pixels)
    torch.testing.assert_close(tiled, network(pixels)[0])
