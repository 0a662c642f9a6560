"""The recipes for lines in docs/recipes.md do what they say."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, ROOT, SAMPLES, fapm
from numpy.typing import NDArray
from PIL import Image
from receivers import free_port, wait_until

from fapm_cli.api.bank import load
from fapm_cli.line.file import load_line, read_line
from fapm_cli.serving.history import Judgement
from fapm_cli.serving.metrics import Metrics
from fapm_cli.serving.serve import serve
from fapm_cli.sinks.delivery import Delivery

DRIFT = {"evidence": 0.1, "alarm": False}
PAGE, SERVICE = ((ROOT / "docs" / name).read_text("utf-8") for name in ("recipes.md", "service.md"))


def recipe(name: str) -> str:
    found = re.search(rf"<!-- recipe: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def place(bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bank and an inbox."""
    shutil.copy(bank, tmp_path / "bank.st")
    (tmp_path / "inbox").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def running(text: str, until: Callable[[], bool]) -> Iterator[None]:
    """A line in this process, as `fapm serve` runs it, until something is so."""
    Path("fapm.toml").write_text(text)
    line = load_line(Path("fapm.toml"))
    with Delivery(line.to, line.queue) as delivery:
        serve(
            line.banks,
            line.settings(),
            publish=delivery.publish,
            sources=[one.inlet() for one in line.sources],
            until=until,
        )
    yield


def rows(query: str) -> list[tuple[Any, ...]]:
    if not Path("results.db").exists():
        return []
    with closing(sqlite3.connect("results.db")) as db:
        try:
            return db.execute(query).fetchall()
        except sqlite3.OperationalError:  # no table yet
            return []


def test_the_folders_pictures_are_in_the_database(place: Path) -> None:
    shutil.copy(ONE_GOOD, "inbox/a.jpg")
    shutil.copy(ONE_BAD, "inbox/b.jpg")
    query = "SELECT path, verdict FROM records ORDER BY time"
    text = recipe("folder.toml").replace("[service]", "[service]\nport = 0")
    with running(text, lambda: len(rows(query)) == 2):
        assert rows(query) == [("inbox/a.jpg", "ok"), ("inbox/b.jpg", "anomalous")]
    assert len([*Path("kept/part/last").iterdir()]) == 2


class Camera:
    """Stands in for ``cv2.VideoCapture``: one part lies before it, again and again."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.frame = cv2.imread(str(ONE_BAD))

    def isOpened(self) -> bool:  # noqa: N802
        return self.number == 0

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        return True, None if self.frame is None else self.frame.copy()

    def release(self) -> None:
        pass


def test_the_cameras_newest_frames_are_judged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    query = "SELECT DISTINCT path, verdict FROM records"
    text = recipe("camera.toml").replace("[service]", "[service]\nport = 0")
    with running(text, lambda: len(rows("SELECT id FROM records")) >= 2):
        assert rows(query) == [("camera:0", "anomalous")]


def test_the_plc_has_the_values(place: Path) -> None:
    asyncua = pytest.importorskip("asyncua.sync", reason="the extra fapm[opcua] is not installed")
    ua = pytest.importorskip("asyncua.ua")
    server, port = asyncua.Server(), free_port()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.start()
    try:
        for one in ("urn:a", "urn:plc"):
            index = server.register_namespace(one)
        assert index == 3
        name = ua.NodeId("Inspection", index)
        made = server.nodes.objects.add_object(name, "Inspection")
        values = {"id": "", "verdict": ua.Variant(0, ua.VariantType.Int16), "path": ""}
        nodes = {key: made.add_variable(index, key, value) for key, value in values.items()}
        for node in nodes.values():
            node.set_writable()
        shutil.copy(ONE_BAD, "inbox/b.jpg")
        text = recipe("plc.toml").replace("plc.local:4840", f"127.0.0.1:{port}")
        Path("plc.toml").write_text(text + "[service]\nport = 0\n")
        assert fapm("check", "plc.toml", "--connect").code == 0
        with running(Path("plc.toml").read_text(), lambda: nodes["id"].read_value() != ""):
            assert (nodes["verdict"].read_value(), nodes["path"].read_value()) == (2, "inbox/b.jpg")
    finally:
        server.stop()


def test_alerts_ask_for_metrics_that_there_are() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    rules = yaml.safe_load(recipe("alerts.yml"))["groups"][0]["rules"]
    metrics = Metrics(["part"])
    metrics.source("inbox", True)
    metrics(Judgement("1", "part", 0.0, {"path": "x", "score": 1.0, "drift": DRIFT}))
    there = {line.split("{")[0].split(" ")[0] for line in metrics.text().decode().splitlines()}
    asked = {name for rule in rules for name in re.findall(r"fapm_\w+", rule["expr"])}
    assert len(asked) >= 4
    assert asked <= there


def script(
    name: str, *arguments: object, program: str, case: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a recipe where `fapm` is this one, but for a ``case`` of a command, as a shell has it."""
    Path(name).write_text(recipe(name))
    Path("bin").mkdir(exist_ok=True)
    Path("bin/fapm").write_text(f'#!/bin/sh\ncase $1 in {case} *) exec {program} "$@" ;; esac\n')
    Path("bin/fapm").chmod(0o755)
    path = f"{Path('bin').resolve()}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable if name.endswith(".py") else "sh", name, *map(str, arguments)]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def decided(*pictures: tuple[Path, str]) -> Path:
    """A file of decisions, as `fapm serve` writes it."""
    folder = Path("kept/part")
    (folder / "decided").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (picture, decision) in enumerate(pictures):
        path = f"decided/{number}{picture.suffix}"
        shutil.copy(picture, folder / path)
        lines.append(json.dumps({"path": path, "decision": decision}) + "\n")
    (folder / "decisions.jsonl").write_text("".join(lines))
    return folder / "decisions.jsonl"


