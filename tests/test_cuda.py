"""What only a CUDA device shows: banks built and pictures judged there agree with a CPU's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOOD, ONE_BAD, SAMPLES, assert_fails, build, fapm

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import load_bank
from fapm_cli.compute.device import resolve_device
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.graphs import MAX_GRAPHS
from fapm_cli.network.loading import load_extractor
from fapm_cli.network.tiling import TILE_PX
from fapm_cli.pictures.reading import Prepared, prepare_item

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
PICTURES = sorted((SAMPLES / "test").rglob("*.jpg"))


def pixels(bank: Bank, count: int) -> torch.Tensor:
    """The first test pictures, prepared."""
    ready = [prepare_item(path, bank.config.preprocessing) for path in PICTURES[:count]]
    pixels = [one.pixels for one in ready if isinstance(one, Prepared)]
    return torch.from_numpy(np.stack(pixels))


def detect(bank: Bank, device: torch.device, precision: str, count: int) -> Detection:
    return Detector(bank, plan=make_plan(device, precision)).detect(pixels(bank, count))


@pytest.fixture(autouse=True)
def float32_is_float32() -> None:
    """As in every command: choosing the device turns TF32 off."""
    resolve_device("cuda")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-2)])
def test_maps_layer_scores_and_scores_agree_with_the_cpu(
    bank: Path, precision: str, tolerance: float
) -> None:
    loaded = load_bank(bank)
    there, here = (detect(loaded, d, p, 9) for d, p in ((CUDA, precision), (CPU, "fp32")))
    for name in ("image_scores", "layer_scores", "anomaly_maps"):
        found, wanted = getattr(there, name).cpu(), getattr(here, name)
        # What is anomalous begins at about 1: far below it, only the absolute difference counts.
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_score_does_not_depend_on_its_batch_beyond_rounding(bank: Path, precision: str) -> None:
    loaded = load_bank(bank, CUDA)
    detector = Detector(loaded, plan=make_plan(CUDA, precision))
    together = pixels(loaded, 16)
    whole = detector.detect(together).image_scores
    for size in (1, 3, 7):
        parts = [detector.detect(part).image_scores for part in torch.split(together, size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=2e-3, atol=0)


def test_inputs_of_either_type_give_the_same_scores_in_any_order(bank: Path) -> None:
    loaded = load_bank(bank, CUDA)
    assert loaded.light is not None
    detector = Detector(loaded, plan=make_plan(CUDA, "fp32"))
    inputs = pixels(loaded, 3)
    wanted = detector.detect_inputs(inputs).image_scores
    for one in (inputs.float(), inputs, inputs.float()):
        assert torch.equal(detector.detect_inputs(one).image_scores, wanted)


def test_what_a_picture_does_not_show_is_judged_by_nobody_there_too(bank: Path) -> None:
    found = []
    for device in (CPU, CUDA):
        loaded = load_bank(bank, device)
        shown = torch.full((*pixels(loaded, 3).shape[:3], 1), 255, dtype=torch.uint8)
        shown[:, -24:] = 0
        inputs = torch.cat([pixels(loaded, 3), shown.to(pixels(loaded, 1).device)], dim=3)
        detector = Detector(loaded, plan=make_plan(device, "fp32"))
        found.append(detector.detect_inputs(inputs))
        assert bool((found[-1].anomaly_maps[:, -24:] == 0).all())
    torch.testing.assert_close(
        found[1].image_scores.cpu(), found[0].image_scores, rtol=1e-4, atol=1e-5
    )


def test_a_replayed_graph_gives_what_the_first_run_gave(bank: Path) -> None:
    loaded = load_bank(bank, CUDA)
    detector = Detector(loaded, plan=make_plan(CUDA))
    one, other = torch.split(pixels(loaded, 2), 1)
    first = detector.detect(one)
    kept = first.image_scores.clone()
    between = detector.detect(other)
    again = detector.detect(one)
    assert torch.equal(first.image_scores, kept)  # a later run overwrites nothing handed out
    assert torch.equal(again.anomaly_maps, first.anomaly_maps)
    assert not torch.equal(between.anomaly_maps, first.anomaly_maps)


def test_more_batch_shapes_than_graphs_are_judged_all_the_same(bank: Path) -> None:
    loaded = load_bank(bank, CUDA)
    detector = Detector(loaded, plan=make_plan(CUDA, "fp32"))
    together = pixels(loaded, MAX_GRAPHS + 3)
    wanted = detector.detect(together).image_scores
    for size in range(1, len(together) + 1):
        found = detector.detect(together[:size]).image_scores
        torch.testing.assert_close(found, wanted[:size], rtol=2e-3, atol=0)


def test_a_search_with_reach_and_roi_agrees_with_the_cpu(bank: Path) -> None:
    loaded = load_bank(bank)
    query = dataclasses.replace(loaded.config.query, reach=1)
    roi = torch.zeros(loaded.config.preprocessing.crop_px, dtype=torch.bool)
    roi[40:180, 20:150] = True
    found = [
        Detector(loaded, plan=make_plan(device, "fp32"), query=query, roi=roi)
        .detect(pixels(loaded, 5))
        .image_scores.cpu()
        for device in (CUDA, CPU)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=0)


def test_a_bank_built_on_cuda_judges_as_one_built_on_a_cpu(bank: Path, tmp_path: Path) -> None:
    built = build(tmp_path / "cuda.st", GOOD[:12], "--device", "cuda")
    there, here = load_bank(built), load_bank(bank)
    for one, other in zip(there.memories, here.memories, strict=True):
        torch.testing.assert_close(one.radius_sq, other.radius_sq, rtol=2e-2, atol=1e-2)
    assert there.thresholds.score == pytest.approx(here.thresholds.score, rel=2e-2)
    found, wanted = (detect(one, CPU, "fp32", 9).image_scores for one in (there, here))
    torch.testing.assert_close(found, wanted, rtol=2e-2, atol=0)


def test_the_same_pictures_give_the_same_bank_on_cuda(tmp_path: Path) -> None:
    one, other = (build(tmp_path / n, GOOD[:8], "--device", "cuda") for n in ("a.st", "b.st"))
    assert one.read_bytes() == other.read_bytes()


def test_banks_whose_patches_have_their_own_metric_agree_with_the_cpu(tmp_path: Path) -> None:
    own = ("--metric", "own", "--device")
    devices = {"a.st": "cuda", "b.st": "cuda", "c.st": "cpu"}
    for name, device in devices.items():
        build(tmp_path / name, GOOD[:12], *own, device)
    assert (tmp_path / "a.st").read_bytes() == (tmp_path / "b.st").read_bytes()
    there, here = (load_bank(tmp_path / name) for name in ("a.st", "c.st"))
    assert there.metric is not None
    assert here.metric is not None
    assert there.metric.floor == here.metric.floor
    on_cpu = detect(here, CPU, "fp32", 9).image_scores
    one_bank = detect(here, CUDA, "fp32", 9).image_scores.cpu()
    torch.testing.assert_close(one_bank, on_cpu, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        detect(there, CPU, "fp32", 9).image_scores, on_cpu, rtol=3e-2, atol=0
    )


def test_every_command_works_on_cuda(bank: Path, tmp_path: Path) -> None:
    cuda = ("--device", "cuda")
    scored = fapm("score", bank, SAMPLES / "test", "--json", "--exit-zero", *cuda)
    on_cpu = fapm("score", bank, SAMPLES / "test", "--json", "--exit-zero", "--device", "cpu")
    assert scored.code == 0
    for path, score in on_cpu.scores.items():
        assert scored.scores[path] == pytest.approx(score, rel=2e-2)
    grown = tmp_path / "grown.st"
    assert fapm("add", bank, SAMPLES / "test" / "good", "-o", grown, *cuda).code == 0
    assert fapm("merge", bank, grown, "-o", tmp_path / "merged.st", *cuda).code == 0
    good, target = SAMPLES / "test" / "good", tmp_path / "c.st"
    calibrated = fapm("calibrate", bank, good, "-o", target, "--allow-few", *cuda)
    assert calibrated.code == 0, calibrated
    assert fapm("heatmap", bank, ONE_BAD, "-o", tmp_path / "out", *cuda).code in (0, 1)
    assert fapm("bench", bank, "--runs", "3", "--json", *cuda).json[0]["fps"] > 0


def test_a_device_that_is_not_there_is_told_in_one_line(bank: Path) -> None:
    assert_fails(fapm("score", bank, ONE_BAD, "--device", "cuda:99"), "cuda:99", "device")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_compiled_scores_agree_with_plain_ones(bank: Path, precision: str) -> None:
    loaded = load_bank(bank, CUDA)
    plans = (make_plan(CUDA, precision, compiled=c) for c in (True, False))
    found = [Detector(loaded, plan=p).detect(pixels(loaded, 4)).image_scores for p in plans]
    torch.testing.assert_close(found[0], found[1], rtol=3e-2, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tiles_give_the_values_of_a_run_in_one(
    bank: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_bank(bank).config
    preprocessing = dataclasses.replace(
        config.preprocessing, resize_px=(1216, 1824), crop_px=(1216, 1824)
    )
    config = dataclasses.replace(config, preprocessing=preprocessing, grid=(38, 57))
    extractor = load_extractor(config).follow(make_plan(CUDA, precision))
    inputs = torch.randint(256, (1, 1216, 1824, 3), generator=torch.manual_seed(0)).byte().cuda()
    monkeypatch.setitem(TILE_PX, "cuda", 608)
    tiled = extractor(inputs)
    monkeypatch.setitem(TILE_PX, "cuda", 10**6)
    for found, wanted in zip(tiled, extractor(inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))
