"""`fapm serve` as a program: what it prints, imports and refuses, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ONE_BAD, ROOT, assert_fails, fapm
from jsonschema import Draft202012Validator
from servers import JPEG, until

SCRIPT = (
    "import json, sys; from fapm_cli.cli import run; code = run(json.loads(sys.argv[1])); "
    "print(json.dumps([code, sorted(sys.modules)]))"
)


def rows(database: sqlite3.Connection) -> list[tuple[str, dict[str, Any]]]:
    """Ids and records that a database was told; none where it has no table yet."""
    with contextlib.suppress(sqlite3.OperationalError):
        found = database.execute("SELECT id, record FROM records").fetchall()
        return [(id, json.loads(record)) for id, record in found]
    return []


def test_it_judges_without_torch_tells_its_sinks_and_ends_well_when_told_to(
    bank: Path, tmp_path: Path
) -> None:
    results, queue = tmp_path / "results.db", tmp_path / "queue"
    arguments = ["serve", f"part={bank}", "--port", "0", "--keep", str(tmp_path / "kept")]
    arguments += ["--to", f"sqlite:///{results}", "--queue", str(queue)]
    command = [sys.executable, "-c", SCRIPT, json.dumps(arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        address = program.stdout.readline().strip()
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        connection.request("POST", "/banks/part/score", ONE_BAD.read_bytes(), JPEG)
        answer = connection.getresponse()
        assert json.loads(answer.read())["verdict"] == "anomalous"
        with contextlib.closing(sqlite3.connect(results)) as database:
            until(lambda: bool(rows(database)))
            ((id, told),) = rows(database)
        assert id == answer.headers["X-Picture-Id"]
        connection.request("GET", f"/banks/part/pictures/{id}/heatmap")
        drawn = connection.getresponse()
        assert (drawn.status, drawn.read(4)) == (200, b"\x89PNG")
        listening = socket.create_connection(address.removeprefix("http://").split(":"), 30)  # type: ignore[arg-type]
        listening.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert listening.recv(1000)
        program.send_signal(signal.SIGTERM)
        code, modules = json.loads(program.stdout.read())
        assert (code, program.stderr.read()) == (0, "")
        listening.close()
        connection.close()
    assert "openvino" in modules
    assert not {"torch", "torchvision", "matplotlib", "cryptography"} & set(modules)
    assert list((tmp_path / "kept" / "part" / "last").iterdir())
    assert (told["bank"], told["verdict"]) == ("part", "anomalous")
    Draft202012Validator(json.loads((ROOT / "docs/score.schema.json").read_text())).validate(told)


def test_a_copy_for_one_run_alone_goes_away_with_it(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from servers import serving

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving({"part": bank}) as server:
        server.score(ONE_BAD, bank="part")
        assert len(list(tmp_path.glob("fapm-*/part/last/*.jpg"))) == 1
    assert os.listdir(tmp_path) == []


def test_what_makes_no_sense_is_told(bank: Path, tmp_path: Path) -> None:
    odd = shutil.copy(bank, tmp_path / "my part.st")
    assert_fails(fapm("serve", odd), "my part", "like part=BANK")
    assert_fails(fapm("serve", f"a={bank}", f"a={odd}"), "both a", "NAME=BANK")
    assert_fails(fapm("serve", tmp_path / "none.st"), "none.st", "does not exist")
    assert_fails(fapm("serve", ONE_BAD), "a picture")
    assert_fails(fapm("serve", bank, "--root", tmp_path / "none"), "none", "no folder")
    assert_fails(fapm("serve", bank, "--keep", odd), "can't keep pictures")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_fails(fapm("serve", bank, "--port", port), str(port), "is another running?")


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_package_that_is_missing_is_named_with_the_extra(
    package: str, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert_fails(fapm("serve", bank), package, "fapm[serve]")
