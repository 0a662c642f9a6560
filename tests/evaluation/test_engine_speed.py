"""Engines side by side: each alone in a process, in turns, and summed up as it was measured."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from conftest import ROOT

from fapm_cli.errors import ModelError, OptionError
from fapm_cli.evaluation.engine_process import FAPM, TORCH, Job, be_timed
from fapm_cli.evaluation.engine_speed import choose_engines, measure_engines, precision_of

SHAPE = (2, 224, 224, 3)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The engines that are installed here: none, but for what a test adds."""
    names: set[str] = set()
    monkeypatch.setattr("fapm_cli.exporting.engines.is_there", lambda name: name in names)
    return names


class Processes:
    """Processes that say what a test has them say, and what each was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.fault: tuple[int, str] | None = None

    def __call__(self, command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        assert command[0] == sys.executable
        assert command[4:] == sys.path
        asked = json.loads(command[3])
        self.asked.append(asked)
        self.threads.add(env["OMP_NUM_THREADS"])
        if self.fault is not None:
            return subprocess.CompletedProcess(command, self.fault[0], "", self.fault[1])
        number = len(self.asked)
        said = {
            "precision": "as asked",
            "start_up_ms": 100.0 * number,
            "times_ms": [float(number)] * asked["runs"],
            "peak_memory_mb": 10.0 * number,
        }
        return subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(said)}\n", "")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    made = Processes()
    monkeypatch.setattr("fapm_cli.evaluation.engine_speed.subprocess.run", made)
    return made


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Two, on files of 5 and 7 bytes."""
    for name, size in (("a", 5), ("b", 7)):
        (tmp_path / name).write_bytes(bytes(size))
    return [
        Job(FAPM, "auto", False, str(tmp_path / "a"), SHAPE),
        Job("onnxruntime", "fp32", False, str(tmp_path / "b"), SHAPE),
    ]


def test_processes_take_turns_and_share_the_runs(processes: Processes, jobs: list[Job]) -> None:
    told: list[tuple[int, int]] = []
    records = measure_engines(jobs, runs=7, warm_up=4, on_process=lambda *at: told.append(at))
    order = [(one["job"]["engine"], one["runs"]) for one in processes.asked]
    assert order == [(name, runs) for runs in (3, 2, 2) for name in (FAPM, "onnxruntime")]
    assert {one["warm_up"] for one in processes.asked} == {4}
    assert told == [(i, 6) for i in range(1, 7)]
    first, other = records
    times = [1.0] * 3 + [3.0] * 2 + [5.0] * 2
    assert (first["median_ms"], first["runs"]) == (median(times), 7)
    assert first["fps"] == pytest.approx(2 * 1000 / median(times))
    assert [r["start_up_ms"] for r in records] == [300.0, 400.0]  # of 1, 3, 5 and of 2, 4, 6
    assert [r["peak_memory_mb"] for r in records] == [50.0, 60.0]
    assert [r["bytes"] for r in records] == [5, 7]
    assert [r["batch_size"] for r in records] == [2, 2]
    assert first["precision"] == "as asked"
    assert "onnxruntime" in other["versions"].keys() - first["versions"].keys()


@pytest.mark.parametrize("runs", [1, 2])
def test_few_runs_take_as_few_processes(runs: int, processes: Processes, jobs: list[Job]) -> None:
    measure_engines(jobs, runs=runs, warm_up=0)
    assert [one["runs"] for one in processes.asked] == [1] * 2 * runs


def test_all_compute_in_as_many_threads(processes: Processes, jobs: list[Job]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        records = measure_engines(jobs, runs=1, warm_up=0)
    finally:
        torch.set_num_threads(before)
    assert {one["threads"] for one in (*processes.asked, *records)} == {3}
    assert processes.threads == {"3"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((1, "Traceback\n  ...\nValueError: no such thing\n"), "(ValueError: no such thing)"),
        ((-9, "last words\n"), "(ended by signal 9)"),
    ],
)
def test_an_engine_that_fails_is_named_with_its_reason(
    fault: tuple[int, str], words: str, processes: Processes, jobs: list[Job]
) -> None:
    processes.fault = fault
    with pytest.raises(ModelError) as raised:
        measure_engines(jobs, runs=1, warm_up=0)
    assert str(raised.value) == f"engine fapm failed in its process {words}"


def test_start_up_counts_from_the_start_of_the_process(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = {"engine": FAPM, "precision": "fp32", "compiled": False, "path": str(bank)}
    asked = {"job": {**job, "shape": [1, 224, 224, 3]}, "threads": 1, "warm_up": 1, "runs": 2}
    be_timed({**asked, "started": time.time() - 1000})
    said = json.loads(capsys.readouterr().out)
    assert 1e6 < said["start_up_ms"] < 2e6
    assert len(said["times_ms"]) == 2
    assert all(spent > 0 for spent in said["times_ms"])
    assert said["precision"] == "fp32"


def test_what_runs_exported_files_imports_no_torch() -> None:
    code = (
        "import sys, fapm_cli.evaluation.engine_process, fapm_cli.exporting.engines; "
        "print({'torch', 'PIL', 'safetensors'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_process_imports_nothing_from_the_folder_it_is_started_in(
    tmp_path: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *filter(None, sys.path)])
    job = Job(FAPM, "fp32", False, str(bank), (1, 224, 224, 3))
    [record] = measure_engines([job], runs=1, warm_up=0)
    assert record["precision"] == "fp32"


def test_all_are_those_that_are_installed(there: set[str]) -> None:
    assert choose_engines("all", exported=False) == [FAPM, TORCH]
    there.add("openvino")
    assert choose_engines("all", exported=False) == [FAPM, TORCH, "openvino"]
    assert choose_engines("all", exported=True) == ["openvino"]
    assert choose_engines("openvino,fapm,openvino", exported=False) == ["openvino", FAPM]


@pytest.mark.parametrize(
    ("wanted", "exported", "words"),
    [
        ("fapm,onnxruntime", False, r"onnxruntime is not installed.*'fapm\[export\]'"),
        ("openvino", True, r"openvino is not installed.*pip install openvino"),
        ("all", True, r"onnxruntime is not installed"),
        ("fapm", True, r"'fapm': of an exported file use onnxruntime, openvino or all"),
        ("tensorrt", False, r"'tensorrt': of a bank use fapm, torch, onnxruntime, openvino or all"),
        ("fapm,", False, r"''"),
    ],
)
def test_an_engine_that_can_not_be_had_is_an_error(
    wanted: str, exported: bool, words: str, there: set[str]
) -> None:
    with pytest.raises(OptionError, match=words):
        choose_engines(wanted, exported=exported)


def test_precisions_are_those_that_an_engine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fapm_cli.compute.precision.cpu_has_bf16", lambda: True)
    wanted = ("auto", "fp32", "bf16")
    names = ("onnxruntime", FAPM, TORCH)
    found = {name: [precision_of(name, one) for one in wanted] for name in names}
    assert found["onnxruntime"] == ["fp32", "fp32", None]
    assert found[FAPM] == ["fp32", "fp32", "bf16"]
    assert found[TORCH] == ["fp32", "fp32", None]
    assert [precision_of("openvino", one) for one in wanted] == ["fp32", "fp32", "bf16"]
    assert precision_of("openvino", "fp32", compiled=True) is None
    monkeypatch.setattr("fapm_cli.compute.precision.cpu_has_bf16", lambda: False)
    with pytest.raises(OptionError, match="emulated"):
        precision_of("openvino", "bf16")
