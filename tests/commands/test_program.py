"""The program itself: what it prints where, its help, and that the help's examples run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ONE_BAD, SAMPLES, build, fapm

from fapm_cli.cli import app

PROGRAM = [sys.executable, "-m", "fapm_cli"]
COMMANDS = (*("build", "add", "merge", "calibrate", "score", "heatmap", "eval", "bench", "info"),)


def test_program_writes_only_data_to_stdout_and_nothing_to_stderr(bank: Path) -> None:
    result = subprocess.run(
        [*PROGRAM, "score", bank, ONE_BAD, "--threshold", "0.01", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == fapm("score", bank, ONE_BAD, "--threshold", 0.01, "--json").out
    assert result.stderr == ""


def test_help_imports_no_torch() -> None:
    heavy = ("torch", "torchvision", "numpy", "PIL", "cv2")
    code = f"""
import sys
from fapm_cli.cli import run
assert run(["--help"]) == 0
assert run(["score", "--help"]) == 0
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stderr == "[]\n"


def test_version_is_printed() -> None:
    result = fapm("--version")
    assert result.code == 0
    assert re.fullmatch(r"fapm \d+\.\d+\.\d+\n", result.out)


def test_help_lists_every_command() -> None:
    text = fapm("--help").out
    assert all(command in text for command in COMMANDS)


def test_a_command_alone_is_what_it_is_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made without the others, which takes less time."""
    alone = fapm("score", "--help").out, fapm("score", "--no-such").err, fapm("--threads").err
    monkeypatch.setattr("fapm_cli.cli._COMMANDS", {})  # so all are made
    among = fapm("score", "--help").out, fapm("score", "--no-such").err, fapm("--threads").err
    assert alone == among
    assert "No such command" in fapm("scores").err


def test_score_help_states_the_exit_codes() -> None:
    text = " ".join(fapm("score", "--help").out.split())
    assert "Exit codes: 0 all ok (or for review)" in text
    assert "1 at least one anomalous" in text
    assert "2 any error" in text


@pytest.mark.parametrize("command", ["score", "heatmap", "bench"])
def test_help_swallows_no_bracketed_default(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = fapm(command, "--help").out
    assert "default: the " in text
    assert not re.search(r"\w \.", text)


def test_help_of_every_command_has_one_example() -> None:
    names = {command.name for command in app.registered_commands}
    assert names >= set(COMMANDS)
    for name in names:
        text = fapm(name, "--help").out
        assert len(re.findall(rf"Example: +fapm {name} ", text)) == 1, name


@pytest.mark.parametrize("command", COMMANDS)
def test_example_in_the_help_runs(
    command: str, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = fapm(command, "--help").out
    examples = re.findall(r"Example: +fapm (.*\S)", text)
    assert len(examples) == 1, text
    arguments = shlex.split(examples[0])
    assert arguments[0] == command
    if command == "bench":
        arguments[arguments.index("--runs") + 1] = "1"
        arguments[arguments.index("all")] = "fapm"  # test_bench_engines.py measures all
        arguments += ["--warm-up", "0"]
    monkeypatch.chdir(tmp_path)
    for folder in ("good", "test/good", "test/stain"):
        shutil.copytree(SAMPLES / folder, tmp_path / "samples" / folder)
    if command in ("build", "eval"):
        for picture in sorted(Path("samples/good").iterdir())[4:]:
            picture.unlink()
    for name in re.findall(r"(?<!-o )\b\w+\.st\b", examples[0]):
        shutil.copy(bank, name)
    result = fapm(*arguments)
    assert result.code == (1 if command == "score" else 0)
    assert result.out
    for name in re.findall(r"-o (\w+\.st)", examples[0]):
        assert Path(name).is_file()
    if command == "heatmap":
        pictures = list(Path("samples/test").rglob("*.jpg"))
        assert len(list(Path("out").rglob("*_heatmap.png"))) == len(pictures) == 11


def test_verdicts_on_the_samples_are_right_with_no_option(tmp_path: Path) -> None:
    target = build(tmp_path / "bank.st", [SAMPLES / "good"])
    result = fapm("score", target, SAMPLES / "test", "--json")
    assert result.code == 1
    for record in result.json:
        assert (record["verdict"] == "ok") == ("/good/" in record["path"]), record
    assert fapm("score", target, SAMPLES / "test" / "good").code == 0
