"""Formats: asked for in one way by every command, and in the ways of version 0.1."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, SAMPLES, Result, assert_fails, fapm

from fapm_cli.commands.formats import FORMATS, choose_format
from fapm_cli.errors import OptionError

BENCH = ("--runs", 1, "--warm-up", 0, "--batch-size", "1,2")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def without_times(value: Any) -> Any:
    """A summary without what differs from run to run."""
    return {key: one for key, one in value.items() if key not in ("seconds", "bytes")}


def summary(command: str, bank: Path, tmp_path: Path, *options: object) -> Result:
    """Run a command that has one thing to say."""
    target = tmp_path / "out.st"
    given = {
        "build": (*GOOD[:2], "-o", target),
        "add": (bank, ONE_GOOD, "-o", target),
        "calibrate": (bank, SAMPLES / "test" / "good", "-o", target, "--threshold", 1.5),
        "info": (bank,),
    }
    result = fapm(command, *given[command], *options)
    assert result.code == 0, result
    return result


@pytest.mark.parametrize("command", ["build", "add", "calibrate", "info"])
def test_summary_comes_in_every_format(command: str, bank: Path, tmp_path: Path) -> None:
    said = {kind: summary(command, bank, tmp_path, "--format", kind).out for kind in FORMATS}
    short = json.loads(summary(command, bank, tmp_path, "--json").out)
    wanted = without_times(short)
    assert without_times(json.loads(said["json"])) == wanted
    assert said["jsonl"].count("\n") == 1
    assert without_times(json.loads(said["jsonl"])) == wanted
    assert not said["text"].startswith("{")
    (row,) = rows(said["csv"])
    for name, value in wanted.items():
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            assert row[name] == str(value)
    inner = "thresholds.score" if "thresholds" in short else "score"
    score = short["thresholds"]["score"] if "thresholds" in short else short["score"]
    assert float(row[inner]) == score


def test_merge_has_the_formats_too(bank: Path, tmp_path: Path) -> None:
    other = shutil.copy(bank, tmp_path / "other.st")
    result = fapm("merge", bank, other, "-o", tmp_path / "out.st", "--format", "csv")
    assert rows(result.out)[0]["pictures"] == "12"


def test_an_evaluation_comes_in_every_format(bank: Path) -> None:
    asked = "eval", SAMPLES, "--bank", bank
    said = {kind: fapm(*asked, "--format", kind) for kind in FORMATS}
    assert {result.code for result in said.values()} == {0}
    records = json.loads(said["json"].out)
    of_lines = [json.loads(line) for line in said["jsonl"].out.splitlines()]
    of_rows = rows(said["csv"].out)
    for record, line, row in zip(records, of_lines, of_rows, strict=True):
        for measured in (record, line):
            measured.pop("images_per_second")
        assert line == record
        assert float(row["image_auroc"]) == record["image_auroc"]
        assert row["category"] == record["category"]
    assert "image" in said["text"].out


def test_bench_comes_in_every_format(bank: Path) -> None:
    said = {kind: fapm("bench", bank, *BENCH, "--format", kind).out for kind in FORMATS}
    lines = [json.loads(line) for line in said["jsonl"].splitlines()]
    table = rows(said["csv"])
    for records in (json.loads(said["json"]), lines, table):
        assert [int(record["batch_size"]) for record in records] == [1, 2]
    assert set(lines[0]) == set(json.loads(said["json"])[0])
    assert all(float(row["stages_ms.knn"]) > 0 for row in table)
    assert said["text"].split()[:2] == ["variant", "backbone"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(("build", "samples", "-o", "b.st"), ("add", "b.st", "p"), ("merge", "a.st", "b.st")),
        *(("calibrate", "b.st", "p"), ("score", "b.st", "p"), ("eval", "p"), ("bench",)),
        ("info", "b.st"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_unknown_format_is_refused_before_work_by_every_command(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = ("-o", "o.st") * (arguments[0] == "merge")
    assert_fails(fapm(*arguments, *output, "--format", "xml"), "'xml'", "text, json, jsonl, csv")
    assert list(tmp_path.iterdir()) == []


def test_two_formats_at_once_are_refused(bank: Path) -> None:
    assert_fails(fapm("score", bank, ONE_BAD, "--json", "--format", "csv"), "--json", "csv")
    assert fapm("score", bank, ONE_GOOD, "--json", "--format", "json").code == 0


def test_short_form_is_the_format_it_stands_for() -> None:
    assert choose_format("text") == "text"
    assert choose_format("text", json=True, csv=False) == "json"
    assert choose_format("csv", csv=True) == "csv"
    with pytest.raises(OptionError, match="--csv and --markdown"):
        choose_format("text", (*FORMATS, "markdown"), csv=True, markdown=True)
