"""``fapm bench``: how fast a bank is on this machine."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.common import (
    DeviceOption,
    WeightsOption,
    note,
    open_detector,
    progress_bar,
)
from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    import torch

    from fapm_cli.engine import Detector
    from fapm_cli.plan import Plan

Record = dict[str, Any]

PICTURE_PX = 1024


def bench(
    bank: Annotated[
        Path | None, typer.Argument(metavar="[BANK]", help="None: a synthetic bank, see below.")
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(metavar="A,E", help="Variants of the synthetic bank, side by side (E)."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Pictures behind the synthetic bank (209).")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Of the synthetic bank (default: the paper's).")
    ] = None,
    batch_sizes: Annotated[
        str, typer.Option("--batch-size", metavar="1,8", help="Batch sizes to measure.")
    ] = "1",
    runs: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 30,
    warm_up: Annotated[int, typer.Option(min=0, help="Rounds that don't.")] = 5,
    weights: WeightsOption = None,
    precision: Annotated[
        str, typer.Option(metavar="fp32,bf16", help="Precisions to measure side by side.")
    ] = "auto",
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="An array of records.")] = False,
) -> None:
    """Measure latency and frames per second, stage by stage, beside the backbone alone.

    Without BANK it measures the paper's network (Wide-ResNet-50, random weights) on a synthetic
    bank of random keys, as many as --images pictures give when every patch is widened. Variants
    and the backbone alone take turns, round by round.

    Example:  fapm bench --variants A,E --images 20 --runs 3
    """
    import torch

    from fapm_cli.device import resolve_device
    from fapm_cli.plan import make_plan

    if bank is not None and (variants is not None or images is not None or backbone is not None):
        raise OptionError("--variants, --images and --backbone are for the synthetic bank")
    if bank is None and weights is not None:
        raise OptionError("--weights is for a BANK; the synthetic one has random weights")
    images = 209 if images is None else images
    where = resolve_device(device)
    sizes = _parse_sizes(batch_sizes)
    detectors = {}
    for name in precision.split(","):
        plan = make_plan(where, name)
        if bank is not None:
            detectors[plan.precision] = open_detector(bank, device, name, weights)
        else:
            detectors |= _synthetic(variants or "E", backbone, images, plan)
    records = []
    for size in sizes:
        with torch.inference_mode():
            records += _measure(detectors, size, runs, warm_up, where)
    for record in records:
        record["bank"] = str(bank) if bank is not None else f"synthetic, {images} pictures"
    if as_json:
        typer.echo(json.dumps(records, indent=1))
    else:
        _print(records)


def _parse_sizes(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise OptionError(f"batch sizes {text!r}: write whole numbers above 0, like 1,8")
    return [int(part) for part in parts]


def _synthetic(variants: str, backbone: str | None, images: int, plan: Plan) -> dict[str, Detector]:
    from fapm_cli.backbones import PAPER_BACKBONE
    from fapm_cli.engine import (
        Detector,
        default_config,
        load_extractor,
        paper_config,
        synthetic_bank,
    )
    from fapm_cli.extraction import RANDOM

    detectors = {}
    for variant in variants.upper().split(","):
        if backbone in (None, PAPER_BACKBONE):
            config = paper_config(variant=variant)
        else:
            config = default_config(backbone, variant=variant)
        extractor = load_extractor(config, RANDOM)
        bank = synthetic_bank(config, extractor, images)
        detectors[f"{variant} {plan.precision}"] = Detector(bank, extractor, plan=plan)
    return detectors


def _measure(
    detectors: dict[str, Detector], size: int, runs: int, warm_up: int, where: torch.device
) -> list[Record]:
    """Time every detector whole and stage by stage, and its backbone alone, all in turns."""
    import torch

    from fapm_cli.timing import Latency, alternate

    works: dict[str, Callable[[], object]] = {}
    for name, detector in detectors.items():
        height, width = detector.bank.config.preprocessing.crop_px
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (size, height, width, 3), generator=generator).byte()
        works |= {f"{name}/{stage}": work for stage, work in _stages(detector, pixels).items()}
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    with progress_bar() as advance:
        on_round = functools.partial(advance, f"batch {size}")
        times = alternate(works, where, warm_up=warm_up, runs=runs, on_round=on_round)
    records = []
    for name, detector in detectors.items():
        stages = {
            key.removeprefix(f"{name}/"): Latency.of(values)
            for key, values in times.items()
            if key.startswith(f"{name}/")
        }
        engine, floor = stages.pop("engine"), stages.pop("backbone")
        config = detector.bank.config
        records.append(
            {
                "variant": config.variant,
                "backbone": config.backbone,
                "precision": detector.plan.precision,
                "batch_size": size,
                "runs": runs,
                "median_ms": engine.median_ms,
                "p95_ms": engine.p95_ms,
                "p99_ms": engine.p99_ms,
                "fps": 1000 * size / engine.median_ms,
                "backbone_ms": floor.median_ms,
                "ratio_to_backbone": engine.median_ms / floor.median_ms,
                "stages_ms": {stage: spent.median_ms for stage, spent in stages.items()},
                "keys": sum(len(m.keys) for m in detector.bank.memories),
                "bank_mb": sum(m.keys.nbytes for m in detector.bank.memories) / 1e6,
                "peak_memory_mb": _peak_memory_mb(where),
                **_machine(where),
            }
        )
    return records


def _stages(detector: Detector, pixels: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The engine whole, the backbone alone, and each stage on what the one before it gives.

    The engine starts from decoded, resized pixels. ``preprocess`` is the resize of a 1024×1024
    picture, which the engine's threads do beside it.
    """
    import torch
    from PIL import Image

    from fapm_cli.grid import to_patches
    from fapm_cli.images import prepare

    config = detector.bank.config
    large = Image.effect_noise((PICTURE_PX, PICTURE_PX), 64).convert("RGB")
    extractor, scorer = detector.extractor, detector.scorer
    # As the engine does it: on a CPU one picture after the other.
    at_a_time = 1 if detector.plan.one_by_one else len(pixels)
    parts = torch.split(pixels.to(detector.device), at_a_time)
    patches = [[to_patches(m, config.grid) for m in extractor(part)] for part in parts]
    found = [scorer.search(part) for part in patches]
    return {
        "engine": lambda: detector.detect(pixels),
        "backbone": lambda: [extractor.tap(part) for part in parts],
        "preprocess": lambda: [prepare(large, config.preprocessing) for _ in pixels],
        "extract": lambda: [[to_patches(m, config.grid) for m in extractor(p)] for p in parts],
        "knn": lambda: [scorer.search(part) for part in patches],
        "map": lambda: [scorer.combine(part) for part in found],
    }


