"""The table of a benchmark."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
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
_ENGINE_COLUMNS: dict[str, Callable[[Record], str]] = {
    "engine": lambda r: f"{r['engine']} {r['versions'][r['engine']]}",
    **{title: _COLUMNS[title] for title in ("precision", "batch", "median", "p95", "FPS")},
    "speedup": _COLUMNS["speedup"],
    "start": lambda r: f"{r['start_up_ms']:.0f}",
    "memory": lambda r: f"{r['peak_memory_mb']:.0f}",
    "disk": lambda r: f"{r['bytes'] / 1e6:.1f}",
}
_LEFT = ("backbone", "precision", "engine")


def _stage_ms(stage: str, r: Record) -> str:
    return f"{r['stages_ms'][stage]:.2f}" if stage in r["stages_ms"] else "-"


def print_table(records: list[Record]) -> None:
    """Print a row per variant, batch size and precision."""
    first = records[0]
    _note_machine(first)
    note(f"bank: {first['bank']}; ms per batch; preprocess runs beside the engine")
    columns = dict(_COLUMNS)
    if any(r["paper_fps"] for r in records):
        note("paper: FPS of Table 2, on a Titan RTX")
    else:
        del columns["paper"]
    for stage in first["stages_ms"]:
        columns[stage] = functools.partial(_stage_ms, stage)
    columns["MB"] = lambda r: f"{r['peak_memory_mb']:.0f}"
    _print(columns, records)


def print_engines(records: list[Record]) -> None:
    """Print a row per engine, precision and batch size."""
    first = records[0]
    _note_machine(first)
    what = f"bank: {first['bank']}" if "bank" in first else f"exported file: {first['model']}"
    note(f"{what}; each engine alone in its process; ms per batch")
    note("start: ms from the process's start to its first verdict; memory, disk: MB")
    _print(_ENGINE_COLUMNS, records)


def _note_machine(record: Record) -> None:
    versions = ", ".join(f"{name} {value}" for name, value in record["versions"].items())
    note(f"{record['device']}, {record['threads']} threads; {versions}")


def _print(columns: Mapping[str, Callable[[Record], str]], records: list[Record]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in columns:
        table.add_column(title, justify="left" if title in _LEFT else "right")
    for r in records:
        table.add_row(*(show(r) for show in columns.values()))
    Console(width=180, highlight=False).print(table)
