"""``fapm bench``: how fast a bank is on this machine."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fapm_cli.commands.bench_table import PAPER_FPS, print_table
from fapm_cli.commands.formats import Record, choose_format, echo_records, flatten
from fapm_cli.commands.machine import describe_machine, peak_memory_mb
from fapm_cli.commands.opening import open_detector, use_threads
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

if TYPE_CHECKING:
    import torch

    from fapm_cli.compute.plan import Plan
    from fapm_cli.config import BankConfig
    from fapm_cli.detection.detector import Detector

PICTURE_PX = 1024


def bench(
    bank: Annotated[
        Path | None, typer.Argument(metavar="[BANK]", help="None: a synthetic bank, see below.")
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
    batch_sizes: Annotated[
        str,
        typer.Option(
            "--batch-size", metavar="1,8", help="Batch sizes to measure.", rich_help_panel=MACHINE
        ),
    ] = "1",
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

    Example:  fapm bench --variants A,E --images 20 --runs 3
    """
    kind = choose_format(output_format, json=as_json)
    import torch

    from fapm_cli.compute.device import resolve_device
    from fapm_cli.compute.plan import make_plan

    if bank is not None and (variants or images or backbone or against_paper):
        raise OptionError(
            "--variants, --images, --backbone and --against-paper are for the synthetic bank"
        )
    if bank is None and weights is not None:
        raise OptionError("--weights is for a BANK; the synthetic one has random weights")
    images = 209 if images is None else images
    use_threads(threads)
    where = resolve_device(device)
    sizes = _parse_sizes(batch_sizes)
    variants = variants or ("A,B,C,D,E" if against_paper else "E")
    plans: list[Plan] = []
    detectors = {}
    for name, compiling in itertools.product(precision.split(","), (False, True)[: 1 + compiled]):
        plan = make_plan(where, name, compiled=compiling)
        if plan in plans:
            note(f"note: {name} is {plan.precision} here, which is measured already")
            continue
        plans.append(plan)
        if bank is not None:
            detector = open_detector(bank, device, name, weights, compiled=compiling)
            detectors[detector.plan.precision] = detector
        else:
            detectors |= _synthetic(variants, backbone, images, plan)
    records = []
    for size in sizes:
        with torch.inference_mode():
            records += _measure(detectors, size, runs, warm_up, where)
    for record in records:
        record["bank"] = str(bank) if bank is not None else f"synthetic, {images} pictures"
        record["speedup"] = record["fps"] / records[0]["fps"]  # per picture, whatever the batch
        record["paper_fps"] = PAPER_FPS.get(record["variant"]) if against_paper else None
    if kind == "text":
        print_table(records)
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


def _synthetic(
    variants: str, backbones: str | None, images: int, plan: Plan
) -> dict[str, Detector]:
    import torch

    from fapm_cli.bank.presets import default_config, paper_config
    from fapm_cli.detection.detector import Detector
    from fapm_cli.evaluation.synthetic_bank import synthetic_bank
    from fapm_cli.network.backbones import PAPER_BACKBONE
    from fapm_cli.network.extraction import RANDOM, load_extractor

    detectors = {}
    names = (backbones or PAPER_BACKBONE).split(",")
    for backbone, variant in itertools.product(names, variants.upper().split(",")):
        make_config = paper_config if backbone == PAPER_BACKBONE else default_config
        config = make_config(backbone, variant=variant)
        extractor = load_extractor(config, RANDOM)
        if plan.backbone == "int8":
            with extractor.observing():
                extractor.tap(_noise(config, 1, torch.Generator().manual_seed(1)))
        bank = synthetic_bank(config, extractor, images)
        detectors[f"{backbone} {variant} {plan.precision}"] = Detector(bank, extractor, plan=plan)
    return detectors


def _noise(config: BankConfig, num_pictures: int, generator: torch.Generator) -> torch.Tensor:
    """Random pictures of the input's size: (B, H, W, 3) uint8."""
    import torch

    shape = (num_pictures, *config.preprocessing.crop_px, 3)
    return torch.randint(0, 256, shape, generator=generator).byte()


def _measure(
    detectors: dict[str, Detector], size: int, runs: int, warm_up: int, where: torch.device
) -> list[Record]:
    """Time every detector whole and stage by stage, and its backbone alone, all in turns."""
    import torch

    from fapm_cli.compute.timing import Latency, alternate

    works: dict[str, Callable[[], object]] = {}
    for name, detector in detectors.items():
        pixels = _noise(detector.bank.config, size, torch.Generator().manual_seed(0))
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
        stages_ms = {stage: spent.median_ms for stage, spent in stages.items()}
        stages_ms["preprocess"] *= size
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
                "stages_ms": stages_ms,
                "keys": sum(len(m.keys) for m in detector.bank.memories),
                "bank_mb": sum(m.keys.nbytes for m in detector.bank.memories) / 1e6,
                "peak_memory_mb": peak_memory_mb(where),
                **describe_machine(where),
            }
        )
    return records


def _stages(detector: Detector, pixels: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The engine whole, the backbone alone, and each stage on what the one before it gives.

    The engine starts from decoded, resized pixels. ``preprocess`` is the resize of a 1024×1024
    picture, which the engine's threads do beside it: one, however large the batch, for a batch
    takes as many times as long. A compiled engine has no stages.
    """
    import torch
    from PIL import Image

    from fapm_cli.detection.graphs import runner
    from fapm_cli.memory.grid import to_patches
    from fapm_cli.pictures.preparing import prepare

    config = detector.bank.config
    large = Image.effect_noise((PICTURE_PX, PICTURE_PX), 64).convert("RGB")
    extractor, scorer = detector.extractor, detector.scorer
    # As the engine does it: on a CPU one picture after the other.
    at_a_time = 1 if detector.plan.one_by_one else len(pixels)
    parts = torch.split(pixels.to(detector.device), at_a_time)
    floor = runner(lambda part: tuple(extractor.tap(part)), detector.plan)
    whole: dict[str, Callable[[], object]] = {
        "engine": lambda: detector.detect(pixels),
        "backbone": lambda: [floor(part) for part in parts],
        "preprocess": lambda: prepare(large, config.preprocessing),
    }
    if detector.plan.compiled:
        return whole
    patches = [[to_patches(m, config.grid) for m in extractor(part)] for part in parts]
    found = [scorer.search(part) for part in patches]
    return whole | {
        "extract": lambda: [[to_patches(m, config.grid) for m in extractor(p)] for p in parts],
        "knn": lambda: [scorer.search(part) for part in patches],
        "map": lambda: [scorer.combine(part) for part in found],
    }