def test_the_bank_learns_weekly_what_is_good_unless_a_defect_would_pass(
    tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fapm("build", *GOOD[:4], "-o", "bank.st").code == 0
    before = Path("bank.st").read_bytes()
    labels = decided((GOOD[4], "good"), (GOOD[5], "defect"))
    learnt = "add) cp bank.st bank.st.new ;;"
    done = script("weekly.py", "bank.st", labels, program=program, case=learnt)
    assert (done.returncode, "defects would pass" in done.stderr) == (1, True), done.stderr
    for failing in ("kill -9 $$", ":"):
        case = f"{learnt} score) {failing} ;;"
        assert script("weekly.py", "bank.st", labels, program=program, case=case).returncode != 0
    done = script("weekly.py", "none.st", labels, program=program)
    assert done.returncode == 2
    assert (Path("bank.st").read_bytes(), list(Path().glob("*.new"))) == (before, [])
    labels = decided((GOOD[4], "good"), (ONE_BAD, "defect"), (GOOD[5], "unsure"))
    odd = Path("bank.st").rename("-b\tank\n.st")
    done = script("weekly.py", odd, labels, program=program)
    assert done.returncode == 0, done.stderr
    assert len(load(odd).learnt.pictures) == 5
    assert not list(Path().glob("*.new"))


def test_what_changed_is_told_of_one_banks_records(place: Path, program: str) -> None:
    detector, chance = load("bank.st").detector(), random.Random(0)
    good = [np.asarray(Image.open(one)) for one in sorted((SAMPLES / "test/good").iterdir())[:3]]
    with Delivery(["sqlite:///results.db"], "queue") as delivery:
        for gain in (1.0, 1.15):
            lit = [np.asarray(np.clip(np.rint(one * gain), 0, 255), np.uint8) for one in good]
            records = [result.record for result in detector.stream(lit)]
            for record in chance.choices(records, k=60):
                delivery.publish({"bank": "part", **record})
        delivery.publish({"bank": "other", "path": "x", "error": "y"})
    wait_until(lambda: len(rows("SELECT id FROM records")) == 121)
    done = script("since.sh", "results.db", "part", "bank.st", program=program)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("alarm: light, of 120 pictures")
    with sqlite3.connect("results.db") as database:  # where it breaks off, nothing is told of half
        database.execute("UPDATE records SET record = 'cut' WHERE rowid = 70")
    done = script("since.sh", "results.db", "part", "bank.st", program=program)
    assert (done.returncode, done.stdout) == (2, "")


def test_the_pages_line_is_in_order(place: Path) -> None:
    section = SERVICE.split("\n## fapm.toml\n")[1].split("\n## ")[0]
    (text,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    Path("line.toml").write_text(text)
    read = read_line(Path("line.toml"))
    assert read.findings.faults == []
    assert (len(read.sources), len(read.to), read.line.drift) == (3, 2, True)


def test_check_prints_what_the_page_shows(place: Path) -> None:
    section = SERVICE.split("\n## fapm.toml\n")[1].split("\n## ")[0]
    (shown,) = re.findall(r"```text\n\$ fapm check\n(.*?)```", section, re.DOTALL)
    shutil.copy("bank.st", "part.st")
    Path("token").write_text("x" * 20)
    Path("token").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        Path("fapm.toml").write_text(
            "banks = {part = 'part.st'}\nsources = [{wacht = 'inbox', bank = 'part'}]\n"
            "sinks = {to = ['mqtt://bus.local/line3']}\n"
            f"service = {{port = {port}, token-file = 'token'}}\n"
        )
        printed = fapm("check").out.replace(str(port), "8000")
    numbers = re.compile(r"\d+(\.\d+)?|; pseudo-defects")  # of the bank, which is another
    assert numbers.sub("", printed) == numbers.sub("", shown)
