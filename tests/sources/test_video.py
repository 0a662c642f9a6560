"""Videos and cameras are judged frame by frame, as pictures are."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ONE_BAD, ONE_GOOD, SAMPLES, assert_fails, fapm
from numpy.typing import NDArray

from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.picture import Frame
from fapm_cli.sources.video import _newest_frames, video_frames

FPS = 5
PICTURES = sorted((SAMPLES / "test").rglob("*.jpg"))[:10]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of ten sample pictures, two seconds."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 320))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for picture in PICTURES:
        pixels = cv2.imread(str(picture))
        assert pixels is not None
        writer.write(pixels)
    writer.release()
    return path


@pytest.fixture
def cut(clip: Path, tmp_path: Path) -> Path:
    """The first half of the clip's bytes."""
    data = clip.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    return tmp_path / "cut.avi"


def test_frame_scores_as_the_same_picture_in_a_file(bank: Path, clip: Path, tmp_path: Path) -> None:
    for frame in video_frames(clip):
        assert isinstance(frame, Frame)
        cv2.imwrite(str(tmp_path / f"{frame.moment.frame}.png"), frame.bgr)
    as_files = fapm("score", bank, tmp_path, "--json")
    as_video = fapm("score", bank, clip, "--json")
    assert [as_files.code, as_video.code] == [1, 1]
    assert len(as_files.json) == len(PICTURES)
    for number, (one, other) in enumerate(zip(as_video.json, as_files.json, strict=True)):
        moment = {"frame": number, "time_s": pytest.approx(number / FPS)}
        assert one == {**other, "path": str(clip), **moment}


def test_frames_per_second_stand_on_stderr(bank: Path, clip: Path) -> None:
    result = fapm("score", bank, clip)
    assert result.err.startswith(f"{len(PICTURES)} frames, ")
    assert result.err.endswith(" FPS\n")
    assert [line.split("\t")[2] for line in result.out.splitlines()[:2]] == [
        "frame 0 at 0.000 s",
        "frame 1 at 0.200 s",
    ]


def test_every_leaves_out_frames_between(bank: Path, clip: Path) -> None:
    every = fapm("score", bank, clip, "--every", 4, "--json").json
    assert every == fapm("score", bank, clip, "--json").json[::4]


def test_videos_and_pictures_keep_their_order(bank: Path, clip: Path) -> None:
    result = fapm("score", bank, ONE_GOOD, clip, "-", "--every", 5, "--json", stdin=str(clip))
    assert [(Path(one["path"]).name, one.get("frame")) for one in result.json] == [
        ("000.jpg", None),
        *[("clip.avi", 0), ("clip.avi", 5)] * 2,
    ]


def test_limit_stops_within_a_video(bank: Path, clip: Path) -> None:
    result = fapm("score", bank, clip, "--limit", 3, "--json")
    assert (result.code, [one["frame"] for one in result.json]) == (1, [0, 1, 2])
    assert result.err.startswith("3 frames, ")


