"""``fapm bench``: times of every variant, plan and batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import assert_fails, fapm

from fapm_cli.compute.plan import Plan

QUICK = ("--runs", "2", "--warm-up", "1")


def test_bench_puts_all_of_table_2_beside_its_variants() -> None:
    options = ("--images", "2", "--runs", "1", "--warm-up", "0", "--backbone", "resnet18", "--json")
    records = fapm("bench", "--against-paper", *options).json
    paper = {record["variant"]: record["paper_fps"] for record in records}
    assert paper == {"A": 23.4, "B": 34.1, "C": 35.7, "D": 46.0, "E": 44.1}


def test_bench_json_has_times_of_every_variant() -> None:
    shape = ("--backbone", "resnet18", "--images", "4", "--variants", "A,E")
    options = (*shape, "--precision", "fp32", *QUICK)
    records = fapm("bench", *options, "--json").json
    assert [record["variant"] for record in records] == ["A", "E"]
    for record in records:
        assert record["backbone"] == "resnet18"
        assert record["precision"] == "fp32"
        assert record["batch_size"] == 1
        assert 0 < record["median_ms"] <= record["p95_ms"] <= record["p99_ms"]
        assert record["fps"] == pytest.approx(1000 / record["median_ms"])
        ratio = record["median_ms"] / record["backbone_ms"]
        assert record["ratio_to_backbone"] == pytest.approx(ratio)
        assert set(record["stages_ms"]) == {"preprocess", "extract", "knn", "map"}
        assert all(spent > 0 for spent in record["stages_ms"].values())


def test_bench_measures_a_real_bank_at_several_batch_sizes(bank: Path) -> None:
    records = fapm("bench", bank, *QUICK, "--batch-size", "1,2", "--json").json
    assert [record["batch_size"] for record in records] == [1, 2]
    assert {record["backbone"] for record in records} == {"efficientnet_lite0"}
    assert {record["bank"] for record in records} == {str(bank)}
    for record in records:
        fps = 1000 * record["batch_size"] / record["median_ms"]
        assert record["fps"] == pytest.approx(fps)
        assert record["speedup"] == pytest.approx(fps / records[0]["fps"])


def test_bench_measures_each_plan_once(bank: Path) -> None:
    result = fapm("bench", bank, *QUICK, "--precision", "fp32,fp32", "--json")
    assert [record["precision"] for record in result.json] == ["fp32"]
    assert "fp32 is fp32 here, which is measured already" in result.err


def test_bench_holds_a_compiled_engine_against_the_compiled_backbone(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def uncompiled(work: Callable[..., object], plan: Plan, **_: bool) -> Callable[..., object]:
        plans.append(plan.precision)
        return work

    monkeypatch.setattr("fapm_cli.evaluation.speed.runner", uncompiled)
    monkeypatch.setattr("fapm_cli.detection.detector.runner", uncompiled)
    options = ("--precision", "fp32", "--compile")
    table = fapm("bench", bank, *QUICK, *options).out.splitlines()
    assert plans == ["fp32", "fp32, compiled"] * 2
    assert [row.count(" - ") for row in table] == [0, 0, 3]


def test_bench_prints_a_table_on_stdout_and_the_machine_on_stderr(bank: Path) -> None:
    result = fapm("bench", bank, *QUICK)
    assert result.code == 0
    header, row = result.out.splitlines()
    assert header.split()[:4] == ["variant", "backbone", "precision", "batch"]
    assert row.split()[:2] == ["E", "efficientnet_lite0"]
    assert "threads" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--variants", "A,Q", "--backbone", "resnet18"), ("'Q'",)),
        (("--batch-size", "1,x"), ("'1,x'",)),
        (("--batch-size", "0"), ("'0'",)),
        (("--backbone", "vgg"), ("'vgg'",)),
        (("--runs", "0"), ("--runs",)),
        (("no.st",), ("no.st",)),
    ],
    ids=" ".join,
)
def test_bench_refuses_what_makes_no_sense_in_one_line(
    options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_fails(fapm("bench", *options), *words)
