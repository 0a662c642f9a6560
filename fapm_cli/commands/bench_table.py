"""The table of a benchmark."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from fapm_cli.commands.terminal import note

if TYPE_CHECKING:
    from fapm_cli.detection.record import Record

_COLUMNS: dict[str, Callable[[Record], str]] = {
    "variant": lambda r: r["variant"] or "-",
    "backbone": lambda r: r["backbone"],
    "precision": lambda r: r["precision"],
    "batch": lambda r: str(r["batch_size"]),
    "median": lambda r: f"{r['median_ms']:.2f}",
    "p95": lambda r: f"{r['p95_ms']:.2f}",
    "p99": lambda r: f"{r['p99_ms']:.2f}",
    "FPS": lambda r: f"{r['fps']:.1f}",
    "paper": lambda r: str(r["paper_fps"] or "-"),
    "speedup": lambda r: f"{r['speedup']:.2f}",
    "floor": lambda r: f"{r['backbone_ms']:.2f}",
    "ratio": lambda r: f"{r['ratio_to_backbone']:.2f}",
}


def _stage_ms(stage: str, r: Record) -> str:
    return f"{r['stages_ms'][stage]:.2f}" if stage in r["stages_ms"] else "-"


def print_table(records: list[Record]) -> None:
    """Print a row per variant, batch size and precision."""
    from rich.console import Console
    from rich.table import Table

    first = records[0]
    versions = ", ".join(f"{name} {value}" for name, value in first["versions"].items())
    note(f"{first['device']}, {first['threads']} threads; {versions}")
    note(f"bank: {first['bank']}; ms per batch; preprocess runs beside the engine")
    columns = dict(_COLUMNS)
    if any(r["paper_fps"] for r in records):
        note("paper: FPS of Table 2, on a Titan RTX")
    else:
        del columns["paper"]
    for stage in first["stages_ms"]:
        columns[stage] = functools.partial(_stage_ms, stage)
    columns["MB"] = lambda r: f"{r['peak_memory_mb']:.0f}"
    table = Table(box=None, pad_edge=False)
    for title in columns:
        left = title in ("backbone", "precision")
        table.add_column(title, justify="left" if left else "right")
    for r in records:
        table.add_row(*(show(r) for show in columns.values()))
    Console(width=180, highlight=False).print(table)
