"""Packed convolutions are torch's own, activation and residual sum included."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fapm_cli.compute.device import has_onednn
from fapm_cli.network.backbones import look_up
from fapm_cli.network.efficientnet_lite import SameConv2d
from fapm_cli.network.folding import random_weights
from fapm_cli.network.packed import PackedBlock, PackedConv2d, pack
from fapm_cli.network.resnet import ResidualBlock

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not has_onednn(CPU), reason="this torch has no oneDNN")


def random_maps(*shape: int, seed: int = 0) -> Tensor:
    maps = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return maps.to(memory_format=torch.channels_last)


@given(
    st.sampled_from([nn.Conv2d, SameConv2d]),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
    st.tuples(st.integers(5, 20), st.integers(5, 20)),
    st.sampled_from([None, nn.ReLU(), nn.ReLU6()]),
    st.booleans(),
)
@settings(max_examples=150)
@torch.inference_mode()
def test_a_packed_convolution_is_the_plain_one(
    kind: type[nn.Conv2d],
    kernel: int,
    stride: int,
    depthwise: bool,
    size_px: tuple[int, int],
    activation: nn.Module | None,
    adds: bool,
) -> None:
    torch.manual_seed(0)
    # Own padding where the kernel is SAME's; where a stride skips px, that finds its own.
    padding = kernel // 2 if stride == 1 or kind is nn.Conv2d else 0
    conv = kind(6, 6 if depthwise else 8, kernel, stride, padding, 1, 6 if depthwise else 1)
    x = 4 * random_maps(1, 6, *size_px)
    wanted = conv(x)
    adds = adds and not isinstance(activation, nn.ReLU6)
    added = random_maps(*wanted.shape, seed=1) if adds else None
    if added is not None:
        wanted = wanted + added
    if activation is not None:
        wanted = activation(wanted)
    found = PackedConv2d(conv, list(x.shape), activation)(x, added)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_packed_block_leaves_what_it_is_fed_as_it_was() -> None:
    stages = nn.ModuleDict(look_up("resnet18").stages())
    state = random_weights(stages, 0)
    stages.load_state_dict(state, assign=True)
    stages.to(memory_format=torch.channels_last).eval()
    block = stages["layer1"].get_submodule("0")
    assert isinstance(block, ResidualBlock)
    x = random_maps(1, 64, 12, 12).relu()
    before = x.clone()
    sizes = {name: [1, 64, 12, 12] for name in ("conv1", "conv2")}
    packed = PackedBlock(block, sizes)(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(packed, block(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "resnet50", "resnext50_32x4d"])
@torch.inference_mode()
def test_every_stage_of_a_packed_network_gives_what_the_plain_one_gives(name: str) -> None:
    stages = nn.ModuleDict(look_up(name).stages())
    stages.load_state_dict(random_weights(stages, 0), assign=True)
    stages.to(memory_format=torch.channels_last).eval()
    x = random_maps(1, 3, 64, 48)

    def run(network: nn.ModuleDict) -> list[Tensor]:
        maps = [x]
        for stage in network.values():
            maps.append(stage(maps[-1]))
        return maps

    packed = copy.deepcopy(stages)
    pack(packed, lambda: run(packed))
    left = [part for part in packed.modules() if isinstance(part, nn.Conv2d | nn.ReLU | nn.ReLU6)]
    assert left == []
    for wanted, found in zip(run(stages), run(packed), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
