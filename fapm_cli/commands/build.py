"""``fapm build``: learn a bank from pictures of good parts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.common import (
    BackboneOption,
    BatchSizeOption,
    DeviceOption,
    GridOption,
    LayersOption,
    PathsArgument,
    PresetOption,
    RatioOption,
    RoiOption,
    SeedOption,
    SizeOption,
    SpreadOption,
    WeightsOption,
    check_writable,
    configure,
    find_named,
    note,
    progress_bar,
)
from fapm_cli.errors import PictureError

if TYPE_CHECKING:
    from fapm_cli.engine import Bank, Unreadable


def build(
    paths: PathsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bank to write.")],
    preset: PresetOption = "default",
    backbone: BackboneOption = None,
    layers: LayersOption = None,
    weights: WeightsOption = None,
    seed: SeedOption = 0,
    variant: Annotated[str, typer.Option(help="A to E of the paper's Table 2.")] = "E",
    size: SizeOption = None,
    grid: GridOption = None,
    coreset_ratio: RatioOption = 0.1,
    spread_threshold: SpreadOption = 0.5,
    roi: RoiOption = None,
    skip_bad: Annotated[bool, typer.Option(help="Leave unreadable pictures out.")] = False,
    embed_backbone: Annotated[
        bool, typer.Option(help="Store the cut backbone, so that the bank needs nothing else.")
    ] = True,
    thumbnails: Annotated[
        bool, typer.Option(help="Store the pictures too, small, for add, merge and reports.")
    ] = True,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Learn a bank from pictures of good parts.

    Example:  fapm build samples/good -o bank.st
    """
    check_writable(output)
    from fapm_cli.bank import OWN_WEIGHTS
    from fapm_cli.device import resolve_device
    from fapm_cli.engine import build_from_files, load_extractor, read_roi, save_bank

    config = configure(
        preset, backbone, layers, variant, size, grid, coreset_ratio, spread_threshold
    )
    where = resolve_device(device)
    inspected = None if roi is None else read_roi(roi, config.preprocessing)
    files, failures = find_named(paths)
    if failures:
        raise failures[0][1]
    extractor = load_extractor(config, weights, seed).to(where)
    skipped: list[Unreadable] = []
    clock = _StageClock()
    with progress_bar() as advance:

        def on_stage(stage: str, done: int, total: int) -> None:
            clock.mark(stage)
            advance(stage, done, total)

        bank = build_from_files(
            files,
            config,
            extractor,
            batch_size,
            weights=Path(weights).name if weights else OWN_WEIGHTS,
            embed_backbone=embed_backbone,
            roi=inspected,
            thumbnails=thumbnails,
            on_bad=skipped.append if skip_bad else _refuse,
            on_stage=on_stage,
        )
    for bad in skipped:
        note(f"note: skipped: {bad.error}")
    num_bytes = save_bank(bank, output)
    clock.mark("save")
    summary = _summarise(bank, output, num_bytes, clock.seconds, len(skipped))
    typer.echo(json.dumps(summary) if as_json else _as_text(summary))


class _StageClock:
    """Seconds spent in each stage, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Add the time since the last mark to ``stage``."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _refuse(bad: Unreadable) -> None:
    raise PictureError(f"{bad.error}; or leave such pictures out with --skip-bad")


def _summarise(
    bank: Bank, output: Path, num_bytes: int, seconds: dict[str, float], num_skipped: int
) -> dict[str, Any]:
    layers = {
        name: {
            "keys": len(memory.keys),
            "patches": len(memory.key_counts),
            "widened": int(memory.widened.sum()),
        }
        for name, memory in zip(bank.config.memory_names, bank.memories, strict=True)
    }
    return {
        "bank": str(output),
        "pictures": len(bank.pictures),
        "skipped": num_skipped,
        "backbone": bank.config.backbone,
        "variant": bank.config.variant,
        "layers": layers,
        "inspected_share": bank.inspected_share,
        "bytes": num_bytes,
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }


def _as_text(summary: dict[str, Any]) -> str:
    seconds = summary["seconds"]
    spent = ", ".join(f"{stage} {s:.1f}" for stage, s in seconds.items())
    lines = [
        f"bank      {summary['bank']}  ({summary['bytes'] / 1e6:.1f} MB)",
        f"pictures  {summary['pictures']}"
        + f" ({summary['skipped']} skipped)" * bool(summary["skipped"]),
        *[f"inspected {summary['inspected_share']:.0%} of each picture"]
        * (summary["inspected_share"] < 1),
        f"backbone  {summary['backbone']}",
        *(
            f"{name:<9} {layer['keys']} keys in {layer['patches']} patches, "
            f"{layer['widened']} widened"
            for name, layer in summary["layers"].items()
        ),
        f"seconds   {sum(seconds.values()):.1f}  ({spent})",
    ]
    return "\n".join(lines)
