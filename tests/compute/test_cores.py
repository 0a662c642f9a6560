"""How many threads and cores are used, and what limits them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from conftest import GOOD, ONE_GOOD, SAMPLES, assert_fails, fapm

from fapm_cli import __main__ as program
from fapm_cli.cli import app
from fapm_cli.compute import cores
from fapm_cli.compute.cores import usable_cores
from fapm_cli.errors import OptionError


@pytest.fixture
def eight_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of control groups, yet without limits, around a process that may use 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "_OF_SELF", tmp_path / "self")
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path)
    return tmp_path


def test_as_many_cores_are_used_as_the_process_is_bound_to(eight_cores: Path) -> None:
    assert usable_cores() == 8


@pytest.mark.parametrize(
    ("of_self", "limits", "cores"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000"}, 8),
        ("0::/a/b", {"a/b/cpu.max": "300000 100000"}, 3),
        ("0::/a/b", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "1600000 100000"}, 8),
        ("3:cpuacct:/\n2:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1"}, 8),
        ("2:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "200000"}, 2),
        ("2:cpu:/docker/outside", {"cpu/cpu.cfs_quota_us": "200000"}, 2),
    ],
)
def test_no_more_cores_are_used_than_control_groups_allow(
    eight_cores: Path, of_self: str, limits: dict[str, str], cores: int
) -> None:
    (eight_cores / "self").write_text(f"{of_self}\n")
    for name, limit in limits.items():
        file = eight_cores / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
        (file.parent / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == cores


@pytest.fixture
def threads_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "cores_asked_for", None)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_put_back")
def test_threads_are_as_many_as_asked_for(tmp_path: Path, bank: Path) -> None:
    grown = tmp_path / "grown.st"
    commands: list[tuple[object, ...]] = [
        ("build", *GOOD[:2], "-o", tmp_path / "bank.st"),
        ("add", bank, ONE_GOOD, "-o", grown),
        ("merge", bank, grown, "-o", tmp_path / "both.st"),
        ("calibrate", bank, "--false-alarm-rate", 0.2, "-o", tmp_path / "calibrated.st"),
        ("score", bank, ONE_GOOD, "--exit-zero"),
        ("heatmap", bank, ONE_GOOD, "-o", tmp_path / "out"),
    ]
    for number, command in enumerate(commands, 3):
        assert fapm(*command, "--threads", number).code == 0, command
        assert (usable_cores(), torch.get_num_threads()) == (number, number), command


def test_every_command_that_has_the_option_asks_for_so_many_threads(
    tmp_path: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use_threads(number: int) -> None:
        raise OptionError(f"{number} threads asked for")

    monkeypatch.setattr(cores, "use_threads", use_threads)
    output = ("-o", tmp_path / "out")
    given: dict[str, tuple[object, ...]] = {
        "build": (ONE_GOOD, *output),
        "add": (bank, ONE_GOOD, *output),
        "merge": (bank, bank, *output),
        "calibrate": (bank, "--threshold", 1, *output),
        "score": (bank, ONE_GOOD),
        "serve": (bank,),
        "heatmap": (bank, ONE_GOOD, *output),
        "eval": (SAMPLES,),
        "bench": (bank,),
        "export": (bank, *output),
        "verify": (bank, bank),
    }
    commands: Any = typer.main.get_command(app)
    has_option = {
        name
        for name, command in commands.commands.items()
        if any(option.name == "threads" for option in command.params)
    }
    assert has_option == given.keys()
    for name, arguments in given.items():
        assert_fails(fapm(name, *arguments, "--threads", 7), "7 threads")


@pytest.mark.usefixtures("threads_put_back", "eight_cores")
def test_torch_computes_in_no_more_threads_than_cores_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    torch.set_num_threads(5)
    assert fapm("build", *GOOD[:2], "-o", tmp_path / "bank.st").code == 0
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_the_program_lets_waiting_threads_sleep_unless_told_otherwise(
    given: str | None, wanted: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "verbose"} | ({"OMP_WAIT_POLICY": given} if given else {})
    done = subprocess.run(
        [sys.executable, "-m", "fapm_cli", "info", "none.st"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("torch computes here without OpenMP")
    assert f"OMP_WAIT_POLICY = '{wanted}'" in done.stderr
    # Where nothing was said, it is called PASSIVE too, and threads spin for a while.
    assert ("GOMP_SPINCOUNT = '0'" in done.stderr) == (wanted == "PASSIVE")


# Judging a picture is many short steps; what learns, or judges many at once, has no such need.
AWAKE = {"score", "serve", "heatmap", "bench"}
ASLEEP = {
    "build",
    "add",
    "merge",
    "calibrate",
    "eval",
    "info",
    "export",
    "verify",
    "drift",
    "check",
}


def test_of_every_command_it_is_settled_how_its_threads_wait() -> None:
    assert {command.name for command in app.registered_commands} == AWAKE | ASLEEP


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "passive"),
        *(([command, "score"], "passive") for command in sorted(ASLEEP)),
        *(([command, "bank.st"], None) for command in sorted(AWAKE)),
    ],
)
def test_threads_that_judge_pictures_wait_awake_for_a_moment(
    arguments: list[str], wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["fapm", *arguments])
    monkeypatch.setattr("fapm_cli.cli.main", lambda: None)
    program.main()
    assert os.environ.get("OMP_WAIT_POLICY") == wanted
    assert os.environ.get("GOMP_SPINCOUNT") == (None if wanted else "10000")
    assert os.environ.get("OPENBLAS_NUM_THREADS") == (None if wanted else "1")


@pytest.mark.parametrize("command", ["build", "score"])
def test_how_threads_wait_may_be_said(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.setattr(sys, "argv", ["fapm", command])
    monkeypatch.setattr("fapm_cli.cli.main", lambda: None)
    program.main()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert "GOMP_SPINCOUNT" not in os.environ
