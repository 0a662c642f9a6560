"""The plan: what runs where, and that it changes no score by more than it says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import SAMPLES
from helpers import small_config

from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import Plan, make_plan
from fapm_cli.compute.precision import cpu_has_bf16
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.errors import OptionError
from fapm_cli.learning.batches import NominalBatch
from fapm_cli.learning.build import build_bank
from fapm_cli.network.loading import load_extractor

CPU = torch.device("cpu")
PICTURES = sorted((SAMPLES / "test").rglob("*.jpg"))[::3]


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
    with pytest.raises(OptionError, match="fp16 is for CUDA"):
        make_plan(CPU, "fp16")


def test_bf16_is_refused_where_the_cpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapm_cli.compute.precision.cpu_has_bf16", lambda: False)
    with pytest.raises(OptionError, match="emulated"):
        make_plan(CPU, "bf16")
    assert make_plan(CPU).rounding == "fp32"


@pytest.mark.parametrize(
    ("said", "has"),
    [
        ("flags\t\t: fpu avx512_bf16 avx512_vnni\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("bugs : avx512_bf16\nflags\t: fpu avx512f\n", False),
        ("Features\t: fp bf16\n", False),
    ],
)
def test_the_system_says_whether_the_cpu_has_bf16(
    said: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.compute.precision._CPU", tmp_path / "cpuinfo")
    assert not cpu_has_bf16()
    (tmp_path / "cpuinfo").write_text(said)
    assert cpu_has_bf16() == has


def test_unknown_precision_names_those_there_are() -> None:
    with pytest.raises(OptionError, match="auto, fp32, bf16, fp16"):
        make_plan(CPU, "int4")


def scores(bank: Path, plan: Plan, batch_size: int = 4) -> torch.Tensor:
    judged = list(judge(Detector(load_bank(bank), plan=plan), PICTURES, batch_size))
    return torch.cat([one.found.image_scores for one in judged if isinstance(one, Judged)])


@pytest.mark.parametrize("rounding", ["fp32", "bf16", "fp16"])
def test_an_extractor_stays_as_it_is_when_another_is_made_to_follow_a_plan(rounding: str) -> None:
    config = small_config()
    extractor = load_extractor(config, "random")
    pixels = torch.full((1, *config.preprocessing.crop_px, 3), 99, dtype=torch.uint8)
    pixels[:, 9:20, 9:30] = 200
    batch = NominalBatch(pixels, ["a"], ["0" * 64])
    before = build_bank([batch], 1, config, extractor)
    follower = extractor.follow(Plan(CPU, rounding))
    after = build_bank([batch], 1, config, extractor)
    assert after.backbone is not None
    assert before.backbone is not None
    assert after.backbone.keys() == before.backbone.keys()
    assert all(torch.equal(after.backbone[name], before.backbone[name]) for name in after.backbone)
    assert torch.equal(after.memories[0].keys, before.memories[0].keys)
    with pytest.raises(ValueError, match="follows Plan"):
        follower.follow(make_plan(CPU, "fp32"))
    with pytest.raises(ValueError, match="follows Plan"):
        build_bank([batch], 1, config, follower)


def test_what_the_cpu_lacks_can_be_emulated_to_measure_accuracy(bank: Path) -> None:
    exact = scores(bank, Plan(CPU, "fp32"))
    torch.testing.assert_close(scores(bank, Plan(CPU, "fp16")), exact, rtol=1e-2, atol=0)


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
