"""Watching a folder: each picture once it is finished, once for each content."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, fapm

from fapm_cli.detection.stream import Judged
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.sources.watched_folder import Watch
from fapm_cli.stores.stored import AnyPath


def watching(folder: Path, **options: Any) -> tuple[Watch, Iterator[AnyPath | Unreadable | None]]:
    watch = Watch(folder, interval_s=0.01, **options)
    return watch, iter(watch)


def given(items: Iterator[AnyPath | Unreadable | None], looks: int = 3) -> list[str]:
    """Names of the pictures that some looks give out."""
    names = []
    while looks:
        item = next(items)
        if item is None:
            looks -= 1
        else:
            names.append((item.path if isinstance(item, Unreadable) else item).name)
    return names


def unreadable(path: Path) -> Unreadable:
    return Unreadable(path, PictureError("damaged"))


def judged(path: Path, sha256: str) -> Judged:
    picture = SimpleNamespace(path=path, sha256=sha256)
    return cast(Judged, SimpleNamespace(prepared=SimpleNamespace(picture=picture)))


# --- Looks -------------------------------------------------------------------------------------


def test_finished_pictures_of_all_folders_are_given_once_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/c.PNG", ".x.jpg", ".git/d.jpg", "e.jpg.part", "f.tmp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("whole")
    _, items = watching(tmp_path)
    assert given(items) == ["c.PNG", "b.jpg"]
    (tmp_path / "e.jpg.part").rename(tmp_path / "e.jpg")
    assert given(items) == ["e.jpg"]


def test_only_new_leaves_out_what_is_there_until_it_changes(tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_text("old")
    (tmp_path / "changed.jpg").write_text("old")
    _, items = watching(tmp_path, only_new=True)
    assert given(items) == []
    (tmp_path / "changed.jpg").write_text("changed")
    (tmp_path / "new.jpg").write_text("new")
    assert given(items) == ["changed.jpg", "new.jpg"]


def test_growing_file_is_not_given_before_it_stands_still(tmp_path: Path) -> None:
    _, items = watching(tmp_path)
    for _ in range(5):
        with (tmp_path / "slow.jpg").open("a") as file:
            file.write("slice")
        assert given(items, looks=1) == []
    assert given(items) == ["slow.jpg"]


def test_unreadable_file_is_given_again_until_it_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_text("half")
    watch, items = watching(tmp_path)
    for _ in range(3):
        assert given(items) == ["half.jpg"]
        assert not watch.wants(unreadable(path))
    path.write_text("half and half")
    assert given(items) == ["half.jpg"]
    assert watch.wants(judged(path, "whole"))
    assert given(items) == []


def test_unreadable_file_that_stands_still_is_told_once_and_again_when_it_changes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bad.jpg"
    path.write_text("bad")
    watch, items = watching(tmp_path, patience_s=0)
    for content in ("bad", "still bad"):
        path.write_text(content)
        assert given(items) == ["bad.jpg"]
        assert watch.wants(unreadable(path))
        assert given(items) == []


def test_vanished_file_is_not_told_and_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "short-lived.jpg"
    path.write_text("here")
    watch, items = watching(tmp_path, patience_s=0)
    assert given(items) == ["short-lived.jpg"]
    path.unlink()
    assert not watch.wants(unreadable(path))
    assert given(items) == []
    assert not watch._looks


def test_same_content_is_told_once_and_changed_content_again(tmp_path: Path) -> None:
    path = tmp_path / "one.jpg"
    path.write_text("one")
    watch, items = watching(tmp_path)
    for stamp, (sha256, told) in enumerate([("a", True), ("a", False), ("b", True), ("a", True)]):
        os.utime(path, (stamp, stamp))
        assert given(items) == ["one.jpg"]
        assert watch.wants(judged(path, sha256)) is told


def test_burst_is_given_whole_and_once(tmp_path: Path) -> None:
    _, items = watching(tmp_path)
    names = [f"{i:03}.jpg" for i in range(500)]
    for name in names:
        (tmp_path / name).write_text(name)
    assert given(items, looks=4) == names


@pytest.mark.parametrize("started", [False, True])
def test_folder_that_is_not_there_is_an_error(started: bool, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    if started:
        folder.mkdir()
        _, items = watching(folder)
        assert given(items) == []
        folder.rmdir()
        with pytest.raises(PictureError, match=r"folder .* is not there"):
            given(items)
    else:
        with pytest.raises(PictureError, match=r"folder .* is not there"):
            Watch(folder)


# --- fapm score --watch ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three good pictures and one bad one."""
    shutil.copytree(SAMPLES / "test" / "good", tmp_path / "watched")
    shutil.copy(ONE_BAD, tmp_path / "watched" / "zzz.jpg")
    for picture in sorted((tmp_path / "watched").iterdir())[3:-1]:
        picture.unlink()
    return tmp_path / "watched"


