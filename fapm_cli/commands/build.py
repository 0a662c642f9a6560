"""``fapm build``: learn a bank from pictures of good parts."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fapm_cli.commands.common import (
    BackboneOption,
    BatchSizeOption,
    DeviceOption,
    FalseAlarmsOption,
    GridOption,
    LayersOption,
    PathsArgument,
    PresetOption,
    RatioOption,
    ReviewOption,
    SeedOption,
    SizeOption,
    SpreadOption,
    WeightsOption,
    check_rates,
    check_writable,
    choose_thresholds,
    configure,
    find_named,
    note,
    progress_bar,
)
from fapm_cli.errors import PictureError
from fapm_cli.files import one_line

if TYPE_CHECKING:
    from fapm_cli.engine import Bank, Unreadable

_SHOWN = 8


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
    skip_bad: Annotated[bool, typer.Option(help="Leave unreadable pictures out.")] = False,
    drop_outliers: Annotated[
        bool,
        typer.Option(help="Leave out pictures that look most unlike the rest, and learn again."),
    ] = False,
    false_alarm_rate: FalseAlarmsOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Set the threshold itself (default: found by fapm).")
    ] = None,
    review_rate: ReviewOption = None,
    embed_backbone: Annotated[
        bool, typer.Option(help="Store the cut backbone, so that the bank needs nothing else.")
    ] = True,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Learn a bank from pictures of good parts.

    Example:  fapm build samples/good -o bank.st
    """
    check_writable(output)
    check_rates(false_alarm_rate, review_rate, threshold)
    from fapm_cli.bank import OWN_WEIGHTS
    from fapm_cli.device import resolve_device
    from fapm_cli.engine import build_from_files, load_extractor, save_bank

    config = configure(
        preset, backbone, layers, variant, size, grid, coreset_ratio, spread_threshold
    )
    where = resolve_device(device)
    files, failures = find_named(paths)
    if failures:
        raise failures[0][1]
    extractor = load_extractor(config, weights, seed).to(where)
    skipped: list[Unreadable] = []
    unlike: dict[bool, list[tuple[str, float]]] = {True: [], False: []}
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
            drop_outliers=drop_outliers,
            on_suspects=lambda suspects, dropped: unlike[dropped].extend(suspects),
            on_bad=skipped.append if skip_bad else _refuse,
            on_stage=on_stage,
        )
    for bad in skipped:
        note(f"note: skipped: {bad.error}")
    scores, peaks = zip(*((p.score, p.peak) for p in bank.pictures), strict=True)
    thresholds = choose_thresholds(
        bank.thresholds, scores, peaks, false_alarm_rate, review_rate, threshold
    )
    bank = replace(bank, thresholds=thresholds)
    num_bytes = save_bank(bank, output)
    clock.mark("save")
    summary = _summarise(bank, output, num_bytes, clock.seconds, len(skipped), unlike)
    typer.echo(json.dumps(summary) if as_json else _as_text(summary, thresholds.describe()))


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
    bank: Bank,
    output: Path,
    num_bytes: int,
    seconds: dict[str, float],
    num_skipped: int,
    unlike: dict[bool, list[tuple[str, float]]],
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
        "thresholds": bank.thresholds.summary(),
        "suspects": [{"name": name, "z": round(z, 2)} for name, z in unlike[False]],
        "dropped": [{"name": name, "z": round(z, 2)} for name, z in unlike[True]],
        "bytes": num_bytes,
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }


def _as_text(summary: dict[str, Any], verdicts: str) -> str:
    seconds = summary["seconds"]
    spent = ", ".join(f"{stage} {s:.1f}" for stage, s in seconds.items())
    lines = [
        f"bank      {summary['bank']}  ({summary['bytes'] / 1e6:.1f} MB)",
        f"pictures  {summary['pictures']}"
        + f" ({summary['skipped']} skipped)" * bool(summary["skipped"]),
        f"backbone  {summary['backbone']}",
        *(
            f"{name:<9} {layer['keys']} keys in {layer['patches']} patches, "
            f"{layer['widened']} widened"
            for name, layer in summary["layers"].items()
        ),
        f"verdicts  {verdicts}",
        *_as_lines("dropped", summary["dropped"]),
        *_as_lines("suspects", summary["suspects"]),
        f"seconds   {sum(seconds.values()):.1f}  ({spent})",
    ]
    return "\n".join(lines)


def _as_lines(title: str, pictures: list[dict[str, Any]]) -> list[str]:
    """Name the first pictures that look unlike the rest, in one line; none for none."""
    if not pictures:
        return []
    names = ", ".join(f"{one_line(p['name'])} ({p['z']:.1f})" for p in pictures[:_SHOWN])
    more = f" and {len(pictures) - _SHOWN} more" * (len(pictures) > _SHOWN)
    return [f"{title:<9} {names}{more}: unlike the rest by so many σ"]
