"""``fapm build``: learn a bank from pictures of good parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fapm_cli.commands.choices import check_rates, choose_thresholds, configure
from fapm_cli.commands.formats import choose_format
from fapm_cli.commands.making import (
    KeepSuspectsOption,
    SkipBadOption,
    leave_out,
    making,
    tell_memory,
)
from fapm_cli.commands.opening import use_threads
from fapm_cli.commands.options import (
    LEARNING,
    OUTPUT,
    PICTURES,
    VERDICTS,
    BackboneOption,
    BatchSizeOption,
    DeviceOption,
    FalseAlarmsOption,
    FormatOption,
    GridOption,
    GroupOption,
    JsonOption,
    LayersOption,
    PathsArgument,
    PresetOption,
    RatioOption,
    ReviewOption,
    RoiOption,
    SeedOption,
    SizeOption,
    SpreadOption,
    ThreadsOption,
    WeightsOption,
)
from fapm_cli.commands.paths import check_output, find_named, part_namer
from fapm_cli.finding.kinds import A_BANK


def build(
    context: typer.Context,
    paths: PathsArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The bank to write.", rich_help_panel=OUTPUT
        ),
    ],
    preset: PresetOption = "default",
    backbone: BackboneOption = None,
    layers: LayersOption = None,
    weights: WeightsOption = None,
    seed: SeedOption = 0,
    variant: Annotated[
        str,
        typer.Option(
            metavar="LETTER", help="A to E of the paper's Table 2.", rich_help_panel=LEARNING
        ),
    ] = "E",
    size: SizeOption = None,
    grid: GridOption = None,
    coreset_ratio: RatioOption = 0.1,
    spread_threshold: SpreadOption = 0.5,
    bit_depth: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=16,
            metavar="BITS",
            help="Of 16-bit pictures, how many bits the camera uses (default: found by fapm).",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    roi: RoiOption = None,
    skip_bad: SkipBadOption = False,
    drop_outliers: Annotated[
        bool,
        typer.Option(
            help="Leave out pictures that look most unlike the rest, and learn again.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    without: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Leave out this one of the pictures; may be given again.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    group: GroupOption = None,
    keep_suspects: KeepSuspectsOption = False,
    false_alarm_rate: FalseAlarmsOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            help="Set the threshold itself (default: found by fapm).",
            rich_help_panel=VERDICTS,
        ),
    ] = None,
    review_rate: ReviewOption = None,
    embed_backbone: Annotated[
        bool,
        typer.Option(
            help="Leave the backbone out: who uses the bank then needs it, too.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    thumbnails: Annotated[
        bool,
        typer.Option(
            help="Leave the pictures out, which add, merge and reports use.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    batch_size: BatchSizeOption = 16,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Learn a bank from pictures of good parts.

    Example:  fapm build samples/good -o bank.st
    """
    kind = choose_format(output_format, json=as_json)
    check_output(output, A_BANK)
    check_rates(false_alarm_rate, review_rate, threshold)
    from fapm_cli.bank.bank import OWN_WEIGHTS
    from fapm_cli.compute.device import resolve_device
    from fapm_cli.learning.build import build_from_files
    from fapm_cli.learning.nominal_response import own_scores
    from fapm_cli.network.extraction import load_extractor
    from fapm_cli.pictures.reading import read_roi

    part_of = part_namer(group)
    config = configure(
        preset, backbone, layers, variant, size, grid, coreset_ratio, spread_threshold
    )
    use_threads(threads)
    where = resolve_device(device)
    inspected = None if roi is None else read_roi(roi, config.preprocessing)
    files = leave_out(find_named(paths, to_learn=True), without or [])
    extractor = load_extractor(config, weights, seed).to(where)
    tell_memory(config, extractor, len(files), files)
    with making(output, skip_bad, group) as work:
        bank = build_from_files(
            files,
            config,
            extractor,
            batch_size,
            bit_depth=bit_depth,
            weights=Path(weights).name if weights else OWN_WEIGHTS,
            embed_backbone=embed_backbone,
            roi=inspected,
            thumbnails=thumbnails,
            drop_outliers=drop_outliers,
            part_of=part_of,
            on_bad=work.on_bad,
            on_known=work.on_known,
            on_suspects=work.on_suspects,
            on_stage=work.on_stage,
        )
    if not keep_suspects:
        work.check_suspects(len(bank.pictures))
    thresholds = choose_thresholds(
        bank.thresholds, *own_scores(bank), false_alarm_rate, review_rate, threshold
    )
    work.finish(replace(bank, thresholds=thresholds), kind)
    work.advise(files, context.meta["given"])
