"""The graph against the torch engine, by ONNX Runtime: the same from pixels to scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank
from fapm_cli.bank.presets import default_config, paper_config
from fapm_cli.config import BankConfig
from fapm_cli.detection.engine import Engine
from fapm_cli.errors import OptionError, WeightsError
from fapm_cli.evaluation.synthetic_bank import synthetic_bank
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import RANDOM, load_extractor
from fapm_cli.scores.extents import MOST_LOG, Calibration, Extents

onnx: Any = pytest.importorskip("onnx", reason="the extra fapm[export] is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="the extra fapm[export] is not installed")
model: Any = pytest.importorskip("fapm_cli.graph.model")

Arrays = list[NDArray[Any]]
SMALL = (64, 96)


def pictures(size: tuple[int, int], count: int = 3, channels: int = 3) -> NDArray[np.uint8]:
    """Coarse clouds with some noise: places differ, and peaks are clear."""
    generator = np.random.default_rng(7)
    coarse = generator.integers(20, 220, (count, 4, 6, 3))
    rows, columns = (
        np.arange(side) * cells // side for side, cells in zip(size, (4, 6), strict=True)
    )
    clouds = coarse[:, rows][:, :, columns] + generator.integers(0, 30, (count, *size, 3))
    shown = generator.integers(1, 256, (count, *size, 1))
    for number in range(count):
        shown[number, : 9 * number, :, 0] = shown[number, :, : 11 * number, 0] = 0
    shown[1:2, 24:, 40::3] = 0  # of what is shown between, hardly a place is near
    return np.concatenate([clouds, shown], axis=3)[..., :channels].astype(np.uint8)


def ragged(config: BankConfig, seed: int = 0) -> tuple[Bank, FeatureExtractor]:
    """A bank of random keys, as many as differ by patch, and a backbone of random weights."""
    generator = torch.Generator().manual_seed(seed)
    extractor = load_extractor(config, RANDOM)
    bank = synthetic_bank(config, extractor, 6)
    black = torch.from_numpy(pictures(config.preprocessing.crop_px, 1))
    features = extractor(black)
    memories = []
    for memory, of in zip(bank.memories, features, strict=True):
        counts = torch.randint(2, 9, memory.key_counts.shape, generator=generator)
        counts[::4] = 9 + 600 * (len(counts) == 6)  # of some patches, several pages
        drawn = torch.randn(int(counts.sum()), of.shape[1], generator=generator)
        keys = of.mean() + of.std() * drawn
        memories.append(dataclasses.replace(memory, keys=keys, key_counts=counts))
    factors = 0.5 + torch.rand(max(bank.map_sizes), generator=generator)
    extents = Extents((0.1, 0.0, -0.5), (0.1, 0.05, 0.03), 12)
    calibration = Calibration(factors, 0.5, extents)
    return dataclasses.replace(bank, memories=tuple(memories), calibration=calibration), extractor


def with_metrics(bank: Bank) -> Bank:
    """The same, each patch with a metric of its own that keeps 5 dimensions."""
    generator = torch.Generator().manual_seed(1)
    memories = []
    for memory in bank.memories:
        shape = (len(memory.key_counts), memory.keys.shape[1], 5)
        drawn = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        memories.append(dataclasses.replace(memory, metrics=drawn.bfloat16().float()))
    return dataclasses.replace(bank, memories=tuple(memories))


def run(made: Any, pixels: NDArray[Any], batch: int | None = None) -> Arrays:
    """What ONNX Runtime finds, of so many pictures at a time."""
    onnx.checker.check_model(made, full_check=True)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batch = batch or len(pixels)
    parts = [
        session.run(None, {"pixels": pixels[i : i + batch]}) for i in range(0, len(pixels), batch)
    ]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def wanted(bank: Bank, extractor: FeatureExtractor, pixels: NDArray[Any], **asked: Any) -> Arrays:
    """What the engine finds, one picture at a time."""
    engine = Engine(bank, extractor, **asked)
    with torch.inference_mode():
        found = [engine(one[None]) for one in torch.from_numpy(pixels)]
        parts = [torch.cat(one) for one in zip(*found, strict=True)]
    return [one.numpy() for one in parts]


def assert_same(found: Arrays, own: Arrays) -> None:
    for name, one, other in zip((*model.OUTPUTS, "as_spots"), found, own, strict=False):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        if one.dtype == np.int64:
            assert np.array_equal(one, other), name
        else:
            # The paper's score is what a share near 1 leaves of 1: in the map's unit, not its own.
            unit = np.abs(own[2] if name == "score" else other).max()
            np.testing.assert_allclose(one, other, rtol=3e-5, atol=3e-5 * unit)


def compare(
    bank: Bank,
    extractor: FeatureExtractor,
    pixels: NDArray[Any] | None = None,
    batch: int | None = None,
    **asked: Any,
) -> Arrays:
    """Check that the graph of a bank, given so many pictures at a time, finds what it does."""
    if pixels is None:
        pixels = pictures(bank.config.preprocessing.crop_px)
    made = model.engine_model(
        bank,
        extractor.stages.state_dict(),
        batch=batch or len(pixels),
        channels=pixels.shape[3],
        dtype=pixels.dtype,
        as_spots=True,
        **asked,
    )
    assert [one.name for one in made.graph.output] == [*model.OUTPUTS, "as_spots"]
    found = run(made, pixels, batch)
    assert_same(found, wanted(bank, extractor, pixels, **asked))
    return found


@pytest.fixture(scope="module")
def small() -> tuple[Bank, FeatureExtractor]:
    return ragged(default_config("resnet18", size_px=SMALL, grid=(2, 3)))


@pytest.mark.parametrize("variant", "ABCDE")
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18"])
def test_each_variant_by_each_family(variant: str, backbone: str) -> None:
    grid = (1, 1) if variant in "AC" else (2, 3)
    config = default_config(backbone, size_px=SMALL, grid=grid, variant=variant)
    compare(*ragged(config))


@pytest.mark.parametrize("backbone", ["resnet50", "resnext50_32x4d"])
def test_bottlenecks_and_groups(backbone: str) -> None:
    compare(*ragged(default_config(backbone, size_px=(32, 64), grid=(1, 2), layers=["layer1"])))


@pytest.mark.parametrize(("variant", "grid"), [("A", (1, 1)), ("E", (2, 3))])
def test_a_vision_transformer(variant: str, grid: tuple[int, int]) -> None:
    layers = ["layer1", "layer2"]
    config = default_config(
        "dinov2_small", layers=layers, size_px=SMALL, grid=grid, variant=variant
    )
    compare(*ragged(config))


@pytest.mark.parametrize("layers", [["block2", "block11_expand"], ["stem"], ["block5"]])
def test_layers_of_any_depth_stride_and_kind(layers: list[str]) -> None:
    compare(*ragged(default_config(layers=layers, size_px=SMALL, grid=(2, 3))))


def test_a_layer_that_is_averaged_down_is_joined_to_a_coarser_one() -> None:
    layers = ["block2", "block11_expand"]
    compare(*ragged(default_config(layers=layers, size_px=SMALL, grid=(1, 1), variant="A")))


@pytest.mark.parametrize("reach", [0, 1])
def test_more_neighbours_than_all_patches_within_reach_have_keys(reach: int) -> None:
    config = default_config("resnet18", size_px=SMALL, grid=(1, 2))
    less = tuple(0.01 * scale for scale in config.layer_scales)  # and all is nearer than 1
    bank, extractor = ragged(dataclasses.replace(config, layer_scales=less))
    assert max(int(one.key_counts.sum()) for one in bank.memories) < 40
    asked = dataclasses.replace(bank.config.query, num_neighbors=40, reach=reach, image_score="top")
    compare(bank, extractor, query=asked)


def test_the_papers_preset_crops_and_weighs_neighbours() -> None:
    config = paper_config("resnet18")
    small_one = dataclasses.replace(config.preprocessing, resize_px=(70, 100), crop_px=SMALL)
    config = dataclasses.replace(config, preprocessing=small_one, grid=(2, 3))
    compare(*ragged(config.with_query(layer_weights=(1.0, 0.5))))


QUERIES: dict[str, dict[str, Any]] = {
    "one patch around": {"reach": 1},
    "two, and more neighbours than a patch has": {"reach": 2, "num_neighbors": 11},
    "two neighbours": {"num_neighbors": 2},
    "more than there are": {"num_neighbors": 12, "image_score": "top"},
    "the largest": {"image_score": "max", "calibration": "none"},
    "nearest, not blurred": {"placement": "nearest", "sigma": 0.0, "spot_px": 0},
    "the paper's": {"image_score": "paper", "num_neighbors": 4, "layer_weights": (2.0, 1.0)},
    "a small blur": {"sigma": 1.5, "spot_px": 7},
}


@pytest.mark.parametrize("metrics", [False, True])
@pytest.mark.parametrize("way", QUERIES)
def test_each_query(way: str, metrics: bool, small: tuple[Bank, FeatureExtractor]) -> None:
    bank, extractor = small
    query = dataclasses.replace(bank.config.query, **QUERIES[way])
    compare(with_metrics(bank) if metrics else bank, extractor, query=query)


def region(bank: Bank) -> torch.Tensor:
    roi = torch.zeros(bank.config.preprocessing.crop_px, dtype=torch.bool)
    roi[10:50, 30:77] = True
    return roi


def test_a_region_of_the_banks_or_of_who_asks_or_of_both(
    small: tuple[Bank, FeatureExtractor],
) -> None:
    bank, extractor = small
    learnt = dataclasses.replace(bank, roi=region(bank))
    outside = ~region(bank).numpy()
    for found in (compare(learnt, extractor), compare(bank, extractor, roi=region(bank))):
        assert not found[2][:, outside].any()
    half = torch.zeros_like(region(bank))
    half[:, :40] = True
    compare(learnt, extractor, roi=half)
    with pytest.raises(OptionError, match="nothing is left"):
        model.engine_model(learnt, extractor.stages.state_dict(), roi=~region(bank))


def test_what_is_far_beyond_usual_is_told_as_no_more_than_a_score_may_be(
    small: tuple[Bank, FeatureExtractor],
) -> None:
    bank, extractor = small
    extents = Extents((0.1, -20.0, -20.0), (0.1, 0.05, 0.03), 12)
    calibration = dataclasses.replace(bank.calibration, extents=extents)
    found = compare(dataclasses.replace(bank, calibration=calibration), extractor)
    np.testing.assert_allclose(found[5][:, 1:], np.exp(MOST_LOG), rtol=1e-5)


@pytest.mark.parametrize("with_roi", [False, True])
def test_a_fourth_channel_says_what_is_shown(
    with_roi: bool, small: tuple[Bank, FeatureExtractor]
) -> None:
    bank, extractor = small
    if with_roi:
        bank = dataclasses.replace(bank, roi=region(bank))
    pixels = pictures(SMALL, channels=4)
    found = compare(bank, extractor, pixels)
    assert not found[2][pixels[..., 3] == 0].any()
    strip = pixels[:1]
    strip[0, :24, :, 3], strip[0, 41:, :, 3] = 0, 0  # of the coarser map no place is shown
    layers = compare(bank, extractor, strip)[1]
    assert layers[0, 0] > 0 == layers[0, 1]


def test_what_shows_everything_scores_as_where_nothing_is_said(
    small: tuple[Bank, FeatureExtractor],
) -> None:
    bank, extractor = small
    bank, pixels = dataclasses.replace(bank, roi=region(bank)), pictures(SMALL, channels=4)
    pixels[..., 3] = 255
    assert_same(compare(bank, extractor, pixels), wanted(bank, extractor, pixels[..., :3]))


def test_floats_give_what_bytes_do(small: tuple[Bank, FeatureExtractor]) -> None:
    bank, extractor = small
    pixels = pictures(SMALL).astype(np.float32)
    assert_same(compare(bank, extractor, pixels), compare(bank, extractor))
    compare(bank, extractor, pixels + np.float32(0.25))


def test_any_number_at_a_time_or_a_fixed_one(small: tuple[Bank, FeatureExtractor]) -> None:
    bank, extractor = small
    pixels, backbone = pictures(SMALL), extractor.stages.state_dict()
    own = wanted(bank, extractor, pixels)
    for batch in (1, 3):
        assert_same(run(model.engine_model(bank, backbone, batch=batch), pixels, batch), own)
    free = model.engine_model(bank, backbone, batch=None, as_spots=True)
    assert next(side.dim_value for side in free.graph.input[0].type.tensor_type.shape.dim) == 0
    for batch in (1, 2, 3):
        assert_same(run(free, pixels, batch), own)


def test_any_opset_and_no_other(small: tuple[Bank, FeatureExtractor]) -> None:
    bank, extractor = small
    pixels, backbone = pictures(SMALL), extractor.stages.state_dict()
    own = wanted(bank, extractor, pixels)
    for opset in range(18, 24):
        made = model.engine_model(bank, backbone, batch=3, opset=opset)
        assert [one.version for one in made.opset_import] == [opset]
        assert_same(run(made, pixels), own)
    for opset in (17, 24):
        with pytest.raises(OptionError, match="wanted 18 to 23"):
            model.engine_model(bank, backbone, opset=opset)


def test_half_is_stored_in_half_of_the_bytes_and_nearly_the_same(
    small: tuple[Bank, FeatureExtractor],
) -> None:
    bank, extractor = small
    pixels, backbone = pictures(SMALL), extractor.stages.state_dict()
    for learnt in (bank, with_metrics(bank)):
        whole, half = (
            model.engine_model(learnt, backbone, batch=3, half=half) for half in (False, True)
        )
        assert half.ByteSize() < 0.55 * whole.ByteSize()
        found, own = run(half, pixels), wanted(learnt, extractor, pixels)
        np.testing.assert_allclose(found[0], own[0], rtol=1e-2)
        assert not np.array_equal(found[0], run(whole, pixels)[0])


def test_the_same_bank_gives_the_same_bytes(small: tuple[Bank, FeatureExtractor]) -> None:
    bank, extractor = small
    one, other = (
        model.engine_model(bank, extractor.stages.state_dict()).SerializeToString()
        for _ in range(2)
    )
    assert one == other


def test_weights_that_are_missing_or_do_not_fit(small: tuple[Bank, FeatureExtractor]) -> None:
    bank, extractor = small
    state = dict(extractor.stages.state_dict())
    with pytest.raises(WeightsError, match=r"layer2\.0\.conv1\.weight"):
        model.engine_model(bank, {n: v for n, v in state.items() if n != "layer2.0.conv1.weight"})
    state["stem.conv1.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match="shape"):
        model.engine_model(bank, state)


@pytest.mark.parametrize("bank_of", ["bank", "own_bank", "paper_bank"])
def test_banks_that_were_built(bank_of: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(bank_of)
    bank = load_bank(path)
    compare(bank, bank_extractor(bank), pictures(bank.config.preprocessing.crop_px, 2))
