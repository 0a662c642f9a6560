"""``fapm score``: judge pictures against a bank."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.common import (
    BankArgument,
    BatchSizeOption,
    CalibrationOption,
    DeviceOption,
    LayerWeightsOption,
    NeighborsOption,
    PathsArgument,
    PrecisionOption,
    ReachOption,
    SigmaOption,
    WeightsOption,
    check_threshold,
    find_named,
    note,
    open_detector,
    progress_bar,
    query_changes,
)
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.files import one_line

if TYPE_CHECKING:
    from fapm_cli.engine import Detector
    from fapm_cli.threshold import Thresholds

Record = dict[str, Any]

EXIT_OK, EXIT_ANOMALOUS, EXIT_ERROR = 0, 1, 2


def score(
    bank: BankArgument,
    paths: PathsArgument,
    threshold: Annotated[
        float | None, typer.Option(help="Scores above it are anomalous (default: the bank's).")
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", metavar="text|json|jsonl|csv", help="What stdout carries.")
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    exit_zero: Annotated[bool, typer.Option(help="Exit 0 unless fapm itself fails.")] = False,
    weights: WeightsOption = None,
    neighbors: NeighborsOption = None,
    layer_weights: LayerWeightsOption = None,
    sigma: SigmaOption = None,
    reach: ReachOption = None,
    calibration: CalibrationOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = 8,
) -> int:
    """Judge pictures: verdict, score, place of the worst spot, nearest good picture.

    Exit codes: 0 all ok (or for review), 1 at least one anomalous, 2 any error (wins).

    Example:  fapm score bank.st samples/test
    """
    check_threshold(threshold)
    kind = "json" if as_json else output_format
    if kind not in _WRITERS:
        raise OptionError(f"format {kind!r}: use one of {', '.join(_WRITERS)}")
    changes = query_changes(neighbors, layer_weights, sigma, reach, calibration)
    detector = open_detector(bank, device, precision, weights, changes)
    thresholds = _thresholds(detector, threshold)
    verdicts: set[str] = set()

    def watched() -> Iterator[Record]:
        for record in score_records(detector, paths, batch_size, thresholds):
            verdicts.add("error" if "error" in record else record.get("verdict", "ok"))
            yield record

    _WRITERS[kind](watched())
    if exit_zero:
        return EXIT_OK
    if "error" in verdicts:
        return EXIT_ERROR
    return EXIT_ANOMALOUS if "anomalous" in verdicts else EXIT_OK


def _thresholds(detector: Detector, threshold: float | None) -> Thresholds | None:
    """The bank's thresholds, or with another in their place; None, and a note, for no verdicts."""
    if threshold is not None:
        return detector.bank.thresholds.at(threshold)
    if detector.thresholds is None:
        note("note: the bank's threshold is not for scores asked this way: no verdicts")
    return detector.thresholds


def score_records(
    detector: Detector, paths: Iterable[Path], batch_size: int, thresholds: Thresholds | None
) -> Iterator[Record]:
    """Score pictures, one record each in order; an unreadable one is a record with its error."""
    from fapm_cli.engine import Unreadable, judge

    named, failures = find_named(paths)
    for path, error in failures:
        yield _error_record(path, error)
    with progress_bar() as advance:
        files = (file for file, _ in named)
        for done, one in enumerate(judge(detector, files, batch_size), start=1):
            if isinstance(one, Unreadable):
                yield _error_record(one.path, one.error)
            else:
                picture = one.prepared.picture
                located = detector.locate(one.found, picture.size_px)
                yield _record(picture.path, located, thresholds)
            advance("score", done, len(named))


def _record(path: Path, located: Record, thresholds: Thresholds | None) -> Record:
    if not math.isfinite(located["score"]):
        return _error_record(path, PictureError(f"picture {path} has no finite score: a bad bank?"))
    record = {"path": str(path), **located}
    if thresholds is not None:
        record |= {"threshold": thresholds.score, "verdict": thresholds.verdict(located["score"])}
        if thresholds.review is not None:
            record["review_threshold"] = thresholds.review
    return record


def _error_record(path: Path, error: PictureError) -> Record:
    return {"path": str(path), "error": str(error)}


# --- Writing -----------------------------------------------------------------------------------


def _write_json(records: Iterator[Record]) -> None:
    typer.echo("[", nl=False)
    for i, record in enumerate(records):
        typer.echo(("," if i else "") + "\n" + json.dumps(record), nl=False)
    typer.echo("\n]")


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
        if "verdict" in record:
            parts.append(record["verdict"])
        parts.append(f"at {record['peak']['x']},{record['peak']['y']}")
        parts += [f"{name} {value:.4f}" for name, value in record["layer_scores"].items()]
        parts.append(f"nearest {record['nearest']['name']}")
        typer.echo("\t".join(parts))


def _write_csv(records: Iterator[Record]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = ("path", "score", "threshold", "verdict", "x", "y", "nearest", "error")
    writer.writerow(columns)
    for record in records:
        flat = {
            **record,
            **record.get("peak", {}),
            "nearest": record.get("nearest", {}).get("name"),
        }
        writer.writerow([flat.get(column) for column in columns])
        sys.stdout.flush()


_WRITERS = {
    "text": _write_text,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
