"""``fapm bench`` of other engines: of a bank beside fapm, of an exported file alone."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import GOOD, assert_fails, build, fapm

from fapm_cli.compute.precision import cpu_has_bf16

for _package in ("onnx", "onnxruntime"):
    pytest.importorskip(_package, reason="the extra fapm[export] is not installed")

QUICK = ("--runs", 2, "--warm-up", 1)
HERE = [name for name in ("onnxruntime", "openvino") if find_spec(name) is not None]


@pytest.fixture(scope="module")
def part(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported file that takes 2 pictures at a time, under a name that says nothing."""
    path = tmp_path_factory.mktemp("exported") / "part.onnx"
    assert fapm("export", bank, "-o", path, "--batch", 2).code == 0
    return path.rename(path.with_name("part.bin"))


def test_engines_stand_side_by_side_at_each_batch_size(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = ("--engine", "onnxruntime,fapm", "--precision", "fp32", "--batch-size", "1,2")
    result = fapm("bench", bank, *options, *QUICK, "--json")
    records = result.json
    rows = [(r["engine"], r["precision"], r["batch_size"]) for r in records]
    engines = ("onnxruntime", "fapm")
    assert rows == [(name, "fp32", size) for size in (1, 2) for name in engines]
    for record in records:
        assert 0 < record["median_ms"] <= record["p95_ms"] <= record["p99_ms"]
        fps = 1000 * record["batch_size"] / record["median_ms"]
        assert record["fps"] == pytest.approx(fps)
        assert record["speedup"] == pytest.approx(fps / records[0]["fps"])
        assert record["start_up_ms"] > 0
        assert record["bank"] == str(bank)
        assert (record["bytes"] == bank.stat().st_size) == (record["engine"] != "onnxruntime")
    assert "exporting the bank for onnxruntime" in result.err
    assert not [*tmp_path.rglob("*.onnx")]


def test_all_are_the_engines_that_are_installed(bank: Path) -> None:
    records = fapm("bench", bank, "--engine", "all", "--runs", 1, "--json").json
    assert [record["engine"] for record in records] == ["fapm", "torch", *HERE]
    used = {record["engine"]: record["peak_memory_mb"] for record in records}
    assert all(used[name] < used["torch"] for name in used if name != "torch")  # it is not there


def test_an_exported_file_is_told_by_its_content_and_needs_no_bank(part: Path) -> None:
    records = fapm("bench", part, *QUICK, "--json").json
    assert [r["engine"] for r in records] == HERE
    for record in records:
        assert (record["precision"], record["batch_size"]) == ("fp32", 2)
        assert (record["model"], record["bytes"]) == (str(part), part.stat().st_size)
        assert record["fps"] == pytest.approx(2000 / record["median_ms"])


def test_stdout_has_a_row_for_each_and_stderr_the_machine(part: Path) -> None:
    options = ("--engine", "onnxruntime", "--batch-size", 2)
    result = fapm("bench", part, *options, *QUICK)
    header, row = result.out.splitlines()
    titles = "engine precision batch median p95 FPS speedup start memory disk"
    assert header.split() == titles.split()
    cells = row.split()
    assert (cells[0], *cells[2:4], cells[7]) == ("onnxruntime", "fp32", "2", "1.00")
    assert cells[-1] == f"{part.stat().st_size / 1e6:.1f}"
    assert f"exported file: {part}" in result.err
    assert "1 threads" in result.err
    text = fapm("bench", part, *options, *QUICK, "--format", "csv").out
    [record] = csv.DictReader(io.StringIO(text))
    assert (record["engine"], record["batch_size"]) == ("onnxruntime", "2")
    assert float(record["start_up_ms"]) > 0


def test_torch_alone_is_measured_stage_by_stage_as_by_default(bank: Path) -> None:
    [record] = fapm("bench", bank, "--engine", "torch", *QUICK, "--json").json
    assert "stages_ms" in record


@pytest.mark.skipif("openvino" not in HERE, reason="openvino is not installed")
def test_openvino_computes_in_bfloat16_where_it_is_asked(part: Path) -> None:
    if not cpu_has_bf16():
        pytest.skip("this CPU would emulate bfloat16")
    options = ("--engine", "openvino", "--precision", "auto,fp32,bf16")
    result = fapm("bench", part, *options, *QUICK, "--json")
    assert [record["precision"] for record in result.json] == ["fp32", "bf16"]
    assert "not proven in bf16" in result.err


def test_a_precision_that_one_engine_lacks_costs_its_row_alone(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.compute.precision.cpu_has_bf16", lambda: True)
    seen: list[object] = []

    def see(path: Path, ways: object, *_: object, **__: object) -> list[object]:
        seen.append(ways)
        return []

    monkeypatch.setattr("fapm_cli.commands.bench.measure_bank", see)
    options = ("--engine", "fapm,onnxruntime", "--precision", "bf16,fp32,auto")
    result = fapm("bench", bank, *options, "--json")
    ways = [("fapm", "bf16", False), ("fapm", "fp32", False), ("onnxruntime", "fp32", False)]
    assert seen == [ways]
    assert result.err == "note: onnxruntime does not compute in bf16\n"


def test_a_bank_that_can_not_be_exported_is_refused_in_the_exports_words(tmp_path: Path) -> None:
    bank = build(tmp_path / "bank.st", GOOD[:8], "--align", "shift")
    result = fapm("bench", bank, "--engine", "fapm,onnxruntime", *QUICK)
    assert (result.code, result.out) == (2, "")
    note, line = result.err.splitlines()
    assert "exporting" in note
    for words in (str(bank), "for onnxruntime", "aligns each picture", "--as-is"):
        assert words in line
    assert fapm("export", bank, "-o", tmp_path / "part.onnx", "--as-is").code == 0
    assert fapm("bench", tmp_path / "part.onnx", "--engine", "onnxruntime", *QUICK).code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "onnxruntime", "--device", "cuda"), ("'cuda'", "CPU")),
        (("--engine", "onnxruntime", "--compile"), ("--compile", "onnxruntime")),
        (("--engine", "trt"), ("'trt'", "onnxruntime")),
        (("--engine", ""), ("--engine is empty",)),
        (("--engine", "all", "--precision", "fp17"), ("'fp17'",)),
        (("--engine", "all", "--batch-size", "1,x"), ("'1,x'",)),
        (("--engine", "all", "--variants", "A"), ("--variants",)),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_of_a_bank(
    options: tuple[str, ...], words: tuple[str, ...], bank: Path
) -> None:
    assert_fails(fapm("bench", bank, *options), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch-size", "1,2"), ("1,2", "takes 2 at a time", "--batch")),
        (("--engine", "fapm"), ("'fapm'", "onnxruntime")),
        (("--weights", "w.st"), ("--weights",)),
        (("--compile",), ("--compile",)),
        (("--images", "3"), ("--images",)),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_of_an_exported_file(
    options: tuple[str, ...], words: tuple[str, ...], part: Path
) -> None:
    assert_fails(fapm("bench", part, *options), *words)


def test_other_engines_need_a_bank_or_a_file() -> None:
    assert_fails(fapm("bench", "--engine", "all"), "'all'", "BANK")
    assert_fails(fapm("bench", "no.st", "--engine", "all"), "no.st")


def test_an_exported_file_that_was_changed_is_not_run(part: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(part, tmp_path / "part.onnx"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert_fails(fapm("bench", path), "not as fapm made it")


def test_an_engine_that_is_missing_is_named_with_its_package(
    bank: Path, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.exporting.engines.is_there", lambda name: False)
    assert_fails(fapm("bench", bank, "--engine", "fapm,openvino"), "pip install openvino")
    assert_fails(fapm("bench", part, "--engine", "onnxruntime"), "pip install 'fapm[export]'")
    assert_fails(fapm("bench", part), "pip install 'fapm[export]'")
