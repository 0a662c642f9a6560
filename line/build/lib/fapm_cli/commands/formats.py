"""What stdout carries: text, JSON, JSON lines or CSV, asked for in one way by every command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record

FORMATS = ("text", "json", "jsonl", "csv")
"""Those of a command that names no others."""


def choose_format(wanted: str, formats: Sequence[str] = FORMATS, **short: bool) -> str:
    """Choose a format by ``--format`` and its short forms.

    Args:
        wanted: as ``--format`` says; ``text`` is what it says by itself.
        formats: that the command has.
        short: whether a switch like ``--json`` was given, by the format it stands for.

    Raises:
        OptionError: there is no such format, or two are asked for.
    """
    if wanted not in formats:
        raise OptionError(f"format {wanted!r}: use one of {', '.join(formats)}")
    said = {f"--{kind}": kind for kind, given in short.items() if given}
    if wanted != "text":
        said[f"--format {wanted}"] = wanted
    if len(set(said.values())) > 1:
        raise OptionError(f"{' and '.join(said)}: choose one")
    return next(iter(said.values()), wanted)


def summary_text(kind: str, summary: Record, text: str) -> str:
    """Write what a command has to say as one object: a line of JSON, a CSV of one row, or text."""
    if kind == "csv":
        flat = flatten(summary)
        return csv_text([flat], list(flat)).rstrip("\n")
    return text if kind == "text" else json.dumps(summary)


def echo_records(kind: str, records: list[Record], columns: Sequence[str] = ()) -> None:
    """Print records that are all there: an array, a line each, or a CSV with these columns."""
    if kind == "json":
        typer.echo(json.dumps(records, indent=1))
    elif kind == "jsonl":
        for record in records:
            typer.echo(json.dumps(record))
    else:
        typer.echo(csv_text(records, columns), nl=False)


def csv_text(records: Iterable[Record], columns: Sequence[str]) -> str:
    """Write records as CSV; what a record lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def flatten(value: Record, prefix: str = "") -> Record:
    """Bring nested objects to one level, ``outer.inner``; lists become JSON."""
    flat: Record = {}
    for key, one in value.items():
        if isinstance(one, dict):
            flat |= flatten(one, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(one) if isinstance(one, list) else one
    return flat
