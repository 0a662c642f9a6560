"""The table of an evaluation."""

from __future__ import annotations

import typer

from fapm_cli.commands.formats import Record, echo_records
from fapm_cli.files import escaped

_RATES = ("image_auroc", "pixel_auroc", "aupro", "image_ap", "f1_max")
_VERDICTS = (
    "balanced_accuracy",
    "balanced_accuracy_best",
    "false_alarm_rate",
    "false_alarms_at_most",
)
_COLUMNS = (
    "category",
    "variant",
    "backbone",
    *_RATES,
    "f1_threshold",
    *_VERDICTS,
    "threshold",
    "images_per_second",
    "num_train",
    "num_test",
    "num_defective",
    "num_masked",
    "num_failures",
    "inspected_share",
    "keys",
    "bank_mb",
    "build_seconds",
)
_MEANT = ("images_per_second", "keys", "bank_mb", "build_seconds")
# Figures of one kind of defect, in sets that have such kinds.
_APART = {
    f"{kind}_{figure}": f"{kind} {name}"
    for kind in ("logical", "structural")
    for figure, name in (
        ("image_auroc", "AUROC"),
        ("pixel_auroc", "pixel"),
        ("aupro", "AUPRO"),
    )
}


def echo_figures(kind: str, records: list[Record]) -> None:
    """Print the figures in a format."""
    if kind not in ("text", "markdown"):
        echo_records(kind, records, (*_COLUMNS, *_apart_in(records), "error", "num_differing"))
        return
    header, rows = _table(records)
    table = _as_markdown if kind == "markdown" else _as_text
    typer.echo(table(header, rows), nl=False)


def _table(records: list[Record]) -> tuple[list[str], list[list[str]]]:
    """A row per category and variant, then each variant's mean over the categories."""
    header = ["category", "variant", "image AUROC", "pixel AUROC", "AUPRO", "image AP", "F1-max"]
    header += [
        "at score",
        "balanced acc",
        "best",
        "false alarms",
        "at most",
        "FPS",
        "keys",
        "bank MB",
        "build s",
    ]
    apart = _apart_in(records)
    header += [_APART[column] for column in apart]
    good = [record for record in records if "error" not in record]
    rows = [_row(record, apart) for record in good]
    for variant in dict.fromkeys(record["variant"] for record in good):
        same = [record for record in good if record["variant"] == variant]
        if len(same) > 1:
            mean = {
                key: _mean([one.get(key) for one in same])
                for key in (*_RATES, *_VERDICTS, *_MEANT, *apart)
            }
            rows.append(_row({"category": "mean", "variant": variant, **mean}, apart))
    return header, rows


def _apart_in(records: list[Record]) -> list[str]:
    """The columns of single kinds of defect that a record has."""
    return [column for column in _APART if any(column in record for record in records)]


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None


def _row(record: Record, apart: list[str]) -> list[str]:
    def number(key: str, digits: int, factor: float = 1) -> str:
        value = record.get(key)
        return "-" if value is None else f"{value * factor:.{digits}f}"

    return [
        escaped(record["category"]),
        record["variant"] or "-",
        *(number(key, 2, 100) for key in _RATES),
        number("f1_threshold", 3),
        *(number(key, 1, 100) for key in _VERDICTS),
        number("images_per_second", 1),
        number("keys", 0),
        number("bank_mb", 1),
        number("build_seconds", 1),
        *(number(key, 2, 100) for key in apart),
    ]


def _as_markdown(header: list[str], rows: list[list[str]]) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _as_text(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )
