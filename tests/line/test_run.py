"""`fapm serve fapm.toml` as a program: requests and sources, one stream of records."""

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

from conftest import ONE_BAD, ONE_GOOD, ROOT
from receivers import wait_until

LINE = """
log = "json"
[banks]
part = "part.st"
[[sources]]
watch = "inbox"
bank = "part"
[sinks]
to = ["sqlite:///results.db"]
queue = "queue"
[service]
port = {port}
drift = true
"""
JPEG = {"Content-Type": "image/jpeg"}


def paths(database: Path) -> dict[str, str]:
    """Verdicts by path that a database was told."""
    if not database.exists():
        return {}
    db = sqlite3.connect(database)
    with contextlib.closing(db), contextlib.suppress(sqlite3.OperationalError):  # no table yet
        return dict(db.execute("SELECT path, verdict FROM records").fetchall())
    return {}


def test_a_line_runs_as_its_file_says_but_for_options_given(bank: Path, tmp_path: Path) -> None:
    shutil.copy(bank, tmp_path / "part.st")
    inbox, results = tmp_path / "inbox", tmp_path / "results.db"
    inbox.mkdir()
    shutil.copy(ONE_GOOD, inbox / "a.jpg")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(30)
    manager.bind(str(tmp_path / "notify"))
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    environment = {**os.environ, **told, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fapm_cli", "serve", "../fapm.toml", "--port", "0"]
    (tmp_path / "elsewhere").mkdir()
    pipe = subprocess.PIPE
    with socket.create_server(("127.0.0.1", 0)) as taken, contextlib.ExitStack() as stack:
        (tmp_path / "fapm.toml").write_text(LINE.format(port=taken.getsockname()[1]))
        program = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=tmp_path / "elsewhere",
                env=environment,
                stdout=pipe,
                stderr=pipe,
                text=True,
            )
        )
        assert program.stdout is not None
        assert program.stderr is not None
        assert manager.recv(99) == b"READY=1"
        assert manager.recv(99) == b"WATCHDOG=1"
        address = program.stdout.readline().strip().removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request("POST", "/banks/part/score?name=sent", ONE_BAD.read_bytes(), JPEG)
        assert connection.getresponse().status == 200
        connection.close()
        wait_until(lambda: len(paths(results)) == 2)
        inbox.rename(tmp_path / "away")
        line = json.loads(program.stderr.readline())
        program.send_signal(signal.SIGTERM)
        assert (program.wait(30), program.stdout.read(), program.stderr.read()) == (0, "", "")
    words = {manager.recv(99)}
    while b"STOPPING=1" not in words:
        words.add(manager.recv(99))
    manager.close()
    assert paths(results) == {"../inbox/a.jpg": "ok", "sent": "anomalous"}
    assert line["level"] == "warning"
    assert line["message"].startswith("source ../inbox: folder ../inbox is not there")