def _peak_memory_mb(where: torch.device) -> float:
    """Peak memory: of the device, or of the process where the device is the CPU."""
    import resource
    import sys

    import torch

    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _machine(where: torch.device) -> Record:
    import platform

    import torch

    import fapm_cli

    name = torch.cuda.get_device_name(where) if where.type == "cuda" else _processor()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "versions": {
            "fapm": fapm_cli.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _processor() -> str:
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _print(records: list[Record]) -> None:
    from rich.console import Console
    from rich.table import Table

    first = records[0]
    versions = ", ".join(f"{name} {value}" for name, value in first["versions"].items())
    note(f"{first['device']}, {first['threads']} threads; {versions}")
    note(f"bank: {first['bank']}; ms per batch; preprocess runs beside the engine")
    table = Table(box=None, pad_edge=False)
    for title in (
        "variant",
        "backbone",
        "precision",
        "batch",
        "median",
        "p95",
        "p99",
        "FPS",
        "floor",
        "ratio",
    ):
        table.add_column(title, justify="left" if title == "backbone" else "right")
    for stage in first["stages_ms"]:
        table.add_column(stage, justify="right")
    table.add_column("MB", justify="right")
    for r in records:
        table.add_row(
            r["variant"] or "-",
            r["backbone"],
            r["precision"],
            str(r["batch_size"]),
            *(f"{r[key]:.2f}" for key in ("median_ms", "p95_ms", "p99_ms")),
            f"{r['fps']:.1f}",
            f"{r['backbone_ms']:.2f}",
            f"{r['ratio_to_backbone']:.2f}",
            *(f"{ms:.2f}" for ms in r["stages_ms"].values()),
            f"{r['peak_memory_mb']:.0f}",
        )
    Console(width=160, highlight=False).print(table)
