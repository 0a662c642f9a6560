"""``fapm score``: judge pictures against a bank."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.choices import query_changes
from fapm_cli.commands.formats import choose_format
from fapm_cli.commands.judging import score_records
from fapm_cli.commands.notes import note_differences, note_drift
from fapm_cli.commands.opening import note_verdicts, open_detector
from fapm_cli.commands.options import (
    OUTPUT,
    PICTURES,
    VERDICTS,
    BankArgument,
    BatchSizeOption,
    CalibrationOption,
    CompileOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    LayerWeightsOption,
    LightOption,
    NeighborsOption,
    OnOption,
    PixelThresholdOption,
    PrecisionOption,
    ReachOption,
    RoiOption,
    SigmaOption,
    ThreadsOption,
    WeightsOption,
    format_option,
)
from fapm_cli.commands.path_arguments import WHERE, paths_argument
from fapm_cli.commands.paths import check_order, find_named, note_left_out
from fapm_cli.commands.sinks import QueueOption, QueueSizeOption, ToOption, publishing
from fapm_cli.commands.terminal import note
from fapm_cli.commands.writers import WRITERS, is_for_a_person, record_writer
from fapm_cli.errors import OptionError
from fapm_cli.stores.stored import AnyPath

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector
    from fapm_cli.detection.record import Record
    from fapm_cli.drift.drift import Drift
    from fapm_cli.sources.source import Source

_FORMATS = tuple(WRITERS)
EXIT_OK, EXIT_ANOMALOUS, EXIT_ERROR = 0, 1, 2


def score(
    bank: BankArgument,
    paths: Annotated[
        list[Any] | None,
        paths_argument(
            "[PATH...]",
            f"Pictures, videos and folders (searched for pictures), {WHERE}; - reads paths from "
            "stdin.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            help="Scores above it are anomalous (default: the bank's).",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    pixel_threshold: PixelThresholdOption = None,
    output_format: Annotated[str, format_option(_FORMATS)] = "text",
    as_json: JsonOption = False,
    exit_zero: Annotated[
        bool, typer.Option(help="Exit 0 unless fapm itself fails.", rich_help_panel=OUTPUT)
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Stop after so many records.", rich_help_panel=OUTPUT
        ),
    ] = None,
    to: ToOption = None,
    queue: QueueOption = None,
    queue_size: QueueSizeOption = 256,
    roi: RoiOption = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Judge its pictures, and each that comes.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    only_new: Annotated[
        bool,
        typer.Option(
            "--only-new",
            help="With --watch: leave out what is there already.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Judge a camera's newest frames; of GenICam: genicam:PRODUCER.cti#SERIAL.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    drift: Annotated[
        bool,
        typer.Option(
            "--drift",
            help="Say of each picture whether light, focus, position or process changed so far.",
            rich_help_panel=VERDICTS,
        ),
    ] = False,
    every: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Of videos, judge every Nth frame.",
            rich_help_panel=PICTURES,
        ),
    ] = 1,
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
    on: OnOption = None,
) -> int:
    """Judge pictures: verdict, score, place of the worst spot.

    Exit codes: 0 all ok (or for review), 1 at least one anomalous, 2 any error (wins),
    130 stopped by Ctrl-C or SIGTERM, after the records in hand.

    Example:  fapm score bank.st samples/test
    """
    check_order("score", bank, paths or [])
    kind = choose_format(output_format, _FORMATS, json=as_json)
    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration, light)
    if on is not None and (watch is not None or camera is not None or compiled):
        raise OptionError("--watch, --camera and --compile are of one machine: leave out --on")
    source = _open_source(paths or [], watch, only_new, camera, every)
    from fapm_cli.compute.cluster import connected, device_for
    from fapm_cli.compute.cores import use_threads

    use_threads(threads)
    detector = open_detector(
        bank,
        device_for(on, device),
        precision,
        weights=weights,
        roi=roi,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        compiled=compiled,
        engine=engine,
        **changes,
    )
    note_verdicts(detector, threshold)
    verdicts: set[str] = set()
    from fapm_cli.pictures.seen import Differences

    differences = Differences()
    follow = _follow(detector) if drift else None
    frames, begun = 0, time.perf_counter()

    def watched(publish: Callable[[Record], Record]) -> Iterator[Record]:
        nonlocal frames
        records = score_records(detector, source, batch_size, cluster)
        for record in islice(records, limit):
            verdicts.add("error" if "error" in record else record.get("verdict", "ok"))
            frames += "frame" in record
            differences.count(record.get("differs"))
            if follow is not None:
                state = follow.add(record)
                if "error" not in record:
                    record["drift"] = state
                    note_drift(follow)
            yield publish(record)

    try:
        with (
            connected(on, detector.engine.package) as cluster,
            publishing(to, queue, queue_size) as publish,
        ):
            record_writer(kind)(watched(publish))
    finally:
        note_differences(differences)
        if frames and not is_for_a_person(kind):  # whom the closing line tells
            note(f"{frames} frames, {frames / (time.perf_counter() - begun):.1f} FPS")
    if exit_zero:
        return EXIT_OK
    if "error" in verdicts:
        return EXIT_ERROR
    return EXIT_ANOMALOUS if "anomalous" in verdicts else EXIT_OK


def _follow(detector: Detector) -> Drift:
    from fapm_cli.api.bank import Bank

    return Bank(detector.learnt).drift()


def _open_source(
    paths: list[AnyPath], watch: Path | None, only_new: bool, camera: str | None, every: int
) -> Source:
    if (bool(paths), watch is not None, camera is not None).count(True) != 1:
        raise OptionError("name what to judge: either PATH..., or --watch FOLDER, or --camera N")
    if only_new and watch is None:
        raise OptionError("--only-new is for --watch: add it, or leave it out")
    if every > 1 and not paths:
        raise OptionError("--every is for videos named as PATH")
    from fapm_cli.sources.source import camera_source, files_source, watch_source

    if watch is not None:
        source = watch_source(watch, only_new=only_new)
        note_left_out(watch, source.left_out)
        return source
    if camera is not None:
        return camera_source(int(camera) if camera.isdecimal() else camera)
    return files_source([item for item, _ in find_named(paths)], every)
