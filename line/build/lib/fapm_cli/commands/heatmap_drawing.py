"""The drawing of a run of pictures: into files, a report, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fapm_cli.commands.heatmap_files import encoded, save, write_map, write_mask
from fapm_cli.commands.terminal import note
from fapm_cli.errors import PictureError
from fapm_cli.files import escaped
from fapm_cli.pictures.seen import Differences

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector
    from fapm_cli.api.report import Report
    from fapm_cli.api.result import Result


class Drawing:
    """Draws results one after another.

    Attributes:
        failed: whether a picture could not be judged or drawn.
        differences: of the pictures from the bank's.
    """

    def __init__(self, detector: Detector, raw_map: str | None, mask: bool, boxes: bool):
        """Draw what a detector finds, as the options say."""
        self.failed = False
        self.differences = Differences()
        self._detector = detector
        self._report: Report | None = None
        self._raw_map, self._mask, self._boxes = raw_map, mask, boxes

    def begin_report(self, bank: Path, threshold: float | None) -> None:
        """Draw into a report, too; its slider stands at the threshold, None for the bank's."""
        from fapm_cli.api.report import Report

        self._report = Report(self._detector, bank, threshold)

    def write_report(self, html: Path) -> None:
        """Write the report, and say where it is."""
        if self._report is not None:
            self._report.write(html)
            typer.echo(escaped(html))

    def add(self, result: Result, stem: str | None) -> None:
        """Draw one picture into the report, and into files that are named by the stem, if any."""
        if result.error is not None:
            self._fail(result, result.error)
            return
        self.differences.count(result.differs)
        try:
            self._draw(result, stem)
        except PictureError as error:
            self._fail(result, str(error))

    def _fail(self, result: Result, error: str) -> None:
        self.failed = True
        note(f"fapm: {error}")
        if self._report is not None:
            self._report.add_error(result.path, error)

    def _draw(self, result: Result, stem: str | None) -> None:
        picture = result.picture()
        if self._report is not None:
            self._report.add(result, picture)
        if stem is None:
            return
        result.heatmap(picture, boxes=self._boxes)
        save(Path(f"{stem}_heatmap.png"), encoded(picture, "PNG", compress_level=3))
        del picture  # the map of a large picture is as large
        if self._raw_map is not None:
            write_map(result.map_strips(), result.size_px, stem, self._raw_map)
        if self._mask:
            pixel_threshold = self._detector.pixel_threshold
            write_mask(result.map_strips(), result.size_px, stem, pixel_threshold)
        typer.echo(escaped(f"{stem}_heatmap.png"))
