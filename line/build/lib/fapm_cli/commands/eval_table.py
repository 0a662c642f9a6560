"""The table of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from fapm_cli.commands.formats import echo_records, flatten
from fapm_cli.commands.terminal import note
from fapm_cli.files import escaped

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record

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
# Of each column of the table: the figures in its cells, their decimals and their factor.
_Cell = tuple[tuple[str, ...], int, float]
_SHOWN: dict[str, _Cell] = {
    "image AUROC": (("image_auroc",), 2, 100),
    "pixel AUROC": (("pixel_auroc",), 2, 100),
    "AUPRO": (("aupro",), 2, 100),
    "image AP": (("image_ap",), 2, 100),
    "F1-max": (("f1_max",), 2, 100),
    "at score": (("f1_threshold",), 3, 1),
    "balanced acc": (("balanced_accuracy",), 1, 100),
    "best": (("balanced_accuracy_best",), 1, 100),
    "false alarms": (("false_alarm_rate",), 1, 100),
    "at most": (("false_alarms_at_most",), 1, 100),
    "FPS": (("images_per_second",), 1, 1),
    "keys": (("keys",), 0, 1),
    "bank MB": (("bank_mb",), 1, 1),
    "build s": (("build_seconds",), 1, 1),
}
# Figures of one kind of defect, in sets that have such kinds.
_APART: dict[str, _Cell] = {
    f"{kind} {name}": ((f"{kind}_{figure}",), 2, 100)
    for kind in ("logical", "structural")
    for figure, name in (
        ("image_auroc", "AUROC"),
        ("pixel_auroc", "pixel"),
        ("aupro", "AUPRO"),
    )
}


def _auroc(prefix: str = "", digits: int = 1) -> _Cell:
    """Image / pixel AUROC, as the paper writes it."""
    return (f"{prefix}image_auroc", f"{prefix}pixel_auroc"), digits, 100


_HERE = {"here": _auroc(digits=2), "FPS": _SHOWN["FPS"]}  # beside what the paper says


def beside_paper(record: Record) -> Record:
    """Add what the paper says of a record's category and variant."""
    from fapm_cli.evaluation.paper import paper_methods, paper_variant

    quoted = {"paper": paper_methods(record["category"])}
    return {**record, **quoted, "paper_variant": paper_variant(record["variant"])}


def echo_figures(kind: str, records: list[Record]) -> None:
    """Print the figures in a format."""
    if kind in ("json", "jsonl"):
        echo_records(kind, records)
        return
    flat = [flatten(record) for record in records]
    apart = {
        title: cell for title, cell in _APART.items() if any(cell[0][0] in one for one in flat)
    }
    if kind == "csv":
        more = [key for keys, *_ in apart.values() for key in keys]
        more += sorted({key for one in flat for key in one if "." in key})
        echo_records(kind, flat, (*_COLUMNS, *more, "error", "num_differing"))
        return
    quoted = _quoted_cells(records)
    cells = {**_HERE, **quoted} if quoted else {**_SHOWN, **apart}
    good = [record for record in flat if "error" not in record]
    rows = [["category", "variant", *cells]]
    rows += [_row(record, cells) for record in [*good, *_means(good, cells)]]
    table = _as_markdown if kind == "markdown" else _as_text
    typer.echo(table(*rows), nl=False)


def _quoted_cells(records: list[Record]) -> dict[str, _Cell]:
    """The columns of what the paper says, where that was asked for."""
    methods = next((record["paper"] for record in records if "paper" in record), None)
    if methods is None:
        return {}
    note("paper: image / pixel AUROC with Wide-ResNet-50; a variant's are means over MVTec AD")
    fps = ", ".join(f"{name} {quoted['images_per_second']}" for name, quoted in methods.items())
    note(f"paper: frames per second on a Titan RTX: {fps}")
    keys = {name: f"paper.{name}" for name in methods} | {"Table 2": "paper_variant"}
    return {
        **{title: _auroc(f"{key}.") for title, key in keys.items()},
        "its FPS": (("paper_variant.images_per_second",), 1, 1),
    }


def _means(good: list[Record], cells: dict[str, _Cell]) -> Iterator[Record]:
    """The mean over the categories of each variant that has several; no threshold has one."""
    for variant in dict.fromkeys(record["variant"] for record in good):
        same = [record for record in good if record["variant"] == variant]
        figures = {key for keys, *_ in cells.values() for key in keys} - {"f1_threshold"}
        if len(same) > 1:
            means = {key: _mean([one.get(key) for one in same]) for key in figures}
            yield {"category": "mean", "variant": variant, **means}


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None


def _row(record: Record, cells: dict[str, _Cell]) -> list[str]:
    return [escaped(record["category"]), record["variant"] or "-"] + [
        _cell([record.get(key) for key in keys], digits, factor)
        for keys, digits, factor in cells.values()
    ]


def _cell(values: list[float | None], digits: int, factor: float) -> str:
    """Figures with a slash between; of several, none is a blank."""
    if len(values) > 1 and not any(value is not None for value in values):
        return ""
    return " / ".join("-" if v is None else f"{v * factor:.{digits}f}" for v in values)


def _as_markdown(*rows: list[str]) -> str:
    header, *rest = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *rest]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _as_text(*rows: list[str]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in rows
    )
