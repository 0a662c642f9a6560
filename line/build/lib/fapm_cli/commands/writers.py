"""How ``fapm score`` writes its records: text, JSON, JSON lines, CSV; each record at once.

Text has two looks: fields between tabs for programs, and, on a terminal, columns for a person.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import typer

from fapm_cli.commands.colour import coloured, on_terminal
from fapm_cli.commands.terminal import note
from fapm_cli.files import escaped

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record


class Writer(Protocol):
    """A sink of records: takes each as soon as its picture is judged.

    It goes through all of them, and passes each on before it asks for the next: to ask is what
    judges pictures, a watched folder never ends, and the exit code is of the records asked for.
    """

    def __call__(self, records: Iterator[Record], /) -> None:
        """Write all records."""


_UNLIKE = "unlike the training pictures"
_WIDE = {"area": "odd over an area", "whole": "odd all over"}  # weak in any one spot
_COLOURS = {"anomalous": "red", "review": "yellow", "ok": "green", "error": "magenta"}


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
        parts += _remarks(record)
        typer.echo("\t".join(parts))


def _columns(records: Iterator[Record]) -> None:
    """Write text for a person: verdicts in colour, and what they add up to."""
    begun, counts = time.perf_counter(), Counter[str]()
    head = f"{'score':>9} {'threshold':>9}  {'verdict':<9}  {'worst spot':<10}  picture"
    typer.echo(coloured(head, dim=True))
    try:
        for record in records:
            counts["error" if "error" in record else record.get("verdict", "judged")] += 1
            typer.echo(_row(record))
    finally:
        typer.echo(_closing(counts, time.perf_counter() - begun))


def _row(record: Record) -> str:
    picture = escaped(record["path"])
    if "error" in record:
        note(f"fapm: {record['error']}")
        return f"{'':>19}  {_verdict('error')}  {'':<10}  {picture}"
    if "frame" in record:
        picture += f"  frame {record['frame']} at {record['time_s']:.3f} s"
    picture = "  ".join([picture, *_remarks(record)])
    threshold = f"{record['threshold']:9.4f}" if "threshold" in record else f"{'-':>9}"
    spot = f"{record['peak']['x']},{record['peak']['y']}"
    judged = f"{record['score']:9.4f} {threshold}  {_verdict(record.get('verdict', '-'))}"
    return f"{judged}  {spot:<10}  {picture}"


def _remarks(record: Record) -> list[str]:
    """What is to be said of a picture beside its verdict."""
    if record.get("unlike"):
        return [_UNLIKE]
    return [_WIDE[record["extent"]]] if record["extent"] in _WIDE else []


def _verdict(word: str) -> str:
    return coloured(f"{word:<9}", fg=_COLOURS.get(word), bold=word == "anomalous")


def _closing(counts: Counter[str], seconds: float) -> str:
    kinds = [kind for kind in (*_COLOURS, "judged") if counts[kind]]
    found = ", ".join(coloured(f"{counts[kind]} {kind}", fg=_COLOURS.get(kind)) for kind in kinds)
    total = counts.total()
    pictures = f"{total} picture{'s' * (total != 1)}"
    return f"{found or 'nothing'}; {pictures} in {seconds:.1f} s, {total / seconds:.1f} a second"


def _csv(records: Iterator[Record]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = ["path", "score", "threshold", "verdict", "x", "y", "nearest", "regions", "error"]
    columns += ["frame", "time_s", "unlike", "differs", "extent"]
    columns += ["shift_x", "shift_y", "turn"]
    writer.writerow(columns)
    for record in records:
        flat = {
            **record,
            **record.get("peak", {}),
            "nearest": record.get("nearest", {}).get("name"),
            "regions": None if "error" in record else len(record["regions"]),
            "differs": " ".join(record.get("differs", ())),
            **{f"shift_{axis}": px for axis, px in record.get("shift", {}).items()},
        }
        writer.writerow([flat.get(column) for column in columns])
        sys.stdout.flush()


WRITERS: dict[str, Writer] = {"text": _text, "json": _json, "jsonl": _jsonl, "csv": _csv}
"""The formats of ``fapm score``, and of it alone: a new one is a line here."""


def is_for_a_person(kind: str) -> bool:
    """Say whether records in a format are shown to a person as they come."""
    return kind == "text" and on_terminal()


def record_writer(kind: str) -> Writer:
    """Choose how to write records in a format, here and now."""
    return _columns if is_for_a_person(kind) else WRITERS[kind]