def after(count: int, what: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something when so many pictures of a watch were judged."""
    wants, calls = Watch.wants, iter(range(1, 1000))

    def wrapped(self: Watch, one: Judged | Unreadable) -> bool:
        if next(calls) == count:
            what()
        return wants(self, one)

    monkeypatch.setattr(Watch, "wants", wrapped)


def test_watched_pictures_score_as_named_ones_and_limit_stops(bank: Path, folder: Path) -> None:
    result = fapm("score", bank, "--watch", folder, "--limit", 4, "--json")
    assert result == fapm("score", bank, folder, "--json")
    assert (result.code, len(result.json)) == (1, 4)


def test_limit_keeps_the_exit_codes_of_what_was_told(bank: Path, folder: Path) -> None:
    scores = fapm("score", bank, folder, "--json").scores
    between = sum(sorted(scores.values())[-2:]) / 2
    watch = ("score", bank, "--watch", folder, "--threshold", between, "--limit")
    assert [fapm(*watch, 3).code, fapm(*watch, 4).code] == [0, 1]


def test_picture_that_stays_unreadable_is_an_error_record(
    bank: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = Watch.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "patience_s", 0.3)
    (folder / "001.jpg").write_bytes(ONE_GOOD.read_bytes()[:5000])
    result = fapm("score", bank, "--watch", folder, "--limit", 4, "--json")
    assert result.code == 2
    assert [Path(record["path"]).name for record in result.json if "error" in record] == ["001.jpg"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_finishes_what_is_in_hand_and_closes_the_array(
    number: signal.Signals, bank: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    after(2, lambda: os.kill(os.getpid(), number), monkeypatch)
    result = fapm("score", bank, "--watch", folder, "--json")
    assert (result.code, result.err) == (130, "fapm: interrupted\n")
    assert 2 <= len(result.json) <= 4
    assert signal.getsignal(number) == before


def test_second_signal_interrupts_at_once(
    bank: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    after(1, twice, monkeypatch)
    result = fapm("score", bank, "--watch", folder, "--json")
    assert (result.code, result.json) == (130, [])


def test_folder_that_vanishes_is_told_in_one_line_after_all_records(
    bank: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(4, lambda: shutil.rmtree(folder), monkeypatch)
    result = fapm("score", bank, "--watch", folder, "--json")
    assert_fails(result, str(folder))
    assert len(result.json) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("--watch", SAMPLES, SAMPLES),
        ("--watch", SAMPLES, "--camera", 0),
        ("--watch", ONE_GOOD),
        ("--watch", SAMPLES, "--every", 2),
        (SAMPLES, "--only-new"),
        (SAMPLES, "--limit", 0),
        ("--camera", -1),
    ],
)
def test_sources_that_do_not_go_together_are_refused(
    arguments: tuple[object, ...], bank: Path
) -> None:
    result = fapm("score", bank, *arguments)
    assert_fails(result)
    assert result.out == ""


class Program:
    """``fapm score --watch`` as a process, its records read as they come."""

    def __init__(self, bank: Path, folder: Path):
        arguments = ("score", bank, "--watch", folder, "--format", "jsonl")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fapm_cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def record(self) -> Any:
        """The next record, as a name and a score."""
        record = json.loads(self._lines.get(timeout=60))
        return Path(record["path"]).name, record["score"]

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; the exit code, and what stood on stderr."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stderr is not None
        err = self.process.stderr.read()
        code = self.process.wait(timeout=60)
        assert self._lines.empty()
        return code, err

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)


def test_pictures_are_told_at_once_however_they_are_written(bank: Path, tmp_path: Path) -> None:
    good, bad = fapm("score", bank, ONE_GOOD, ONE_BAD, "--json").scores.values()
    shutil.copy(ONE_GOOD, tmp_path / "first.jpg")
    program = Program(bank, tmp_path)
    assert program.record() == ("first.jpg", good)

    data = ONE_BAD.read_bytes()
    with (tmp_path / "sliced.jpg").open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // 3):
            file.write(data[start : start + len(data) // 3])
            time.sleep(0.5)  # long enough to look finished, were it not for its content
    assert program.record() == ("sliced.jpg", bad)

    (tmp_path / "sub").mkdir()
    shutil.copy(ONE_BAD, tmp_path / "sub" / "moved.jpg.part")
    (tmp_path / "sub" / "moved.jpg.part").rename(tmp_path / "sub" / "moved.jpg")
    assert program.record() == ("moved.jpg", bad)

    (tmp_path / "sliced.jpg").unlink()
    shutil.copy(ONE_BAD, tmp_path / "first.jpg")
    assert program.record() == ("first.jpg", bad)
    assert program.stop() == (130, "fapm: interrupted\n")
