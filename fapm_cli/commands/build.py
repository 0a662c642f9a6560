"""``fapm build``: learn a bank from pictures of good parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fapm_cli.commands.choices import learning_choices
from fapm_cli.commands.formats import choose_format
from fapm_cli.commands.making import KeepSuspectsOption, SkipBadOption, making
from fapm_cli.commands.options import (
    LEARNING,
    MACHINE,
    OUTPUT,
    PICTURES,
    VERDICTS,
    AlignOption,
    BackboneOption,
    BatchSizeOption,
    DeviceOption,
    FalseAlarmsOption,
    FormatOption,
    GridOption,
    GroupOption,
    JsonOption,
    LayersOption,
    LightOption,
    MaxKeysOption,
    MetricOption,
    OnOption,
    PresetOption,
    RatioOption,
    ReviewOption,
    RoiOption,
    SeedOption,
    SizeOption,
    SpreadOption,
    ThreadsOption,
    TurnOption,
    WeightsOption,
)
from fapm_cli.commands.path_arguments import PathsArgument
from fapm_cli.commands.paths import check_output, find_named, leave_out
from fapm_cli.finding.kinds import A_BANK
from fapm_cli.stores.locating import located

MaxBankOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="As many keys as fit into a bank of so many bytes, like 50MB.",
        rich_help_panel=LEARNING,
    ),
]
TargetOption = Annotated[
    float | None,
    typer.Option(
        metavar="MS",
        help="As many keys as keep to so many ms a picture, by a measurement here: not the same "
        "bank every time; it says the --max-keys that are.",
        rich_help_panel=LEARNING,
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Take at most so much memory, like 3GB: what does not fit goes to scratch files "
        "(default: half of what is free).",
        rich_help_panel=MACHINE,
    ),
]
ScratchOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="A folder for scratch files, used in any case (default: a temporary one, where "
        "memory does not suffice).",
        rich_help_panel=MACHINE,
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on from what a build that was stopped left in --scratch.",
        rich_help_panel=MACHINE,
    ),
]


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
    max_keys: MaxKeysOption = None,
    max_bank: MaxBankOption = None,
    target_ms: TargetOption = None,
    spread_threshold: SpreadOption = 0.5,
    metric: MetricOption = None,
    turn: TurnOption = None,
    align: AlignOption = None,
    light: LightOption = None,
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
        list[Any] | None,
        typer.Option(
            metavar="PATH",
            parser=located,
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
    memory: MemoryOption = None,
    scratch: ScratchOption = None,
    resume: ResumeOption = False,
    on: OnOption = None,
    output_format: FormatOption = "text",
    as_json: JsonOption = False,
) -> None:
    """Learn a bank from pictures of good parts.

    Example:  fapm build samples/good -o bank.st
    """
    kind = choose_format(output_format, json=as_json)
    check_output(output, A_BANK)
    from fapm_cli.api.learning import build as build_bank
    from fapm_cli.api.pictures import part_namer
    from fapm_cli.compute.cores import use_threads
    from fapm_cli.scores.aim import Aim

    aim = Aim(false_alarm_rate, review_rate, threshold)
    part_namer(group)  # all that can be wrong with the options is said before the work
    common = (size, grid, coreset_ratio, spread_threshold, metric, turn, align, max_keys)
    query: dict[str, Any] = {} if light is None else {"light": light}
    choices = learning_choices(preset, backbone, layers, variant, *common, **query)
    use_threads(threads)
    files = leave_out(find_named(paths, of="good"), without or [])
    with making(output, skip_bad, group) as work:
        bank = build_bank(
            files,
            weights=weights,
            seed=seed,
            roi=roi,
            bit_depth=bit_depth,
            group=group,
            drop_outliers=drop_outliers,
            embed_backbone=embed_backbone,
            thumbnails=thumbnails,
            aim=aim,
            max_bank=max_bank,
            target_ms=target_ms,
            device=device,
            batch_size=batch_size,
            memory=memory,
            scratch=scratch,
            resume=resume,
            on=on,
            listener=work,
            **choices,
        )
    if not keep_suspects:
        work.check_suspects(len(bank.learnt.pictures))
    work.finish(bank, kind)
    work.advise(files, context.meta["given"])
