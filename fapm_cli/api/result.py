"""What was found in a picture, for a program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.detection.judge import Judge
from fapm_cli.detection.record import Record
from fapm_cli.detection.stream import Judged
from fapm_cli.drawing.heatmap import Caption, draw_located
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.picture import Encoded, Frame, read_again, read_picture
from fapm_cli.pictures.reading import Item


@dataclass(frozen=True)
class Result:
    """What was found in a picture.

    Attributes:
        record: all of it as plain values, the record of ``fapm score --json``.
    """

    record: Record
    _detector: Judge
    _judged: Judged | Unreadable
    _source: Item

    @property
    def path(self) -> str:
        """Where the picture lies; ``array`` for one in memory."""
        return str(self.record["path"])

    @property
    def error(self) -> str | None:
        """Why the picture can't be judged; None where it was."""
        return self.record.get("error")

    @property
    def judged(self) -> Judged | Unreadable:
        """The picture and what was found in it, or that it can't be read: for its ``Source``."""
        return self._judged

    @property
    def score(self) -> float:
        """The image score."""
        return float(self.record["score"])

    @property
    def verdict(self) -> str | None:
        """``ok``, ``review`` or ``anomalous``; None where the bank's threshold does not hold."""
        return self.record.get("verdict")

    @property
    def threshold(self) -> float | None:
        """The score above which a picture is anomalous."""
        return self.record.get("threshold")

    @property
    def p_value(self) -> float | None:
        """The chance of a good part to reach the score; None where that is not known."""
        return self.record.get("p_value")

    @property
    def peak(self) -> tuple[int, int]:
        """The worst spot, x and y in px of the picture."""
        return self.record["peak"]["x"], self.record["peak"]["y"]

    @property
    def regions(self) -> list[Record]:
        """What exceeds the pixel threshold, strongest first: boxes in px of the picture."""
        return list(self.record["regions"])

    @property
    def nearest(self) -> Record:
        """The picture of the bank, and the place in it, most like the worst spot."""
        return dict(self.record["nearest"])

    @property
    def differs(self) -> list[str]:
        """In what the picture differs from the bank's, as keys of ``fapm_cli.DIFFERENCES``."""
        return list(self.record.get("differs", ()))

    @property
    def size_px(self) -> tuple[int, int]:
        """The picture's height and width."""
        return self._good().prepared.picture.size_px

    @property
    def anomaly_map(self) -> NDArray[np.float32]:
        """(height, width) float32 over the picture's px; NaN where it was not inspected."""
        return self.map_of_size(self.size_px)

    def map_of_size(self, size_px: tuple[int, int]) -> NDArray[np.float32]:
        """The anomaly map as for a picture of this height and width, float32."""
        one = self._good()
        pose = one.prepared.pose.at(self.size_px, size_px)
        anomaly_map, judged = one.found.anomaly_maps[0], one.prepared.judged
        return self._detector.locator.picture_map(anomaly_map, size_px, pose, judged)

    def map_strips(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The anomaly map some rows at a time: the first row's number, (n, width) float32."""
        one = self._good()
        anomaly_map, shown = one.found.anomaly_maps[0], one.prepared
        return self._detector.locator.map_strips(
            anomaly_map, self.size_px, shown.pose, shown.judged
        )

    def picture(self) -> Image.Image:
        """The picture at its own size, upright, 8-bit RGB, read again if it is a file.

        Raises:
            PictureError: the file has changed, or can't be read any more.
        """
        judged = self._good()
        if isinstance(self._source, np.ndarray):
            return Image.fromarray(self._source)
        if isinstance(self._source, Frame):
            return Image.fromarray(np.ascontiguousarray(self._source.bgr[..., ::-1]))
        bit_depth = self._detector.bank.config.preprocessing.bit_depth
        if isinstance(self._source, Encoded):
            return read_picture(self._source, bit_depth).image
        return read_again(judged.prepared.picture, bit_depth).image

    def with_file(self, data: bytes) -> Result:
        """The same, its picture's file as these bytes: whoever keeps results may keep none."""
        return replace(self, _source=Encoded(Path(self.path), data))

    @property
    def num_bytes(self) -> int:
        """What it holds in memory, but its picture's file."""
        if isinstance(self._judged, Unreadable):
            return 0
        found = sum(part.nbytes for part in self._judged.found.parts)
        return int(found + self._judged.prepared.input.nbytes)

    def heatmap(self, picture: Image.Image | None = None, *, boxes: bool = True) -> Image.Image:
        """Draw what was found over the picture, as ``fapm heatmap`` does.

        Args:
            picture: to draw upon, if :meth:`picture` gave it already.
            boxes: whether to frame the regions.

        Raises:
            PictureError: the picture's file has changed, or can't be read any more.
        """
        picture = picture or self.picture()
        draw_located(
            picture,
            self.map_strips(),
            self._detector.locator.pixel_threshold,
            self.record,
            Caption(self.score, self.threshold, self.verdict),
            boxes=boxes,
        )
        return picture

    def to_json(self) -> str:
        """The record, as one line of ``fapm score --format jsonl``."""
        return json.dumps(self.record)

    def _good(self) -> Judged:
        if isinstance(self._judged, Unreadable) or self.error is not None:
            raise PictureError(self.error or "")
        return self._judged
