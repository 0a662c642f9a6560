"""``fapm score``: judge pictures against a bank."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.common import (
    BankArgument,
    BatchSizeOption,
    CalibrationOption,
    CompileOption,
    DeviceOption,
    LayerWeightsOption,
    NeighborsOption,
    PixelThresholdOption,
    PrecisionOption,
    ReachOption,
    RoiOption,
    SigmaOption,
    WeightsOption,
    check_score,
    check_threshold,
    find_named,
    gentle_stop,
    note,
    open_detector,
    progress_bar,
    query_changes,
)
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.files import one_line

if TYPE_CHECKING:
    from fapm_cli.engine import Detector, Source
    from fapm_cli.images import Picture

Record = dict[str, Any]

EXIT_NOMINAL, EXIT_ANOMALOUS, EXIT_ERROR = 0, 1, 2


def score(
    bank: BankArgument,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            help="Pictures, videos and folders (searched for pictures); - reads paths from stdin.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Scores above it are anomalous; gives verdicts.")
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", metavar="text|json|jsonl|csv", help="What stdout carries.")
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    roi: RoiOption = None,
    pixel_threshold: PixelThresholdOption = None,
    exit_zero: Annotated[bool, typer.Option(help="Exit 0 unless fapm itself fails.")] = False,
    watch: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Judge its pictures, and each that comes."),
    ] = None,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="With --watch: leave out what is there already.")
    ] = False,
    camera: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Judge a camera's newest frames."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of videos, judge every Nth frame.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many records.")] = None,
    weights: WeightsOption = None,
    neighbors: NeighborsOption = None,
    layer_weights: LayerWeightsOption = None,
    sigma: SigmaOption = None,
    reach: ReachOption = None,
    calibration: CalibrationOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    compiled: CompileOption = False,
    batch_size: BatchSizeOption = 8,
) -> int:
    """Judge pictures: score, place of the worst spot, nearest good picture, regions.

    Exit codes: 0 all nominal (or no --threshold), 1 at least one anomalous, 2 any error (wins),
    130 stopped by Ctrl-C or SIGTERM, after the records in hand.

    Example:  fapm score bank.st samples/test --threshold 1.1
    """
    check_threshold(threshold)
    kind = "json" if as_json else output_format
    if kind not in _WRITERS:
        raise OptionError(f"format {kind!r}: use one of {', '.join(_WRITERS)}")
    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration)
    source = _open_source(paths or [], watch, only_new, camera, every)
    detector = open_detector(
        bank, device, precision, weights, changes, roi, pixel_threshold, compiled
    )
    verdicts: set[str] = set()
    frames, begun = 0, time.perf_counter()

    def watched() -> Iterator[Record]:
        nonlocal frames
        for record in islice(score_records(detector, source, batch_size, threshold), limit):
            verdicts.add("error" if "error" in record else record.get("verdict", "nominal"))
            frames += "frame" in record
            yield record

    try:
        _WRITERS[kind](watched())
    finally:
        if frames:
            note(f"{frames} frames, {frames / (time.perf_counter() - begun):.1f} FPS")
    if exit_zero:
        return EXIT_NOMINAL
    if "error" in verdicts:
        return EXIT_ERROR
    return EXIT_ANOMALOUS if "anomalous" in verdicts else EXIT_NOMINAL


def _open_source(
    paths: list[Path], watch: Path | None, only_new: bool, camera: int | None, every: int
) -> Source:
    if (bool(paths), watch is not None, camera is not None).count(True) != 1:
        raise OptionError("name what to judge: either PATH..., or --watch FOLDER, or --camera N")
    if only_new and watch is None:
        raise OptionError("--only-new is for --watch: add it, or leave it out")
    if every > 1 and not paths:
        raise OptionError("--every is for videos named as PATH")
    from fapm_cli.engine import Unreadable, camera_source, files_source, watch_source

    if watch is not None:
        return watch_source(watch, only_new=only_new)
    if camera is not None:
        return camera_source(camera)
    named, failures = find_named(paths)
    return files_source([file for file, _ in named], [Unreadable(*one) for one in failures], every)


def score_records(
    detector: Detector, source: Source, batch_size: int, threshold: float | None
) -> Iterator[Record]:
    """Score pictures, one record each in order; an unreadable one is a record with its error.

    Raises:
        KeyboardInterrupt: stopped by a signal, after the records in hand.
    """
    from fapm_cli.engine import Unreadable, judge

    with progress_bar(beside_rows=True) as advance, gentle_stop() as stopped:
        items = takewhile(lambda _: not stopped(), source.items)
        judged = judge(detector, items, 1 if source.live else batch_size)
        for done, one in enumerate(filter(source.wants, judged), start=1):
            if isinstance(one, Unreadable):
                yield _error_record(one.path, one.error)
            else:
                picture = one.prepared.picture
                located = detector.locate(one.found, picture.size_px)
                yield _record(picture, located, threshold)
            advance("score", done, source.total)
        if stopped():
            raise KeyboardInterrupt


def _record(picture: Picture, located: Record, threshold: float | None) -> Record:
    path = picture.path
    try:
        check_score(path, located["score"])
    except PictureError as error:
        return _error_record(path, error)
    record = {"path": str(path), **located}
    if picture.moment is not None:
        record |= {"frame": picture.moment.frame, "time_s": picture.moment.time_s}
    if threshold is not None:
        anomalous = located["score"] > threshold
        record |= {"threshold": threshold, "verdict": "anomalous" if anomalous else "nominal"}
    return record


def _error_record(path: Path, error: PictureError) -> Record:
    return {"path": str(path), "error": str(error)}


# --- Writing -----------------------------------------------------------------------------------


def _write_json(records: Iterator[Record]) -> None:
    typer.echo("[", nl=False)
    try:
        for i, record in enumerate(records):
            typer.echo(("," if i else "") + "\n" + json.dumps(record), nl=False)
    finally:
        typer.echo("\n]")  # also where it was stopped: an array to the end


def _write_jsonl(records: Iterator[Record]) -> None:
    for record in records:
        typer.echo(json.dumps(record))


def _write_text(records: Iterator[Record]) -> None:
    for record in records:
        if "error" in record:
            note(f"fapm: {record['error']}")
            typer.echo(f"{'error':>9}\t{one_line(record['path'])}")
            continue
        parts = [f"{record['score']:9.4f}", one_line(record["path"])]
        if "frame" in record:
            parts.append(f"frame {record['frame']} at {record['time_s']:.3f} s")
        if "verdict" in record:
            parts.append(record["verdict"])
        parts.append(f"at {record['peak']['x']},{record['peak']['y']}")
        parts += [f"{name} {value:.4f}" for name, value in record["layer_scores"].items()]
        parts.append(f"nearest {record['nearest']['name']}")
        number = len(record["regions"])
        parts.append(f"{number} region{'s' * (number != 1)}")
        typer.echo("\t".join(parts))


def _write_csv(records: Iterator[Record]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = ["path", "score", "threshold", "verdict", "x", "y", "nearest", "regions", "error"]
    columns += ["frame", "time_s"]
    writer.writerow(columns)
    for record in records:
        flat = {
            **record,
            **record.get("peak", {}),
            "nearest": record.get("nearest", {}).get("name"),
            "regions": None if "error" in record else len(record["regions"]),
        }
        writer.writerow([flat.get(column) for column in columns])
        sys.stdout.flush()


_WRITERS = {
    "text": _write_text,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
