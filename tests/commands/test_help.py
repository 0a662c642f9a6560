"""Help: what stands there fits 80 columns, has its topic, and hides no way that worked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import typer
from conftest import fapm

from fapm_cli.cli import app
from fapm_cli.network.architectures import RESNETS
from fapm_cli.network.backbones import BACKBONES

GROUP: Any = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)

# Of switches, the side that is the default; and what has another name now.
STILL_TAKEN = {
    "build": ["--no-skip-bad", "--no-drop-outliers", "--embed-backbone", "--thumbnails"],
    "add": ["--no-skip-bad"],
    "score": ["--no-exit-zero"],
    "heatmap": ["--boxes", "--no-mask"],
    "eval": ["--csv", "--markdown", "--no-markdown"],
    "bench": ["--no-against-paper"],
}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help_fits_80_columns_without_types(command: tuple[str, ...]) -> None:
    text = fapm(*command, "--help").out
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"<\w+|\[OPTIONS\].*\{|…|range|\.\.\.$", text.partition("\n")[2])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_stands_under_a_topic(command: str) -> None:
    rest = fapm(command, "--help").out.partition("\nOptions:\n")[2]
    assert rest.split() == ["-h,", "--help", "Show", "this", "message", "and", "exit."]


@pytest.mark.parametrize("command", STILL_TAKEN)
def test_side_of_a_switch_that_is_the_default_is_taken_but_not_shown(command: str) -> None:
    text = fapm(command, "--help").out
    options = GROUP.commands[command].params
    taken = {name for one in options for name in (*one.opts, *one.secondary_opts)}
    for name in STILL_TAKEN[command]:
        assert name in taken
        assert not re.search(rf"{name}\b(?!-)", text), name


def test_switch_that_is_on_shows_the_side_that_turns_it_off() -> None:
    assert "--no-thumbnails" in fapm("build", "--help").out
    assert "--no-boxes" in fapm("heatmap", "--help").out


def test_default_stands_beside_its_option_once() -> None:
    text = fapm("score", "--help").out
    assert re.search(r"--every N +Of videos, judge every Nth frame \(default: 1\)\.", text)
    assert re.search(r"--threshold T +[^-]*\(default: the\s+bank's\)\.\n", text)


def test_every_backbone_is_named() -> None:
    text = fapm("build", "--help").out
    assert "any torchvision ResNet" in " ".join(text.split())
    assert all(name in text for name in BACKBONES.keys() - RESNETS.keys())


def test_nothing_said_is_a_wish_for_help() -> None:
    for command in ((), ("score",)):
        result = fapm(*command)
        assert (result.code, result.err) == (2, "")
        assert result.out == fapm(*command, "--help").out


def complete(*words: str, **more: str) -> list[str]:
    """Ask the program as bash does when Tab is pressed after the words."""
    env = {**os.environ, "_FAPM_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), **more}
    env["COMP_CWORD"] = str(len(words) - 1)
    command = [sys.executable, "-m", "fapm_cli"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split("\n")


def test_tab_completes_commands_options_and_formats() -> None:
    assert "calibrate" in complete("fapm", "cal")
    assert {"--only-new", "--output"} & set(complete("fapm", "score", "--o")) == {"--only-new"}
    assert set(complete("fapm", "info", "--format", "json")) >= {"json", "jsonl"}


def test_completion_can_be_installed_and_shown() -> None:
    assert "--install-completion" in fapm("--help").out
    script = complete("fapm", _FAPM_COMPLETE="source_bash")
    assert any(line.startswith("complete ") and line.endswith(" fapm") for line in script)
