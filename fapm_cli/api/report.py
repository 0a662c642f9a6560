"""A report of judged pictures: one page that needs nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from fapm_cli.api.detector import Detector
from fapm_cli.api.result import Result
from fapm_cli.drawing import report as drawing
from fapm_cli.drawing.report_pictures import heat_size
from fapm_cli.stores.stored import AnyPath


class Report:
    """A report in the making: add results one at a time, then write the page."""

    def __init__(self, detector: Detector, bank: str | Path, threshold: float | None = None):
        """Begin.

        Args:
            detector: that judges the pictures.
            bank: the bank's file, for the page's head and the commands it offers.
            threshold: where the page's slider stands at first; None for the bank's.
        """
        engine, path = detector.engine, Path(bank)
        thresholds = engine.bank.thresholds
        self._page = drawing.ReportPage(
            engine.bank,
            path,
            detector.pixel_threshold,
            thresholds if threshold is None else thresholds.at(threshold),
            comparable=engine.query == engine.bank.config.query and engine.is_own_region,
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        )

    def add(self, result: Result, picture: Image.Image | None = None) -> None:
        """Add what was found in a picture, or why it can't be judged.

        Args:
            result: of the picture.
            picture: itself, if :meth:`Result.picture` gave it already.

        Raises:
            PictureError: the picture's file has changed, or can't be read any more.
        """
        if result.error is not None:
            self.add_error(result.path, result.error)
            return
        picture = picture or result.picture()
        scores = result.map_of_size(heat_size(result.size_px))
        self._page.add(result.path, picture, result.record, scores, result.differs)

    def add_error(self, path: str | AnyPath, message: str) -> None:
        """Add a picture that could not be judged, or read again."""
        self._page.add_error(str(path), message)

    def write(self, path: str | Path) -> None:
        """Write the page, whole or not at all, and be done.

        Raises:
            OutputError: it can't be written.
        """
        self._page.write(Path(path))
