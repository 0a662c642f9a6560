"""The README is true: its commands run, its figures' commands parse, its format is the code's."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fapm_cli.bank import load_bank
from fapm_cli.cli import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

Recipe = Callable[..., "subprocess.CompletedProcess[str]"]


def shell_commands(block: str) -> list[list[str]]:
    """The fapm commands of a block, as argument lists; installing is not run here."""
    joined = block.replace("\\\n", " ").replace("&&", "\n").replace(";", "\n")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("fapm ")]


def demo_block() -> str:
    found = re.search(r"<!-- demo -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_demo_command_builds_scores_and_draws(workplace: Path) -> None:
    commands = shell_commands(demo_block())
    assert [arguments[0] for arguments in commands] == ["build", "score", "heatmap"]
    for arguments in commands:
        assert run(arguments) == 0, arguments
    assert (workplace / "bank.st").is_file()
    assert len(list((workplace / "out").rglob("*_heatmap.png"))) == 20


def test_console_blocks_run_and_print_as_many_lines(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["build", "samples/good", "-o", "bank.st"])
    capsys.readouterr()
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        command, _, printed = block.partition("\n")
        for arguments in shell_commands(command):
            code = run(arguments)
            assert code in (0, 1), arguments
            found = capsys.readouterr().out.splitlines()
            shown = [line for line in printed.splitlines() if line != "..."]
            if "..." not in printed:
                assert len(found) == len(shown), command


def test_python_example_runs(
    workplace: Path, bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(bank, "bank.st")
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    exec(found[1], {})
    assert capsys.readouterr().out.startswith("tensor([")


# --- Recipes -----------------------------------------------------------------------------------


@pytest.fixture
def recipe(workplace: Path, bank: Path) -> Recipe:
    """Run a recipe of the README where the samples and a bank.st are."""
    shutil.copy(bank, "bank.st")
    Path("bin").mkdir()
    Path("bin/fapm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fapm_cli "$@"\n')
    Path("bin/fapm").chmod(0o755)
    path = f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def run_recipe(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        found = re.search(rf"<!-- recipe: {name} -->\n```sh\n(.*?)```", README, re.DOTALL)
        assert found is not None
        Path(name).write_text(found[1])
        command = ["sh", name, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)

    return run_recipe


def test_ci_recipe_fails_on_anomalous_and_unreadable_pictures_and_keeps_evidence(
    recipe: Recipe,
) -> None:
    assert recipe("ci.sh", "bank.st", "samples/test/good", "good").returncode == 0
    assert recipe("ci.sh", "bank.st", "samples/test", "all").returncode == 1
    records = [json.loads(line) for line in Path("all/scores.jsonl").read_text().splitlines()]
    assert len(records) == 20
    assert "<title>" in Path("all/report.html").read_text()
    Path("samples/test/broken.png").write_bytes(b"no picture")
    assert recipe("ci.sh", "bank.st", "samples/test", "broken").returncode == 2
    assert recipe("ci.sh", "none.st", "samples/test", "none").returncode == 2


def test_line_recipe_takes_out_what_is_not_ok(recipe: Recipe) -> None:
    inbox = Path("in box")
    inbox.mkdir()
    shutil.copy("samples/test/good/000.jpg", inbox / "a good one.jpg")
    shutil.copy("samples/test/stain/000.jpg", inbox / "bad.jpg")
    done = recipe("line.sh", "bank.st", inbox, "rejected", "--limit", 2)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in Path("rejected").iterdir()] == ["bad.jpg"]
    first, second = done.stdout.splitlines()
    assert re.search(r" ok +[\d.]+ in box/a good one.jpg$", first)
    assert re.search(r" anomalous +[\d.]+ in box/bad.jpg$", second)


def test_nightly_recipe_keeps_the_threshold_where_a_known_defect_would_pass(
    recipe: Recipe,
) -> None:
    before = Path("bank.st").read_bytes()
    few = "--allow-few"
    assert (
        recipe("nightly.sh", "bank.st", "samples/test/good", "samples/test/stain").returncode == 2
    )
    done = recipe("nightly.sh", "bank.st", "samples/test/good", "samples/good/000.jpg", few)
    assert (done.returncode, "1 known defects would pass" in done.stderr) == (1, True)
    assert Path("bank.st").read_bytes() == before
    assert recipe("nightly.sh", "bank.st", "samples/none", "samples/test/stain").returncode == 2
    assert Path("bank.st").read_bytes() == before
    done = recipe("nightly.sh", "bank.st", "samples/test/good", "samples/test/stain", few)
    assert done.returncode == 0, done.stderr
    assert load_bank(Path("bank.st")).thresholds.num_pictures == 8
    assert not Path("bank.st.new").exists()
