"""The plan: what runs where, and that it changes no score by more than it says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SAMPLES
from helpers import small_config

from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import Plan, cpu_has_bf16, cpu_has_int8, make_plan
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.errors import OptionError
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.build import build_bank
from fapm_cli.network.loading import load_extractor

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not cpu_has_int8(), reason="this CPU has no VNNI")
PICTURES = sorted((SAMPLES / "test").rglob("*.jpg"))[::3]


@pytest.mark.parametrize(
    ("has_bf16", "has_int8", "precision"),
    [
        (True, True, "bf16+int8"),
        (True, False, "bf16"),
        (False, True, "fp32+int8"),
        (False, False, "fp32"),
    ],
)
def test_auto_takes_what_the_cpu_has(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, has_int8: bool, precision: str
) -> None:
    monkeypatch.setattr("fapm_cli.compute.plan.cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr("fapm_cli.compute.plan.cpu_has_int8", lambda: has_int8)
    assert make_plan(CPU).precision == precision
    assert make_plan(CPU, "fp32").precision == "fp32"


def test_float32_is_computed_in_full_however_the_device_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    make_plan(torch.device("cuda"), "fp32")
    assert not torch.backends.cudnn.allow_tf32


def test_auto_is_half_precision_on_cuda() -> None:
    plan = make_plan(torch.device("cuda"))
    assert (plan.precision, plan.one_by_one) == ("fp16", False)


def test_precision_that_a_cpu_would_emulate_is_refused() -> None:
    with pytest.raises(OptionError, match="emulated"):
        make_plan(CPU, "fp16")


def test_bf16_is_refused_where_the_cpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapm_cli.compute.plan.cpu_has_bf16", lambda: False)
    with pytest.raises(OptionError, match="emulated"):
        make_plan(CPU, "bf16")
    assert make_plan(CPU).backbone == "fp32"


def test_unknown_precision_names_those_there_are() -> None:
    with pytest.raises(OptionError, match="auto, fp32, bf16, fp16"):
        make_plan(CPU, "int4")


def scores(bank: Path, plan: Plan, batch_size: int = 4) -> torch.Tensor:
    judged = list(judge(Detector(load_bank(bank), plan=plan), PICTURES, batch_size))
    return torch.cat([one.found.image_scores for one in judged if isinstance(one, Judged)])


@pytest.mark.parametrize(
    "choosing",
    ["bf16", pytest.param("int8", marks=pytest.mark.skipif(not cpu_has_int8(), reason="no VNNI"))],
)
def test_choosing_keys_roughly_moves_no_score_by_a_thousandth(bank: Path, choosing: str) -> None:
    exact = scores(bank, Plan(CPU, "fp32", "fp32"))
    chosen = scores(bank, Plan(CPU, "fp32", choosing))
    assert not torch.equal(chosen, exact)
    torch.testing.assert_close(chosen, exact, rtol=1e-3, atol=0)


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU would emulate bfloat16")
def test_what_auto_plans_moves_no_score_by_half_a_percent(bank: Path) -> None:
    exact = scores(bank, Plan(CPU, "fp32", "fp32"))
    found = scores(bank, make_plan(CPU))
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=5e-3, atol=0)


@pytest.mark.parametrize("backbone", ["fp32", "bf16", "fp16", "int8"])
def test_an_extractor_stays_as_it_is_when_another_is_made_to_follow_a_plan(backbone: str) -> None:
    if backbone == "int8" and not cpu_has_int8():
        pytest.skip("this CPU has no VNNI")
    config = small_config()
    extractor = load_extractor(config, "random")
    pixels = torch.full((1, *config.preprocessing.crop_px, 3), 99, dtype=torch.uint8)
    pixels[:, 9:20, 9:30] = 200
    batch = NominalBatch(pixels, ["a"], ["0" * 64])
    before = build_bank([batch], 1, config, extractor)
    follower = extractor.follow(Plan(CPU, backbone, "fp32"))
    after = build_bank([batch], 1, config, extractor)
    assert after.backbone is not None
    assert before.backbone is not None
    assert after.backbone.keys() == before.backbone.keys()
    assert all(torch.equal(after.backbone[name], before.backbone[name]) for name in after.backbone)
    assert after.ranges == before.ranges
    assert torch.equal(after.memories[0].keys, before.memories[0].keys)
    with pytest.raises(ValueError, match="follows Plan"):
        follower.follow(make_plan(CPU, "fp32"))
    with pytest.raises(ValueError, match="follows Plan"):
        build_bank([batch], 1, config, follower)


@pytest.mark.parametrize(("has_bf16", "choosing"), [(True, "bf16"), (False, "fp32")])
def test_a_search_with_reach_chooses_in_no_integers(
    monkeypatch: pytest.MonkeyPatch, bank: Path, has_bf16: bool, choosing: str
) -> None:
    monkeypatch.setattr("fapm_cli.compute.plan.cpu_has_bf16", lambda: has_bf16)
    loaded = load_bank(bank)
    reaching = replace(loaded.config.query, reach=1)
    detector = Detector(loaded, plan=Plan(CPU, "fp32", "int8"), query=reaching)
    assert detector.plan == Plan(CPU, "fp32", choosing)
    exact = Detector(loaded, plan=Plan(CPU, "fp32", "fp32"), query=reaching)
    pixels = torch.full((1, *loaded.config.preprocessing.crop_px, 3), 99, dtype=torch.uint8)
    wanted = exact.detect(pixels).image_scores
    torch.testing.assert_close(detector.detect(pixels).image_scores, wanted, rtol=1e-3, atol=0)


def test_what_the_cpu_lacks_can_be_emulated_to_measure_accuracy(bank: Path) -> None:
    exact = scores(bank, Plan(CPU, "fp32", "fp32"))
    torch.testing.assert_close(scores(bank, Plan(CPU, "fp16", "fp16")), exact, rtol=1e-2, atol=0)


def test_a_score_depends_on_its_batch_mates_in_no_bit(bank: Path) -> None:
    plan = make_plan(CPU)
    assert torch.equal(scores(bank, plan, 1), scores(bank, plan, 7))


def test_judging_leaves_the_number_of_threads_as_it_was(bank: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        scores(bank, make_plan(CPU))
        with ThreadPoolExecutor(
            1
        ) as new:  # OpenMP keeps one number per thread; new ones take torch's
            assert new.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_on_a_cpu_a_builder_extracts_one_picture_at_a_time(
    monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    sizes: list[int] = []
    config = small_config()
    extractor = load_extractor(config, "random")
    tap = extractor.tap

    def record(pixels: torch.Tensor) -> list[torch.Tensor]:
        sizes.append(len(pixels))
        return tap(pixels)

    monkeypatch.setattr(extractor, "tap", record)
    shape = (6, *config.preprocessing.crop_px, 3)
    pixels = torch.randint(256, shape, generator=torch.manual_seed(0), dtype=torch.uint8)
    batches = [
        NominalBatch(part, [f"{i}"] * len(part), [""] * len(part), [f"{i}"] * len(part))
        for i, part in enumerate(torch.split(pixels, batch_size))
    ]
    build_bank(batches, 6, config, extractor)
    assert sizes == [1] * 6


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 1e-2)])
def test_cuda_scores_agree_with_the_cpu(bank: Path, precision: str, tolerance: float) -> None:
    cuda = torch.device("cuda")
    found = scores(bank, make_plan(cuda, precision)).cpu()
    torch.testing.assert_close(found, scores(bank, make_plan(CPU, "fp32")), rtol=tolerance, atol=0)
