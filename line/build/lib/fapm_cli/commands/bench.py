"""``fapm bench``: how fast a bank is on this machine."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.bench_engines import measure_bank, measure_file, ways_of
from fapm_cli.commands.bench_table import print_engines, print_table
from fapm_cli.commands.formats import choose_format, echo_records, flatten
from fapm_cli.commands.opening import open_detector
from fapm_cli.commands.options import (
    LEARNING,
    MACHINE,
    DeviceOption,
    FormatOption,
    JsonOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.terminal import note, progress_bar
from fapm_cli.errors import OptionError
from fapm_cli.finding.kinds import A_MODEL, kind_of

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector
    from fapm_cli.compute.plan import Plan
    from fapm_cli.detection.record import Record


def bench(
    bank: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BANK]", help="Or an exported file. None: a synthetic bank, see below."
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="A,E",
            help="Variants of the synthetic bank, side by side (default: E).",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pictures behind the synthetic bank (default: 209).",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Of the synthetic bank (default: the paper's).",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="fapm,openvino|all",
            help="Engines to set side by side, each alone in its process: fapm, onnxruntime, "
            "openvino; all: what is installed (default: fapm; of an exported file: all).",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="1,8",
            help="Batch sizes to measure (default: 1; of an exported file: its own).",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Rounds that count.", rich_help_panel=MACHINE),
    ] = 30,
    warm_up: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Rounds that don't.", rich_help_panel=MACHINE),
    ] = 5,
    weights: WeightsOption = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="fp32,bf16",
            help="Precisions to measure side by side.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile", help="Measure each precision compiled, too.", rich_help_panel=MACHINE
        ),
    ] = False,
    against_paper: Annotated[
        bool,
        typer.Option(
            help="Variants A to E beside the FPS that the paper states.", rich_help_panel=LEARNING
        ),
    ] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Measure latency and frames per second, stage by stage.

    The backbone alone stands beside the engine. Without BANK it measures the paper's network
    (Wide-ResNet-50, random weights) on a synthetic bank of random keys, as many as --images
    pictures give when every patch is widened. Variants, precisions and the backbone alone take
    turns, round by round.

    With --engine, or for a file of fapm export, each engine is timed on the CPU in processes of its
    own: how long from their start to the first verdict, how fast then, and the memory it takes.

    Example:  fapm bench bank.st --engine all --runs 9
    """
    kind = choose_format(output_format, json=as_json)
    from fapm_cli.api.speed import FAPM, measure
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.evaluation.paper import paper_variant

    if bank is not None and (variants or images or backbone or against_paper):
        raise OptionError(
            "--variants, --images, --backbone and --against-paper are for the synthetic bank"
        )
    if bank is None and weights is not None:
        raise OptionError("--weights is for a BANK; the synthetic one has random weights")
    use_threads(threads)
    sizes = None if batch_sizes is None else _parse_sizes(batch_sizes)
    exported = bank is not None and kind_of(bank) == A_MODEL
    if exported and weights is not None:
        raise OptionError("--weights is for a BANK; an exported file has its own")
    if bank is not None and (exported or engine not in (None, FAPM)):
        if device not in ("auto", "cpu"):
            raise OptionError(f"device {device!r}: engines are compared on the CPU; leave it out")
        ways = ways_of(engine or "all", precision, compiled, exported=exported)
        if exported:
            records = measure_file(bank, ways, sizes, runs=runs, warm_up=warm_up)
        else:
            records = measure_bank(bank, ways, sizes or [1], weights, runs=runs, warm_up=warm_up)
        _show(kind, records, print_engines)
        return
    if engine not in (None, FAPM):
        raise OptionError(f"engine {engine!r}: give a BANK; the synthetic one is for fapm alone")
    images = 209 if images is None else images
    variants = variants or ("A,B,C,D,E" if against_paper else "E")
    detectors: dict[str, Detector] = {}
    for name, plan in _plans(device, precision, compiled):
        if bank is not None:
            opened = open_detector(
                bank, device, name, weights=weights, compiled=plan.compiled, engine="torch"
            )
            detectors[opened.precision] = opened
        else:
            detectors |= _synthetic(variants, backbone, images, plan)
    records = []
    with progress_bar() as advance:
        for size in sizes or [1]:
            on_round = functools.partial(advance, f"batch {size}")
            records += measure(detectors, size, runs=runs, warm_up=warm_up, on_round=on_round)
    for record in records:
        record["bank"] = str(bank) if bank is not None else f"synthetic, {images} pictures"
        record["speedup"] = record["fps"] / records[0]["fps"]  # per picture, whatever the batch
        quoted = paper_variant(record["variant"] if against_paper else None)
        record["paper_fps"] = quoted["images_per_second"]
    _show(kind, records, print_table)


def _show(kind: str, records: list[Record], print_text: Callable[[list[Record]], None]) -> None:
    """Print records in a format."""
    if kind == "text":
        print_text(records)
    elif kind == "csv":
        flat = [flatten(record) for record in records]
        echo_records(kind, flat, list(dict.fromkeys(name for one in flat for name in one)))
    else:
        echo_records(kind, records)


def _parse_sizes(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise OptionError(f"batch sizes {text!r}: write whole numbers above 0, like 1,8")
    return [int(part) for part in parts]


def _plans(device: str, precisions: str, compiled: bool) -> list[tuple[str, Plan]]:
    """The plans that the precisions come to, each once, with what it was asked for by."""
    from fapm_cli.compute.plan import make_plan

    plans: list[tuple[str, Plan]] = []
    for name, compiling in itertools.product(precisions.split(","), (False, True)[: 1 + compiled]):
        plan = make_plan(device, name, compiled=compiling)
        if plan in [one for _, one in plans]:
            note(f"note: {name} is {plan.precision} here, which is measured already")
        else:
            plans.append((name, plan))
    return plans


def _synthetic(
    variants: str, backbones: str | None, images: int, plan: Plan
) -> dict[str, Detector]:
    """Detectors of synthetic banks, a backbone and a variant each."""
    from fapm_cli.api.speed import synthetic

    names = [None] if backbones is None else backbones.split(",")
    pairs = itertools.product(names, variants.upper().split(","))
    return {
        f"{backbone} {variant} {plan.precision}": synthetic(backbone, variant, images, plan)
        for backbone, variant in pairs
    }
