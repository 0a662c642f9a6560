"""The recipes for receivers in docs/sinks.md do what they say."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT
from receivers import MOSQUITTO, NO_MOSQUITTO, RECORD, free_port, mosquitto, wait_until

from fapm_cli.sinks.address import read_address
from fapm_cli.sinks.delivery import Delivery

PAGE = (ROOT / "docs/sinks.md").read_text()


def recipe(name: str) -> str:
    found = re.search(rf"<!-- recipe: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def program(folder: Path, name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A recipe that runs until the end."""
    (folder / name).write_text(recipe(name))
    command = [sys.executable, str(folder / name), *map(str, arguments)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as running:
        yield running
        running.kill()


def lines(running: subprocess.Popen[str], number: int) -> list[list[str]]:
    assert running.stdout is not None
    return [running.stdout.readline().split() for _ in range(number)]


def send_again(delivery: Delivery, url: str, id: str) -> None:
    body = json.dumps({"id": id, "time": "later", "path": "a double"}).encode()
    delivery._queue.put([read_address(url).name], id, body)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_webhook_recipe_checks_signatures_and_drops_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, said = free_port(), list[str]()
    url = f"http://127.0.0.1:{port}/results"
    monkeypatch.setenv("FAPM_WEBHOOK_SECRET", "hush")
    with program(tmp_path, "receive.py", port) as running:
        wait_until(lambda: listens(port))
        with Delivery([url], tmp_path / "q") as delivery:
            one = delivery.publish(RECORD)
            delivery._queue.put(
                [read_address(url).name], one["id"], b'{"id": "%s"}' % one["id"].encode()
            )
            two = delivery.publish({"path": "x", "error": "y"})
        assert lines(running, 2) == [
            [one["time"], "anomalous", "1.5"],
            [two["time"], "error", "None"],
        ]
        monkeypatch.setenv("FAPM_WEBHOOK_SECRET", "wrong")
        delivery = Delivery([url], tmp_path / "q", say=said.append)
        delivery.publish(RECORD)
        wait_until(lambda: said)
        delivery.close(drain_s=0)
    assert "it answered 403" in said[0]


@pytest.mark.skipif(MOSQUITTO is None, reason=NO_MOSQUITTO)
def test_mqtt_recipe_hears_once_what_came_while_it_was_down(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client", reason="the extra fapm[mqtt] is not installed")
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}/line"
    log = tmp_path / "log"
    usual = (f"log_dest file {log}", "log_type subscribe")
    with mosquitto(tmp_path, port, *usual):
        with program(tmp_path, "hear.py", "127.0.0.1", port, "line"):
            wait_until(lambda: log.exists() and "line/records" in log.read_text())
        with Delivery([url], tmp_path / "q") as delivery:
            one = delivery.publish(RECORD)
            send_again(delivery, url, one["id"])
            two = delivery.publish(RECORD)
        with program(tmp_path, "hear.py", "127.0.0.1", port, "line") as running:
            assert lines(running, 2) == [
                [one["time"], "anomalous", "'inbox/1.jpg'"],
                [two["time"], "anomalous", "'inbox/1.jpg'"],
            ]


def test_dashboard_recipe_counts_by_hour(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Delivery([f"sqlite:///{path}"], tmp_path / "q") as delivery:
        for record in (RECORD, {**RECORD, "verdict": "ok"}, {"path": "x", "error": "y"}):
            one = delivery.publish(record)
    db = sqlite3.connect(path)
    db.execute("UPDATE records SET time = (SELECT max(time) FROM records)")  # within one hour
    found = db.execute(recipe("dashboard.sql")).fetchall()
    db.close()
    hour = one["time"][:13].replace("T", " ") + ":00"
    assert found == [(hour, 3, 50.0, 0.25, 1)]


def test_every_url_of_the_page_names_a_sink() -> None:
    urls = re.findall(r"--to '?((?:mqtts?|https?|sqlite|opc\.tcp)://[^\s'`]+)", PAGE)
    assert len(urls) >= 3
    for url in urls:
        assert read_address(url).name


def test_the_table_of_columns_is_the_databases(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Delivery([f"sqlite:///{path}"], tmp_path / "q") as delivery:
        delivery.publish(RECORD)
    db = sqlite3.connect(path)
    columns = [row[1] for row in db.execute("PRAGMA table_info(records)")]
    db.close()
    table = PAGE.split("| column | |\n|---|---|\n")[1].split("\n\n")[0]
    told = [n for row in table.splitlines() for n in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(told) == sorted(columns)
