"""How ``fapm score`` writes its records: text, JSON, JSON lines, CSV; each record at once."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator

import typer

from fapm_cli.commands.common import note
from fapm_cli.commands.formats import Record
from fapm_cli.files import escaped


def _json(records: Iterator[Record]) -> None:
    typer.echo("[", nl=False)
    try:
        for i, record in enumerate(records):
            typer.echo(("," if i else "") + "\n" + json.dumps(record), nl=False)
    finally:
        typer.echo("\n]")  # also where it was stopped: an array to the end


def _jsonl(records: Iterator[Record]) -> None:
    for record in records:
        typer.echo(json.dumps(record))


def _text(records: Iterator[Record]) -> None:
    for record in records:
        if "error" in record:
            note(f"fapm: {record['error']}")
            typer.echo(f"{'error':>9}\t{escaped(record['path'])}")
            continue
        parts = [f"{record['score']:9.4f}", escaped(record["path"])]
        if "frame" in record:
            parts.append(f"frame {record['frame']} at {record['time_s']:.3f} s")
        if "verdict" in record:
            parts.append(record["verdict"])
        parts.append(f"at {record['peak']['x']},{record['peak']['y']}")
        parts += [f"{name} {value:.4f}" for name, value in record["layer_scores"].items()]
        parts.append(f"nearest {escaped(record['nearest']['name'])}")
        number = len(record["regions"])
        parts.append(f"{number} region{'s' * (number != 1)}")
        typer.echo("\t".join(parts))


def _csv(records: Iterator[Record]) -> None:
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


WRITERS = {
    "text": _text,
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
}
