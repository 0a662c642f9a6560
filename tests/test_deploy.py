"""What lies in deploy/ is well formed, and every fapm command in it is one."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from fapm_cli.cli import app
from fapm_cli.sinks.address import read_address

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "fapm@.service").read_text()


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What a fapm command makes of its arguments, without doing it."""
    name, *rest = arguments
    group: Any = typer.main.get_command(app)
    context = group.commands[name].make_context(name, rest)
    for url in context.params.get("to") or []:
        read_address(url)
    return dict(context.params)


def commented_commands(text: str) -> list[list[str]]:
    """The fapm commands of a file's head."""
    found = re.findall(r"^# .*?\bfapm-line (score .*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in found]


def test_the_image_runs_fapm_as_nobody_and_copies_what_is_there() -> None:
    final = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", final, re.MULTILINE)[0]) == ["fapm"]
    assert json.loads(re.findall(r"^CMD (.*)$", final, re.MULTILINE)[0]) == ["--help"]
    (user,) = re.findall(r"^USER (\d+)$", final, re.MULTILINE)
    assert int(user) >= 1000
    for source in re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).is_dir()
    known = "FROM|RUN|COPY|ENV|USER|WORKDIR|VOLUME|STOPSIGNAL|ENTRYPOINT|CMD"
    for line in DOCKERFILE.replace("\\\n", " ").splitlines():
        assert re.match(rf"(#.*)?$|({known}) \S", line), line
    (command,) = commented_commands(DOCKERFILE)
    assert parsed(command)["bank"] == Path("/data/bank.st")


def test_the_compose_file_is_one_and_its_command_parses() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    page = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    fapm = page["services"]["fapm"]
    assert parsed(fapm["command"])["to"] == ["mqtt://mosquitto/line1"]
    assert fapm["read_only"] is True
    assert (DEPLOY / fapm["build"]["context"] / fapm["build"]["dockerfile"]).is_file()
    for service in page["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in page["volumes"] or (DEPLOY / source).exists(), volume
    docker = shutil.which("docker")
    if (
        docker
        and not subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_service_calls_fapm_as_its_environment_says() -> None:
    lines = (DEPLOY / "line.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    (call,) = re.findall(r"^ExecStart=\S+/fapm (.*)$", UNIT, re.MULTILINE)
    for name, value in values.items():
        call = call.replace(f"${{{name}}}", shlex.quote(value)).replace(f"${name}", value)
    assert "$" not in call
    told = parsed(shlex.split(call))
    assert (str(told["watch"]), told["to"]) == (values["INBOX"], ["mqtt://bus.local/line1"])
    assert "Type=notify" in UNIT
    assert "WatchdogSec=" in UNIT


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "fapm@line1.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT, flags=re.MULTILINE))
    command = [verify, "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "fapm" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
