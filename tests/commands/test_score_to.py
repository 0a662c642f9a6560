"""``fapm score --to``: what was judged reaches the sinks, also where fapm is killed meanwhile."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import GOOD, ONE_BAD, ONE_GOOD, ROOT, assert_fails, fapm
from jsonschema import Draft202012Validator
from receivers import Receiver, free_port

SCHEMA = Draft202012Validator(json.loads((ROOT / "docs/score.schema.json").read_text()))


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAPM_WEBHOOK_SECRET", "hush")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def rows(path: Path, columns: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    found = db.execute(f"SELECT {columns} FROM records ORDER BY rowid").fetchall()
    db.close()
    return found


def test_records_go_to_several_sinks_as_they_stand_on_stdout(
    bank: Path, tmp_path: Path, receiver: Receiver
) -> None:
    broken, results = tmp_path / "broken.png", tmp_path / "results.db"
    broken.write_text("no picture")
    pictures = (ONE_GOOD, ONE_BAD, broken)
    to = ("--to", f"sqlite:///{results}", "--to", receiver.url)
    done = fapm("score", bank, *pictures, "--format", "jsonl", "--drift", *to)
    records = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, done.err) == (2, "")
    assert [one["path"] for one in records] == [str(one) for one in pictures]
    assert receiver.records == records
    assert [json.loads(one) for (one,) in rows(results, "record")] == records
    for record in records:
        SCHEMA.validate(record)
    assert not SCHEMA.is_valid({k: v for k, v in records[0].items() if k != "time"})
    assert (tmp_path / "state/fapm/queue").is_dir()


def test_frames_of_a_video_go_to_sinks(bank: Path, tmp_path: Path) -> None:
    path, results = tmp_path / "clip.avi", tmp_path / "results.db"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (320, 320))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for picture in GOOD[:2]:
        pixels = cv2.imread(str(picture))
        assert pixels is not None
        writer.write(pixels)
    writer.release()
    fapm("score", bank, path, "--to", f"sqlite:///{results}", "--queue", tmp_path / "queue")
    assert rows(results, "path, frame, time_s") == [(str(path), 0, 0.0), (str(path), 1, 0.2)]


def test_nothing_is_lost_where_fapm_is_killed_while_it_watches_and_the_sink_is_down(
    bank: Path, tmp_path: Path
) -> None:
    inbox, port = tmp_path / "inbox", free_port()
    inbox.mkdir()
    for picture in GOOD[:6]:
        shutil.copy(picture, inbox)
    to = ("--to", f"http://127.0.0.1:{port}/", "--queue", str(tmp_path / "queue"))
    command = [sys.executable, "-m", "fapm_cli", "score", str(bank), f"--watch={inbox}", *to]
    with subprocess.Popen([*command, "--format=jsonl"], stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        said = [json.loads(watching.stdout.readline()) for _ in range(6)]
        watching.kill()
    receiver = Receiver(port)
    done = fapm("score", bank, "-", *to, stdin="")
    receiver.close()
    assert (done.code, done.err) == (0, "")
    assert receiver.records == said


def test_a_sink_that_is_down_changes_no_exit_code_and_is_told(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fapm_cli.sinks.delivery.Delivery.close.__defaults__", (0.0,))
    url = f"http://me:secret@127.0.0.1:{free_port()}/"
    done = fapm("score", bank, ONE_BAD, "--to", url)
    assert done.code == 1
    assert "1 records stay queued in" in done.err.splitlines()[-1]
    assert "secret" not in done.err
    assert all(line.startswith("note: sink http://127.0.0.1") for line in done.err.splitlines())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--queue", "q"), ("--queue is for --to",)),
        (("--to", "ftp://me:secret@x"), ("ftp://...", "names no sink")),
        (("--to", "sqlite:///a.db", "--to", "sqlite:///./a.db"), ("named twice",)),
        (("--to", "sqlite:///a.db", "--queue", ONE_GOOD), ("can't be made",)),
    ],
)
def test_what_makes_no_sense_is_told(
    options: tuple[object, ...], words: tuple[str, ...], bank: Path
) -> None:
    result = fapm("score", bank, ONE_GOOD, *options)
    assert_fails(result, *words)
    assert "secret" not in result.err
    assert not result.out
