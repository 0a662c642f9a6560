"""``fapm score`` on a terminal: columns for a person; through a pipe, fields as ever."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from conftest import ONE_BAD, ONE_GOOD, fapm
from PIL import Image

from fapm_cli.cli import run

pty = pytest.importorskip("pty")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def shown(*arguments: object) -> str:
    """What ``fapm`` shows on a terminal."""
    terminal = Terminal()
    with redirect_stdout(terminal), redirect_stderr(io.StringIO()):
        run([str(argument) for argument in arguments])
    return terminal.getvalue()


def test_terminal_shows_score_threshold_and_a_coloured_verdict_per_picture(bank: Path) -> None:
    good, bad = fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").json
    head, *rows, closing = shown("score", bank, ONE_GOOD, ONE_BAD).splitlines()
    assert ESCAPE.sub("", head).split()[:3] == ["score", "threshold", "verdict"]
    for row, record, colour in zip(rows, (good, bad), ("32", "31"), strict=True):
        fields = ESCAPE.sub("", row).split()
        assert fields[:2] == [f"{record[key]:.4f}" for key in ("score", "threshold")]
        assert fields[2] == record["verdict"]
        assert fields[3] == f"{record['peak']['x']},{record['peak']['y']}"
        assert fields[4] == record["path"]
        assert re.search(rf"\x1b\[{colour}m[^\x1b]*(\x1b\[1m)?{record['verdict']}", row)
    pattern = r"1 anomalous, 1 ok; 2 pictures in [\d.]+ s, [\d.]+ a second"
    assert re.fullmatch(pattern, ESCAPE.sub("", closing))


def test_closing_line_counts_errors_and_what_has_no_verdict(bank: Path, tmp_path: Path) -> None:
    said = shown("score", bank, ONE_GOOD, tmp_path / "none.png").splitlines()
    assert ESCAPE.sub("", said[-1]).startswith("1 ok, 1 error; 2 pictures in")
    assert "error" in said[-2]
    said = shown("score", bank, ONE_BAD, "--sigma", 2).splitlines()
    assert said[-1].startswith("1 judged; 1 picture in")
    assert said[-2].split()[1:3] == ["-", "-"]


def test_only_text_is_for_a_person(bank: Path) -> None:
    for kind in ("json", "jsonl", "csv"):
        piped = fapm("score", bank, ONE_BAD, "--format", kind).out
        assert shown("score", bank, ONE_BAD, "--format", kind) == piped


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_is_left_out_where_it_is_not_wanted(
    name: str, value: str, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert "\x1b" not in shown("score", bank, ONE_BAD)
    assert "\x1b" not in shown("--help")


def test_help_is_coloured_on_a_terminal_alone() -> None:
    assert "\x1b" in shown("--help")
    assert ESCAPE.sub("", shown("score", "--help")) == fapm("score", "--help").out


def test_real_terminal_gets_columns_and_a_pipe_the_fields(bank: Path) -> None:
    command = [sys.executable, "-m", "fapm_cli", "score", str(bank), str(ONE_BAD)]
    near, far = pty.openpty()
    try:
        with subprocess.Popen(command, stdout=far, stderr=subprocess.DEVNULL) as process:
            assert process.wait(timeout=60) == 1
        os.set_blocking(near, False)
        said = os.read(near, 65536).decode()
    finally:
        os.close(near)
        os.close(far)
    assert "\x1b[31m" in said
    assert "1 anomalous" in ESCAPE.sub("", said).splitlines()[-1]
    piped = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert piped == fapm("score", bank, ONE_BAD).out
    assert re.fullmatch(r" +[\d.]+\t[^\t]+\tanomalous\tat \d+,\d+\t.*\t1 region\n", piped)


def test_lines_on_stderr_may_be_json(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAPM_LOG", "json")
    small = tmp_path / "small\n.png"
    Image.new("RGB", (20, 20)).save(small)
    done = fapm("score", bank, small, tmp_path / "missing.jpg", "--exit-zero")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert [line["level"] for line in lines] == ["error", "warning"]
    assert lines[0]["message"].startswith("picture")
    assert "small" in lines[1]["message"]
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", line["time"]) for line in lines)
