"""The ResNets are torchvision's, part by part, so that its weights fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import resnet as theirs

from fapm_cli.network.architectures import RESNETS, ResNetShape
from fapm_cli.network.families.resnet import (
    ResidualBlock,
    resnet_file_name,
    resnet_stages,
)


def test_all_of_torchvisions_resnets_are_there() -> None:
    patterns = ["resnet*", "resnext*", "wide_resnet*"]
    assert set(RESNETS) == set(models.list_models(models, include=patterns))


@pytest.mark.parametrize("name", RESNETS)
def test_weights_have_the_same_names_shapes_and_order(name: str) -> None:
    with torch.device("meta"):
        own = nn.ModuleDict(resnet_stages(RESNETS[name])).state_dict()
        whole = models.get_model(name, weights=None).state_dict()
    wanted = [(key, value.shape) for key, value in whole.items() if not key.startswith("fc.")]
    assert [(resnet_file_name(key), value.shape) for key, value in own.items()] == wanted


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("shape", "kind", "options"),
    [
        (RESNETS["resnet18"], theirs.BasicBlock, {}),
        (RESNETS["resnet50"], theirs.Bottleneck, {}),
        (RESNETS["resnext50_32x4d"], theirs.Bottleneck, {"groups": 32, "base_width": 4}),
        (RESNETS["wide_resnet50_2"], theirs.Bottleneck, {"base_width": 128}),
    ],
)
@torch.inference_mode()
def test_a_block_gives_what_torchvisions_gives(
    shape: ResNetShape, kind: type, options: dict[str, int], stride: int
) -> None:
    torch.manual_seed(0)
    out = 64 * kind.expansion  # type: ignore[attr-defined]
    shortcut = nn.Sequential(nn.Conv2d(48, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    wanted = kind(48, 64, stride, shortcut, **options).eval()
    for part in wanted.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_buffer("running_mean", torch.randn(part.num_features))
            part.register_buffer("running_var", torch.rand(part.num_features) + 0.5)
    block = ResidualBlock(48, 64, stride, shape).eval()
    block.load_state_dict(wanted.state_dict())
    x = torch.randn(2, 48, 13, 10)
    torch.testing.assert_close(block(x), wanted(x))
    assert float(wanted(x).std()) > 0.1  # there is something to compare


def test_a_block_has_a_shortcut_of_its_own_where_sizes_differ() -> None:
    shape = RESNETS["resnet50"]
    assert ResidualBlock(256, 64, 1, shape).downsample is None
    assert ResidualBlock(64, 64, 1, shape).downsample is not None
    assert ResidualBlock(256, 64, 2, shape).downsample is not None
