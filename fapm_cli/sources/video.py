"""Videos and cameras, frame by frame."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from fapm_cli.errors import DeviceError, PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.picture import Frame, Moment
from fapm_cli.sources.genicam import SCHEME, GenicamCamera
from fapm_cli.stores.stored import AnyPath

VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
)
_SLACK_S = 0.5  # what a header may promise too much: other streams' ends, rounded lengths


def is_video(path: AnyPath) -> bool:
    """Tell by its name whether a file is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def video_frames(path: Path, every: int = 1) -> Iterator[Frame | Unreadable]:
    """Read a video; where it can't be opened or breaks off, its error stands.

    Args:
        path: of any kind that OpenCV reads.
        every: give each ``every``-th frame, from the first.
    """
    if not path.is_file():
        yield Unreadable(path, PictureError(f"video {path} does not exist; check the path"))
        return
    capture = _open(os.path.abspath(path))  # a relative name may look like a protocol's: a:b.mp4
    if not capture.isOpened():
        yield Unreadable(path, PictureError(f"file {path} is not a video that can be read"))
        return
    number, time_s = 0, 0.0
    while capture.grab():
        time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if number % every == 0:
            good, bgr = capture.retrieve()
            if not good:
                yield _broken(path, number)
                return
            yield Frame(path, Moment(number, round(time_s, 6)), np.asarray(bgr, np.uint8))
        number += 1
    if number == 0 or _breaks_off(capture, number, time_s):
        yield _broken(path, number)


def _broken(path: Path, number: int) -> Unreadable:
    return Unreadable(path, PictureError(f"video {path} breaks off after {number} frames"))


def _breaks_off(capture: cv2.VideoCapture, number: int, time_s: float) -> bool:
    """Whether much is missing by count and by time: either alone may be a guess of the header."""
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    return count > number and fps > 0 and count / fps - time_s > _SLACK_S + 1 / fps


class Camera(Protocol):
    """A camera that is open, as :class:`cv2.VideoCapture` is one."""

    def read(self) -> tuple[bool, Any]:
        """Whether it still gives frames; the next, (height, width, 3) BGR, or None for none yet."""

    def release(self) -> None:
        """Close it."""


def open_camera(camera: int | str) -> Iterator[Frame | Unreadable | None]:
    """Open a camera: its newest frame whenever one is asked for, each once, None while none comes.

    Frames that come while the engine works are left out, so that it never lags behind; their
    numbers are missing.

    Args:
        camera: its number, of those that OpenCV finds, or ``genicam:PRODUCER#DEVICE``.

    Raises:
        DeviceError: it can't be opened.
        OptionError: the package that it takes is missing.
    """
    if isinstance(camera, str):
        one = GenicamCamera(camera)
        return _newest_frames(one, Path(f"{SCHEME}{one.name}"))
    capture = _open(camera)
    if not capture.isOpened():
        raise DeviceError(f"camera {camera} can't be opened; is it plugged in, and free?")
    return _newest_frames(capture, Path(f"camera:{camera}"))


def _newest_frames(
    capture: Camera, name: Path, patience_s: float = 0.2
) -> Iterator[Frame | Unreadable | None]:
    newest = _Newest(capture, name)
    try:
        while (frame := newest.take(patience_s)) is not None or not newest.ended:
            yield frame
    finally:
        newest.close()
    yield Unreadable(name, PictureError(f"{name} gives no more frames; is it still plugged in?"))


class _Newest:
    """Reads a camera in a thread, and keeps its newest frame alone."""

    def __init__(self, capture: Camera, name: Path):
        self.ended = False
        self._capture, self._name = capture, name
        self._frame: Frame | None = None
        self._fresh = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def take(self, patience_s: float) -> Frame | None:
        """Wait a while for a frame that was not taken yet."""
        with self._fresh:
            self._fresh.wait_for(lambda: self._frame is not None or self.ended, patience_s)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        """Stop reading, and let the camera go."""
        self.ended = True
        self._thread.join(timeout=5)  # a camera that hangs is left to the end of the process
        if not self._thread.is_alive():
            self._capture.release()

    def _read(self) -> None:
        begun, numbers = 0.0, itertools.count()
        while not self.ended:
            try:
                good, bgr = self._capture.read()
            except Exception:  # a driver may raise anything
                good = False
            now = time.monotonic()
            begun = begun or now
            with self._fresh:
                if not good:
                    self.ended = True
                elif bgr is not None:
                    moment = Moment(next(numbers), round(now - begun, 6))
                    self._frame = Frame(self._name, moment, np.asarray(bgr, np.uint8))
                self._fresh.notify()


def _open(source: str | int) -> cv2.VideoCapture:
    """Open a video or camera; OpenCV and FFmpeg say nothing on stderr, as fapm does."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    of_opencv_4: Any = getattr(cv2, "setLogLevel", None)
    (of_opencv_4 or cv2.utils.logging.setLogLevel)(0)  # silent
    if isinstance(source, str) and source.encode(errors="ignore").decode() != source:
        return cv2.VideoCapture()  # OpenCV crashes on a name that is no text
    return cv2.VideoCapture(source)
