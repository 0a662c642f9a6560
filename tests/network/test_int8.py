"""Int8: each convolution against plain arithmetic, and what it does to scores."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ONE_GOOD, SAMPLES, assert_fails, fapm
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fapm_cli.compute.plan import cpu_has_int8, make_plan
from fapm_cli.config import Ranges
from fapm_cli.errors import OptionError
from fapm_cli.network.efficientnet_lite import SameConv2d
from fapm_cli.network.int8 import Int8Conv2d, observing, quantizable, quantize

CPU = torch.device("cpu")
TEST = sorted((SAMPLES / "test").rglob("*.jpg"))[::4]
needs_int8 = pytest.mark.skipif(not cpu_has_int8(), reason="this CPU has no VNNI")


def rounded_conv(conv: nn.Conv2d, x: Tensor, low: float, high: float) -> Tensor:
    """The convolution of what int8 makes of inputs and weights, in float64."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    seen = ((x.double() / scale + zero).round().clamp(0, 255) - zero) * scale
    weight = conv.weight.double()
    step = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    weight = (weight / step).round() * step
    exact = copy.deepcopy(conv).double()
    exact.weight = nn.Parameter(weight)
    found: Tensor = exact(seen)
    return found


@needs_int8
@pytest.mark.parametrize("kind", [nn.Conv2d, SameConv2d])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "groups", "padding"),
    [((16, 24), 1, 1, 1, 0), ((16, 8), 3, 1, 1, 1), ((16, 8), 3, 2, 1, 0), ((12, 12), 5, 2, 12, 0)],
)
@torch.inference_mode()
def test_a_convolution_is_that_of_rounded_values(
    kind: type[nn.Conv2d],
    channels: tuple[int, int],
    kernel: int,
    stride: int,
    groups: int,
    padding: int,
) -> None:
    torch.manual_seed(0)
    conv = kind(*channels, kernel, stride, padding, 1, groups)
    x = torch.randn(1, channels[0], 13, 10).to(memory_format=torch.channels_last)
    low, high = float(x.min()), float(x.max())
    found = Int8Conv2d(conv, (low, high), list(x.shape))(x)
    torch.testing.assert_close(
        found.double(), rounded_conv(conv, x, low, high), rtol=1e-4, atol=1e-4
    )


@needs_int8
@torch.inference_mode()
def test_a_chain_hands_on_uint8_with_the_relu_in_it() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 1)
    network = nn.Sequential(first, nn.ReLU(), second)
    x = torch.randn(1, 8, 12, 12).to(memory_format=torch.channels_last)
    ranges: Ranges = {}
    with observing(network, ranges):
        network(x)
    between = F.relu(rounded_conv(first, x, *ranges["0"]))
    wanted = rounded_conv(second, between, *ranges["2"])
    quantize(network, ranges, [("0", "2")], lambda: network(x))
    assert network[0](x).dtype == torch.uint8
    step = ranges["2"][1] / 255  # a value near the middle of two steps may be rounded either way
    torch.testing.assert_close(network(x).double(), wanted, rtol=0, atol=step)


def test_the_first_convolution_and_depthwise_ones_stay_as_they_are() -> None:
    convs = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2)]
    assert list(quantizable(nn.Sequential(*convs))) == ["2"]


@torch.inference_mode()
def test_ranges_span_all_that_was_fed_and_zero() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1))
    fed = [torch.full((1, 4, 2, 2), value) for value in (0.5, 2.0)]
    ranges: Ranges = {}
    with observing(network, ranges):
        for one in fed:
            network(one)
    assert ranges == {"0": (0.0, 2.0)}


# --- Banks -------------------------------------------------------------------------------------


@needs_int8
def test_any_bank_scores_in_int8_much_as_in_float32_and_says_so(bank: Path) -> None:
    arguments = ("score", bank, *TEST, "--json", "--exit-zero")
    exact, rounded = fapm(*arguments), fapm(*arguments, "--precision", "int8")
    assert "int8" in rounded.err
    assert exact.err == ""
    assert rounded.scores != exact.scores
    for path, score in rounded.scores.items():
        assert score == pytest.approx(exact.scores[path], rel=0.05)


@needs_int8
def test_int8_scores_do_not_depend_on_batch_mates(bank: Path) -> None:
    runs = [
        fapm("score", bank, *paths, "--json", "--exit-zero", "--precision", "int8", *size).scores
        for paths, size in ((TEST, ("--batch-size", 1)), (TEST[::-1], ("--batch-size", 7)))
    ]
    assert runs[0] == runs[1]


def test_int8_is_refused_where_it_would_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapm_cli.compute.plan.cpu_has_int8", lambda: False)
    with pytest.raises(OptionError, match="no VNNI"):
        make_plan(CPU, "int8")


def with_ranges(bank: Path, target: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """Copy a bank, its ranges changed."""
    with safe_open(bank, "pt") as file:
        header = json.loads(file.metadata()["fapm-bank"])
    change(header["ranges"])
    save_file(load_file(bank), target, {"fapm-bank": json.dumps(header)})
    return target


@pytest.mark.parametrize("broken", [[1.0, 2.0], [-1.0, None], [-1.0], "low", [0.0, 1e400]])
def test_a_bank_with_broken_ranges_is_refused(bank: Path, tmp_path: Path, broken: object) -> None:
    damaged = with_ranges(
        bank, tmp_path / "damaged.st", lambda ranges: ranges.update(dict.fromkeys(ranges, broken))
    )
    assert_fails(fapm("score", damaged, ONE_GOOD), "damaged")


@needs_int8
def test_a_bank_that_lacks_a_range_is_refused_for_int8_alone(bank: Path, tmp_path: Path) -> None:
    poorer = with_ranges(bank, tmp_path / "poorer.st", lambda ranges: ranges.popitem())
    assert_fails(fapm("score", poorer, ONE_GOOD, "--precision", "int8"), "no range for")
    assert fapm("score", poorer, ONE_GOOD, "--exit-zero").code == 0
