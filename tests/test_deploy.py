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
from fapm_cli.line.file import load_line
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
    found = re.findall(r"^# .*?\bfapm-line ((?:score|serve) .*)$", text, re.MULTILINE)
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
    score, serve = commented_commands(DOCKERFILE)
    assert parsed(score)["bank"] == Path("/data/bank.st")
    assert parsed(serve)["banks"] == ["/data/fapm.toml"]


def test_the_compose_file_runs_the_line_beside_it() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    page = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    fapm = page["services"]["fapm"]
    (file,) = parsed(fapm["command"])["banks"]
    line = load_line(DEPLOY / file)
    assert [read_address(url).host for url in line.to] == ["mosquitto"]
    assert fapm["ports"] == [f"127.0.0.1:{line.port}:{line.port}"]
    assert (line.host, str(line.keep).split("/")[1]) == ("0.0.0.0", "state")
    assert fapm["environment"] == {"FAPM_TOKEN_FILE": f"/run/secrets/{fapm['secrets'][0]}"}
    assert fapm["secrets"] == [*page["secrets"]]
    assert (fapm["read_only"], fapm["tmpfs"]) == (True, ["/tmp"])
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


def test_the_service_runs_the_line_of_its_name() -> None:
    (call,) = re.findall(r"^ExecStart=\S+/fapm (.*)$", UNIT, re.MULTILINE)
    assert parsed(shlex.split(call))["banks"] == ["/etc/fapm/%i.toml"]
    assert "cp deploy/line.toml /etc/fapm/line1.toml" in UNIT
    line = load_line(DEPLOY / "line.toml")
    assert [source.bank for source in line.sources] == ["part"]
    assert line.settings().is_local
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
