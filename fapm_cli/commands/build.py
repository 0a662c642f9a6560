"""``fapm build``: learn a bank from pictures of good parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
)
from fapm_cli.commands.making import SkipBadOption, SummaryOption, find_all, making


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
    skip_bad: SkipBadOption = False,
    embed_backbone: Annotated[
        bool, typer.Option(help="Store the cut backbone, so that the bank needs nothing else.")
    ] = True,
    thumbnails: Annotated[
        bool, typer.Option(help="Store the pictures too, small, for add, merge and reports.")
    ] = True,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = 16,
    as_json: SummaryOption = False,
) -> None:
    """Learn a bank from pictures of good parts.

    Example:  fapm build samples/good -o bank.st
    """
    check_writable(output)
    from fapm_cli.bank import OWN_WEIGHTS
    from fapm_cli.device import resolve_device
    from fapm_cli.engine import build_from_files, load_extractor, read_roi

    config = configure(
        preset, backbone, layers, variant, size, grid, coreset_ratio, spread_threshold
    )
    where = resolve_device(device)
    inspected = None if roi is None else read_roi(roi, config.preprocessing)
    files = find_all(paths)
    extractor = load_extractor(config, weights, seed).to(where)
    with making(output, skip_bad) as work:
        bank = build_from_files(
            files,
            config,
            extractor,
            batch_size,
            weights=Path(weights).name if weights else OWN_WEIGHTS,
            embed_backbone=embed_backbone,
            roi=inspected,
            thumbnails=thumbnails,
            on_bad=work.on_bad,
            on_stage=work.on_stage,
        )
    work.finish(bank, as_json)
