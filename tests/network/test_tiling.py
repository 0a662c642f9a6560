"""A large input run by tiles: the values of a run in one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.bank.presets import default_config
from fapm_cli.compute.plan import make_plan
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


@pytest.mark.parametrize("variant", ["E", "C"])
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18"])
@torch.inference_mode()
def test_tiles_give_what_a_run_in_one_gives(
    backbone: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = extractor(backbone, variant)
    monkeypatch.setitem(TILE_PX, "cpu", 160)
    tiled = extractor(backbone, variant)
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
@pytest.mark.parametrize("precision", ["fp32", "auto"])
@torch.inference_mode()
def test_tiles_follow_a_plan(precision: str) -> None:
    tiled = extractor("efficientnet_lite0")
    follower = tiled.follow(make_plan("cpu", precision))
    close = 1e-4 if precision == "fp32" else 0.05
    for one, other in zip(tiled(noise()), follower(noise()), strict=True):
        torch.testing.assert_close(other, one, rtol=close, atol=close)


@pytest.mark.usefixtures("small_tiles")
@torch.inference_mode()
def test_with_less_around_a_tile_values_are_others() -> None:
    """So what is found is not only enough, but what it takes."""
    tiled = extractor("efficientnet_lite0")
    tiling = tiled._tiling
    assert tiling == Tiling(unit_px=8, halo_px=48)
    short = dataclasses.replace(tiling, halo_px=32)
    apart = [
        float((one - other).abs().max())
        for one, other in zip(
            tiling.run(tiled._run, noise()), short.run(tiled._run, noise()), strict=True
        )
    ]
    assert max(apart) > 1e-3


@pytest.mark.usefixtures("small_tiles")
def test_a_large_input_has_sides_that_tiles_fit() -> None:
    config = default_config("resnet18", size_px=(176, 176), grid=(11, 11))
    assert load_extractor(config, "random")._tiling is not None
    odd = dataclasses.replace(config.preprocessing, resize_px=(168, 168), crop_px=(168, 168))
    with pytest.raises(OptionError, match=r"168x168 px is large.*multiples of 16 px"):
        load_extractor(dataclasses.replace(config, preprocessing=odd), "random")


def test_a_network_that_sees_everything_is_refused() -> None:
    def network(pixels: Tensor) -> list[Tensor]:
        return [
            pixels.mean(dim=(1, 2), keepdim=True).permute(0, 3, 1, 2) * torch.ones(1, 1, 96, 96)
        ]

    with pytest.raises(OptionError, match="sees farther than 384 px"):
        Tiling.of(network, 8)


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

    tiling = Tiling.of(network, unit)
    assert kernel // 2 <= tiling.halo_px <= kernel // 2 + unit
    pixels = torch.rand(1, height * unit, width * unit, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TILE_PX, "cpu", 2 * tiling.halo_px + core * unit)
        [tiled] = tiling.run(network, pixels)
    torch.testing.assert_close(tiled, network(pixels)[0])
