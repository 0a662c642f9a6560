"""``fapm heatmap``: show where a picture is unlike the good ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fapm_cli.commands.choices import query_changes
from fapm_cli.commands.heatmap_drawing import Drawing
from fapm_cli.commands.heatmap_files import choose_stems
from fapm_cli.commands.notes import note_differences
from fapm_cli.commands.opening import note_verdicts, open_detector
from fapm_cli.commands.options import (
    OUTPUT,
    VERDICTS,
    BankArgument,
    BatchSizeOption,
    CalibrationOption,
    CompileOption,
    DeviceOption,
    EngineOption,
    LayerWeightsOption,
    LightOption,
    NeighborsOption,
    PixelThresholdOption,
    PrecisionOption,
    ReachOption,
    RoiOption,
    SigmaOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.path_arguments import PathsArgument
from fapm_cli.commands.paths import check_order, check_output, find_named
from fapm_cli.commands.terminal import progress_bar
from fapm_cli.errors import OptionError
from fapm_cli.finding.kinds import A_REPORT

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
    light: LightOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    precision: PrecisionOption = "auto",
    engine: EngineOption = "auto",
    compiled: CompileOption = False,
    batch_size: BatchSizeOption = 8,
) -> int:
    """Draw where pictures are unlike the good ones.

    Over the pictures, at their own size. Colour starts where good parts end and means the same in
    every picture of a bank. Prints the path of each heatmap, and of the report.

    Example:  fapm heatmap bank.st samples/test -o out/ --html report.html
    """
    check_order("heatmap", bank, paths)
    _check_options(output, html, raw_map, mask)
    from fapm_cli.compute.cores import use_threads

    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration, light)
    use_threads(threads)
    detector = open_detector(
        bank,
        device,
        precision,
        weights=weights,
        roi=roi,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        compiled=compiled,
        engine=engine,
        **changes,
    )
    named = find_named(paths)
    drawing = Drawing(detector, raw_map, mask, boxes)
    stems = [None] * len(named) if output is None else choose_stems(named, output)
    if output is not None:
        note_verdicts(detector, threshold)
    if html is not None:
        check_output(html, A_REPORT)
        drawing.begin_report(bank, threshold)
    with progress_bar(beside_rows=True) as advance:
        results = detector.stream((item for item, _ in named), batch_size)
        for done, (result, stem) in enumerate(zip(results, stems, strict=True), start=1):
            drawing.add(result, stem)
            advance("heatmap", done, len(named))
    note_differences(drawing.differences)
    if html is not None:
        drawing.write_report(html)
    return EXIT_ERROR if drawing.failed else 0


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
