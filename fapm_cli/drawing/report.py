"""The report: one HTML file that needs nothing else, written picture by picture.

``report.html`` is the page. Two kinds of JSON go into it: an index, small and read at once, and a
block per picture with its images, read when the picture comes into view. A page of thousands of
pictures thus opens as fast as one of ten, and none but the index is held in memory here.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from fapm_cli.bank.bank import Bank, nominal_picture
from fapm_cli.detection.record import Record
from fapm_cli.drawing.heatmap import STRONGEST, heat_colour
from fapm_cli.drawing.report_pictures import (
    SPOT_SHARE,
    FloatMap,
    box_of,
    centre_of,
    crop_bytes,
    encoded,
    heat_bytes,
    picture_bytes,
    window_around,
)
from fapm_cli.files import one_line, write_atomically
from fapm_cli.pictures.seen import DIFFERENCES
from fapm_cli.scores.thresholds import Thresholds
from fapm_cli.version import __version__

_COPY_BYTES = 1 << 20


class ReportPage:
    """A report in the making: pictures are added one at a time, then the page is written."""

    def __init__(
        self,
        bank: Bank,
        path: Path,
        calm: float,
        thresholds: Thresholds,
        comparable: bool,
        digest: str = "",
    ):
        """Begin.

        Args:
            bank: that judges the pictures.
            path: of the bank's file, for the page's head and the commands it offers.
            calm: where the colour scale begins.
            thresholds: where the page's slider stands at first, and the review band.
            comparable: whether the pictures are scored as the bank's nominal ones were.
            digest: SHA-256 of the bank's file, in hexadecimal.
        """
        self._bank = bank
        self._calm = calm
        self._head: Record = {
            "bank": one_line(path.name),
            "bank_path": one_line(str(path)),
            "digest": digest,
            "made": _now(),
            "version": __version__,
            "backbone": bank.config.backbone,
            "threshold": thresholds.score,
            "review": thresholds.review,
            "nominal": bank.nominal_scores.tolist() if comparable else [],
            "scale": {
                "from": calm,
                "colours": heat_colour(np.array([0.0, 0.5, 1.0])).tolist(),
                "opacity": STRONGEST,
            },
        }
        self._pictures: list[Record] = []
        self._errors: list[Record] = []
        self._nominal: set[int] = set()
        # On disk, and nameless where the system can: an end by any means leaves nothing behind.
        self._blocks = tempfile.TemporaryFile(prefix="fapm-")  # noqa: SIM115 - lives as long as self

    def add(
        self,
        path: str | Path,
        image: Image.Image,
        located: Record,
        scores: FloatMap,
        differs: Sequence[str] = (),
    ) -> None:
        """Add a picture.

        Args:
            path: shown as it is.
            image: the picture at its own size, 8-bit RGB.
            located: what :meth:`fapm_cli.detection.locator.Locator.locate` says of it.
            scores: (h, w) float32 anomaly map, at :func:`heat_size`; NaN where not inspected.
            differs: in what it differs from the bank's pictures, as keys of
                :data:`fapm_cli.pictures.seen.DIFFERENCES`.
        """
        width, height = image.size
        peak = centre_of(located["peak"]["x"], located["peak"]["y"], width, height)
        side = min(SPOT_SHARE * (width * height) ** 0.5, width, height)
        share = (side / width, side / height)
        spot = window_around(peak, share)
        near = self._near(located["nearest"], share)
        self._add_block(
            f"picture-{len(self._pictures)}",
            picture=picture_bytes(image, np.isnan(scores)),
            heat=heat_bytes(scores, self._calm),
            spot=crop_bytes(image, spot),
        )
        self._pictures.append(
            {
                "path": one_line(str(path)),
                "score": located["score"],
                "layers": located["layer_scores"],
                "size": [width, height],
                "at": [located["peak"]["x"], located["peak"]["y"]],
                "peak": peak,
                "spot": spot,
                "near": near,
                "unlike": located.get("unlike", False),
                "differs": [DIFFERENCES[one] for one in differs],
                "boxes": [box_of(region, width, height) for region in located.get("regions", ())],
            }
        )

    def add_error(self, path: str | Path, message: str) -> None:
        """Add a picture that could not be judged."""
        self._errors.append({"path": one_line(str(path)), "error": one_line(message)})

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all, and be done.

        Raises:
            OutputError: it can't be written.
        """
        with self._blocks:
            write_atomically(path, self._page())

    def _page(self) -> Iterator[bytes]:
        """Give the page in parts: the index and the script come first, so it shows at once."""
        template = files("fapm_cli.drawing").joinpath("report.html").read_bytes()
        before, rest = template.split(b"<!-- index -->")
        script, after = rest.split(b"<!-- blocks -->")
        index = {**self._head, "pictures": self._pictures, "errors": self._errors}
        yield before + _json_block("index", index) + script
        self._blocks.seek(0)
        while part := self._blocks.read(_COPY_BYTES):
            yield part
        yield after

    def _near(self, nearest: Record, share: tuple[float, float]) -> Record:
        """Say where the nearest nominal picture has what the peak was compared with."""
        preprocessing = self._bank.config.preprocessing
        (h, w), (crop_h, crop_w) = preprocessing.resize_px, preprocessing.crop_px
        place = centre_of(nearest["input_x"], nearest["input_y"], crop_w, crop_h)
        near: Record = {"name": one_line(nearest["name"]), "at": place}
        if self._bank.thumbnails is not None:
            near["picture"] = nearest["picture"]
            of_input = share[0] * (w / crop_w), share[1] * (h / crop_h)
            near["window"] = window_around(place, of_input)
            self._add_nominal(nearest["picture"])
        return near

    def _add_nominal(self, number: int) -> None:
        if number in self._nominal:
            return
        self._nominal.add(number)
        pixels = nominal_picture(self._bank, number)
        if pixels is not None:
            picture = encoded(Image.fromarray(pixels), "JPEG", quality=85)
            self._add_block(f"nominal-{number}", picture=picture)

    def _add_block(self, name: str, **images: bytes) -> None:
        as_text = {key: base64.b64encode(data).decode() for key, data in images.items()}
        self._blocks.write(_json_block(name, as_text))


def _now() -> str:
    """The time, in UTC and to the minute; ``SOURCE_DATE_EPOCH`` gives one that stays the same."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _json_block(name: str, value: Record) -> bytes:
    """Write JSON that no text in it can break out of: only a ``<`` could end the script."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'.encode("ascii")
