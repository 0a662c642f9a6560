"""``fapm heatmap``: show where a picture is unlike the good ones."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.choices import check_threshold, query_changes
from fapm_cli.commands.heatmap_files import (
    choose_stems,
    encoded,
    save,
    write_map,
    write_mask,
)
from fapm_cli.commands.notes import note_differences
from fapm_cli.commands.opening import open_detector, use_threads, verdict_thresholds
from fapm_cli.commands.options import (
    OUTPUT,
    VERDICTS,
    BankArgument,
    BatchSizeOption,
    CalibrationOption,
    CompileOption,
    DeviceOption,
    LayerWeightsOption,
    NeighborsOption,
    PathsArgument,
    PixelThresholdOption,
    PrecisionOption,
    ReachOption,
    RoiOption,
    SigmaOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.paths import check_order, check_output, find_named
from fapm_cli.commands.terminal import note, progress_bar
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.files import escaped
from fapm_cli.finding.kinds import A_REPORT
from fapm_cli.finding.search import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from fapm_cli.detection.detector import Detector
    from fapm_cli.detection.stream import Judged
    from fapm_cli.drawing.report import Report
    from fapm_cli.scores.thresholds import Thresholds

    Strips = Iterator[tuple[int, NDArray[np.float32]]]

EXIT_ERROR = 2


def heatmap(
    bank: BankArgument,
    paths: PathsArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write a heatmap of each picture there.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a report: one page that needs nothing else.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    raw_map: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="tiff|npy",
            help="Also write the raw float32 map.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    mask: Annotated[
        bool,
        typer.Option(
            help="Also write where the map exceeds the pixel threshold.", rich_help_panel=OUTPUT
        ),
    ] = False,
    boxes: Annotated[
        bool,
        typer.Option(
            help="Don't frame the regions above the pixel threshold.", rich_help_panel=OUTPUT
        ),
    ] = True,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            help="Anomalous above T; --html's slider starts there (default: the bank's).",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    pixel_threshold: PixelThresholdOption = None,
    roi: RoiOption = None,
    weights: WeightsOption = None,
    neighbors: NeighborsOption = None,
    layer_weights: LayerWeightsOption = None,
    sigma: SigmaOption = None,
    reach: ReachOption = None,
    calibration: CalibrationOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    precision: PrecisionOption = "auto",
    compiled: CompileOption = False,
    batch_size: BatchSizeOption = 8,
) -> int:
    """Draw where pictures are unlike the good ones.

    Over the pictures, at their own size. Colour starts where good parts end and means the same in
    every picture of a bank. Prints the path of each heatmap, and of the report.

    Example:  fapm heatmap bank.st samples/test -o out/ --html report.html
    """
    check_threshold(threshold)
    check_order("heatmap", bank, paths)
    _check_options(output, html, raw_map, mask)
    from fapm_cli.detection.stream import judge
    from fapm_cli.pictures.seen import Differences

    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration)
    use_threads(threads)
    detector = open_detector(
        bank, device, precision, weights, changes, roi, pixel_threshold, compiled
    )
    named = find_named(paths)
    stems = [None] * len(named) if output is None else choose_stems(named, output)
    thresholds = None if output is None else verdict_thresholds(detector, threshold)
    report = None
    if html is not None:
        check_output(html, A_REPORT)
        report = _begin_report(detector, bank, threshold)
    failed, differences = 0, Differences()

    def fail(path: Path, error: PictureError) -> None:
        nonlocal failed
        failed += 1
        note(f"fapm: {error}")
        if report is not None:
            report.add_error(path, str(error))

    with progress_bar(beside_rows=True) as advance:
        judged = judge(detector, (item for item, _ in named), batch_size)
        every = zip(named, judged, stems, strict=True)
        for done, (_, one, stem) in enumerate(every, start=1):
            if isinstance(one, Unreadable):
                fail(one.path, one.error)
            else:
                differences.count(detector.bank.differences(one.prepared.like))
                try:
                    _show(detector, thresholds, one, stem, report, raw_map, mask, boxes)
                except PictureError as error:
                    fail(one.prepared.picture.path, error)
            advance("heatmap", done, len(named))
    note_differences(differences)
    if report is not None and html is not None:
        report.write(html)
        typer.echo(escaped(html))
    return EXIT_ERROR if failed else 0


def _check_options(
    output: Path | None,
    html: Path | None,
    raw_map: str | None,
    mask: bool,
) -> None:
    if output is None and html is None:
        raise OptionError("nowhere to draw to: give --output FOLDER, --html FILE, or both")
    if raw_map not in (None, "tiff", "npy"):
        raise OptionError(f"map {raw_map!r}: use tiff or npy")
    if output is None and (mask or raw_map):
        raise OptionError("--mask and --map write files of their own: add -o FOLDER")


def _begin_report(detector: Detector, bank: Path, threshold: float | None) -> Report:
    from fapm_cli.drawing.report import Report

    thresholds = detector.bank.thresholds
    return Report(
        detector.bank,
        bank,
        detector.locator.pixel_threshold,
        thresholds if threshold is None else thresholds.at(threshold),
        comparable=detector.scorer.query == detector.bank.config.query
        and detector.roi is detector.bank.roi,
        digest=hashlib.sha256(bank.read_bytes()).hexdigest(),
    )


def _show(
    detector: Detector,
    thresholds: Thresholds | None,
    one: Judged,
    stem: str | None,
    report: Report | None,
    raw_map: str | None,
    mask: bool,
    boxes: bool,
) -> None:
    """Draw one picture: into files, the report, or both."""
    from fapm_cli.detection.record import check_score
    from fapm_cli.pictures.picture import read_again

    picture = read_again(one.prepared.picture, detector.bank.config.preprocessing.bit_depth)
    located = detector.locator.locate(one.found, picture.size_px)
    check_score(picture.path, located["score"])
    if report is not None:
        from fapm_cli.drawing.report_pictures import heat_size

        small = detector.locator.picture_map(one.found.anomaly_maps[0], heat_size(picture.size_px))
        differs = detector.bank.differences(one.prepared.like) or ()
        report.add(picture.path, picture.image, located, small, differs)
    if stem is not None:
        size_px = picture.size_px
        strips = functools.partial(detector.locator.map_strips, one.found.anomaly_maps[0], size_px)
        _draw(detector, thresholds, picture.image, strips(), located, stem, boxes)
        del picture  # the map of a large picture is as large
        if raw_map is not None:
            write_map(strips(), size_px, stem, raw_map)
        if mask:
            write_mask(strips(), size_px, stem, detector.locator.pixel_threshold)
        typer.echo(escaped(f"{stem}_heatmap.png"))


def _draw(
    detector: Detector,
    thresholds: Thresholds | None,
    image: Image.Image,
    strips: Strips,
    located: dict[str, Any],
    stem: str,
    boxes: bool,
) -> None:
    """Draw over the picture, and write it."""
    from fapm_cli.drawing.heatmap import Caption, draw_located

    score = located["score"]
    caption = Caption(score)
    if thresholds is not None:
        caption = Caption(score, thresholds.score, thresholds.verdict(score))
    draw_located(image, strips, detector.locator.pixel_threshold, located, caption, boxes=boxes)
    save(Path(f"{stem}_heatmap.png"), encoded(image, "PNG", compress_level=3))