def test_video_that_breaks_off_is_judged_so_far_and_then_an_error_record(
    bank: Path, cut: Path
) -> None:
    result = fapm("score", bank, cut, ONE_BAD, "--json")
    assert result.code == 2
    *frames, broken, picture = result.json
    assert 1 < len(frames) < len(PICTURES)
    assert broken == {
        "path": str(cut),
        "error": f"video {cut} breaks off after {len(frames)} frames",
    }
    assert "score" in picture


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mov", "mp4"])
def test_whole_video_of_any_kind_ends_without_error(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"clip.{suffix}"
    code = cv2.VideoWriter.fourcc(*("MJPG" if suffix == "avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, 30, (64, 48))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {suffix}")
    for level in range(40):
        writer.write(np.full((48, 64, 3), level * 5, np.uint8))
    writer.release()
    capfd.readouterr()
    numbers = [frame.moment.frame for frame in video_frames(path) if isinstance(frame, Frame)]
    assert numbers == list(range(40))
    assert capfd.readouterr().err == ""


def test_what_is_no_video_is_an_error_record_and_libraries_are_silent(
    bank: Path, tmp_path: Path
) -> None:
    names = ("text.mp4", "empty.avi", "missing.mkv", os.fsdecode(b"bad\xff.avi"))
    bad = [tmp_path / name for name in names]
    shutil.copy(__file__, bad[0])
    bad[1].touch()
    bad[3].touch()
    done = subprocess.run(
        [sys.executable, "-m", "fapm_cli", "score", bank, *bad, ONE_GOOD, "--json"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, b"")
    records = json.loads(done.stdout)
    assert ["error" in record for record in records] == [True] * 4 + [False]
    assert "not a video" in records[0]["error"]
    assert "does not exist" in records[2]["error"]


# --- Cameras -----------------------------------------------------------------------------------


class Camera:
    """Stands in for ``cv2.VideoCapture``: a picture at each release, dark to light."""

    FRAMES = 200

    def __init__(self, source: int = 0, *, frames: int | None = None, released: bool = True):
        self.open = source == 0
        self.frames = frames = self.FRAMES if frames is None else frames
        self.reads = 0
        self.reading = threading.Condition()
        self.may_give = threading.Semaphore(frames + 1 if released else 0)
        self.closed = False

    def isOpened(self) -> bool:  # noqa: N802
        return self.open

    def release(self) -> None:
        self.closed = True

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        number = self.reads
        with self.reading:
            self.reads += 1
            self.reading.notify()
        self.may_give.acquire()
        if number >= self.frames:
            return False, None
        return True, np.full((48, 64, 3), number % 256, np.uint8)

    def give(self, count: int) -> None:
        """Give so many frames, and wait until the last was taken in."""
        wanted = self.reads + count
        self.may_give.release(count)
        with self.reading:
            assert self.reading.wait_for(lambda: self.reads >= wanted, 10)


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> list[Camera]:
    """The cameras that were opened."""
    opened: list[Camera] = []

    def open_one(*arguments: Any) -> Camera:
        opened.append(Camera(*arguments))
        return opened[-1]

    monkeypatch.setattr(cv2, "VideoCapture", open_one)
    return opened


def numbers(frames: list[Frame | Unreadable | None]) -> list[int]:
    found = [(f.moment.frame, int(f.bgr[0, 0, 0])) for f in frames if isinstance(f, Frame)]
    assert all(number % 256 == level for number, level in found)
    return [number for number, _ in found]


def test_only_the_newest_frame_is_given_and_none_while_none_comes() -> None:
    fake = Camera(frames=9, released=False)
    frames = _newest_frames(fake, Path("camera:0"), 0.05)
    assert next(frames) is None
    fake.give(1)
    assert numbers([next(frames)]) == [0]
    fake.give(5)
    assert numbers([next(frames)]) == [5]
    assert next(frames) is None
    fake.may_give.release(fake.frames)  # it ends, so that nobody waits for it
    frames.close()  # type: ignore[attr-defined]


def test_camera_that_ends_gives_its_last_frame_then_an_error_and_is_let_go() -> None:
    fake = Camera(frames=3)
    given = list(_newest_frames(fake, Path("camera:0")))
    *frames, last = given
    assert numbers(frames)[-1] == 2
    assert isinstance(last, Unreadable)
    assert fake.closed


def test_closing_lets_the_camera_go_and_leaves_no_thread() -> None:
    before = threading.active_count()
    fake = Camera(frames=10**6)
    frames = _newest_frames(fake, Path("camera:0"))
    list(itertools.islice(frames, 3))
    frames.close()  # type: ignore[attr-defined]
    assert fake.closed
    assert threading.active_count() == before


def test_camera_frames_are_records_until_the_limit(
    bank: Path, camera: list[Camera], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Camera, "FRAMES", 10**9)  # it is not unplugged, however slow the score
    result = fapm("score", bank, "--camera", 0, "--limit", 2, "--json")
    assert result.code == 1
    assert [record["path"] for record in result.json] == ["camera:0"] * 2
    first, second = (record["frame"] for record in result.json)
    assert first < second
    assert result.err.splitlines()[-1].startswith("2 frames, ")
    assert camera[0].closed


def test_camera_that_is_unplugged_is_an_error_record(bank: Path, camera: list[Camera]) -> None:
    result = fapm("score", bank, "--camera", 0, "--json")
    assert result.code == 2
    assert result.json[-1] == {
        "path": "camera:0",
        "error": "camera:0 gives no more frames; is it still plugged in?",
    }


def test_camera_that_is_not_there_is_told_in_one_line(bank: Path, camera: list[Camera]) -> None:
    result = fapm("score", bank, "--camera", 1, "--json")
    assert_fails(result, "camera 1")
    assert result.out == ""
