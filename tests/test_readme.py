"""The README is true: its commands run, its figures' commands parse, its format is the code's."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fapm_cli.cli import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


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
