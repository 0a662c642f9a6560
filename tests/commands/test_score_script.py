"""``fapm score`` as a shell script uses it: its exit codes, and records that fit their schema."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import ONE_BAD, ONE_GOOD, ROOT, SAMPLES, fapm
from jsonschema import Draft202012Validator

from fapm_cli.commands.terminal import progress_bar

SCHEMA = ROOT / "docs" / "score.schema.json"
TEST = SAMPLES / "test"


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    content = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of a good picture, a bad one, and one that can't be read between them."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(ONE_GOOD, folder / "a.jpg")
    (folder / "b.jpg").write_text("no picture")
    shutil.copy(ONE_BAD, folder / "c.jpg")
    return folder


@pytest.fixture
def between(bank: Path) -> float:
    """A threshold between a good and a bad sample."""
    return sum(fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").scores.values()) / 2


def shell(program: str, line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, in which ``fapm`` is the program and $1, $2… the arguments."""
    return subprocess.run(
        ["bash", "-c", f'fapm() {{ {program} "$@"; }}; {line}', "script", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# --- In a shell --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "count"),
    [
        ('fapm score "$1" "$3" "$3" --threshold "$2" --json', 0, 2),
        ('fapm score "$1" "$4" --threshold "$2" --json', 1, 3),
        ('ls "$4"/*.jpg | fapm score "$1" - --threshold "$2" --json', 1, 3),
        ('fapm score "$1" "$5" --threshold "$2" --json', 2, 3),
    ],
    ids=["files", "folder", "stdin", "one that can't be read"],
)
def test_script_learns_from_the_exit_code_and_valid_records(
    program: str,
    line: str,
    code: int,
    count: int,
    bank: Path,
    between: float,
    mixed: Path,
    schema: Any,
) -> None:
    done = shell(program, line, bank, between, ONE_GOOD, TEST / "stain", mixed)
    assert (done.returncode, done.stderr) == (code, "")
    records = json.loads(done.stdout)
    schema.validate(records)
    assert len(records) == count
    assert sum("error" in record for record in records) == (code == 2)


def test_pipe_closed_after_one_record_is_silent(
    program: str, bank: Path, schema: Draft202012Validator
) -> None:
    done = shell(
        program, 'fapm score "$1" "$2" --format jsonl --batch-size 1 | head -1', bank, TEST
    )
    (line,) = done.stdout.splitlines()
    schema.validate(json.loads(line))
    assert done.stderr == ""


# --- The schema --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--threshold", 1), ("--layer-weights", "1,0")])
def test_array_and_lines_fit_the_schema(
    options: tuple[object, ...], bank: Path, mixed: Path, schema: Draft202012Validator
) -> None:
    array = fapm("score", bank, mixed, *options, "--json").json
    lines = fapm("score", bank, mixed, *options, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == array
    for content in (array, *array):
        schema.validate(content)


def test_no_records_at_all_fit_the_schema(
    bank: Path, tmp_path: Path, schema: Draft202012Validator
) -> None:
    schema.validate(fapm("score", bank, "-", "--json", stdin="").json)
    schema.validate(fapm("score", bank, tmp_path, "--json").json)


def test_frames_fit_the_schema(bank: Path, tmp_path: Path, schema: Draft202012Validator) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (320, 320))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for picture in sorted((TEST / "good").glob("*.jpg"))[:3]:
        pixels = cv2.imread(str(picture))
        assert pixels is not None
        writer.write(pixels)
    writer.release()
    records = fapm("score", bank, path, "--json").json
    assert len(records) == 3
    schema.validate(records)


@pytest.mark.parametrize(
    "change",
    [
        {"score": None},
        {"score": "1"},
        {"verdict": "bad", "threshold": 1},
        {"frame": 1},
        {"frame": -1, "time_s": 0},
        {"error": "both scored and failed"},
        {"unknown": 1},
        {"peak": {"x": 1.5, "y": 2}},
    ],
    ids=str,
)
def test_schema_refuses_what_is_no_record(
    change: dict[str, Any], bank: Path, schema: Draft202012Validator
) -> None:
    (record,) = fapm("score", bank, ONE_GOOD, "--json").json
    assert schema.is_valid(record)
    assert not schema.is_valid(record | change)


# --- A terminal --------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rows_too", [False, True])
def test_bar_and_rows_do_not_share_a_terminal(
    rows_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    bars = Terminal()
    monkeypatch.setattr(sys, "stderr", bars)
    monkeypatch.setattr(sys, "stdout", Terminal() if rows_too else io.StringIO())
    with progress_bar(beside_rows=True) as advance:
        advance("score", 1, None)
    assert ("score" in bars.getvalue()) is not rows_too
